/** Runs one program without a shell, in a process group of its own: a text goes in, a bounded text comes out, time is limited. */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Clock } from '@evercert/shared/clock';
import { errnoOf } from '@evercert/shared/files';
import { endGroup } from './groups.ts';
import type { LineLog } from './lines.ts';

/** Bytes of standard output that are taken. */
export const maxOutputBytes = 64 * 1024;
/** How long output is read on after the program's end, where something that it started holds the pipe open. */
const afterExitMs = 250;

export interface RunOptions {
  argv: readonly [string, ...string[]];
  env: NodeJS.ProcessEnv;
  input: string;
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
  stderr: LineLog;
  /** The program runs, but has not been told anything yet. */
  started: (pid: number) => Promise<void>;
}

export interface RunResult {
  /** Why it ended: by itself, or because it was ended. */
  end: 'exit' | 'timeout' | 'aborted';
  /** Exit code; absent: a signal ended it. */
  code?: number;
  signal?: string;
  output: Buffer;
  /** There was more than the bound. */
  tooLong: boolean;
}

/** Rejects when the program cannot be started, and when `started` does. When it settles, nothing of the process group runs any more. */
export async function runProgram(options: RunOptions): Promise<RunResult> {
  const [file, ...args] = options.argv;
  const child = spawn(file, args, { cwd: '/', env: options.env, stdio: ['pipe', 'pipe', 'pipe'], detached: true, shell: false });
  const output = collect(child, options.stderr);
  const exited = exitOf(child);
  await once(child, 'spawn');
  const pid = child.pid as number;
  const limit = limitOf(pid, options);
  try {
    await options.started(pid);
    if (limit.end === 'exit') send(child, options.input);
    const exit = await exited;
    await output.complete(options.clock);
    return { end: limit.end, ...exit, ...output.taken() };
  } finally {
    limit.lift();
    // Also what the program left behind: it would act on without anybody's knowing.
    await endGroup(pid, options.clock);
    await limit.ended();
    child.stdout.destroy();
    child.stderr.destroy();
    options.stderr.end();
  }
}

/** Ends the group when the time is over or the caller gives up. */
function limitOf(pid: number, { clock, signal, timeoutMs }: RunOptions): { end: RunResult['end']; lift(): void; ended(): Promise<void> } {
  let ending = Promise.resolve();
  const limit = { end: 'exit' as RunResult['end'], lift, ended: () => ending };
  const cut = (end: RunResult['end']) => (): void => {
    if (limit.end !== 'exit') return;
    limit.end = end;
    ending = endGroup(pid, clock);
  };
  const onAbort = cut('aborted');
  const timer = clock.after(timeoutMs, cut('timeout'));
  function lift(): void {
    timer.cancel();
    signal.removeEventListener('abort', onAbort);
  }
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  return limit;
}

function send(child: ChildProcessWithoutNullStreams, input: string): void {
  child.stdin.end(input);
}

function exitOf(child: ChildProcess): Promise<{ code?: number; signal?: string }> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve({ ...(code !== null && { code }), ...(signal !== null && { signal }) }));
  });
}

function collect(
  child: ChildProcessWithoutNullStreams,
  stderr: LineLog,
): { complete(clock: Clock): Promise<void>; taken(): Pick<RunResult, 'output' | 'tooLong'> } {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // More than the bound is read too, and dropped: a full pipe would stop the program for ever.
  child.stdout.on('data', (chunk: Buffer) => {
    if (bytes < maxOutputBytes) chunks.push(chunk);
    bytes += chunk.length;
  });
  child.stderr.on('data', (chunk: Buffer) => stderr.write(chunk));
  for (const stream of [child.stdin, child.stdout, child.stderr]) {
    // A program that ends without having read its input (EPIPE) is judged by its exit code.
    stream.on('error', (error) => {
      if (errnoOf(error) !== 'EPIPE') stderr.write(Buffer.from(`a pipe of the program failed: ${error.message}\n`));
    });
  }
  const closed = Promise.all([child.stdout, child.stderr].map((stream) => new Promise((resolve) => stream.once('close', resolve))));
  return {
    complete: async (clock) => {
      const stop = new AbortController();
      await Promise.race([closed, clock.sleep(afterExitMs, stop.signal).catch(() => undefined)]);
      stop.abort();
    },
    taken: () => ({ output: Buffer.concat(chunks).subarray(0, maxOutputBytes), tooLong: bytes > maxOutputBytes }),
  };
}
