/** Runs a program without a shell, with a limit on its time and on what is kept of its output. */
import { spawn } from 'node:child_process';
import type { Clock } from '@evercert/shared/clock';

export interface ProcessResult {
  /** Exit code; absent when a signal ended it. */
  code?: number;
  signal?: string;
  timedOut: boolean;
  /** The beginning of standard output and error together, one text. */
  output: string;
}

export interface ProcessOptions {
  argv: string[];
  timeoutMs: number;
  clock: Clock;
  env: NodeJS.ProcessEnv;
  signal?: AbortSignal | undefined;
}

const maxOutputBytes = 4096;

/** Rejects only when the program cannot be started. After the time limit the program and all of its children are killed. */
export function runProcess({ argv, timeoutMs, clock, env, signal }: ProcessOptions): Promise<ProcessResult> {
  const [file = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    let kept = Buffer.alloc(0);
    let timedOut = false;
    const keep = (chunk: Buffer): void => {
      if (kept.length < maxOutputBytes) kept = Buffer.concat([kept, chunk]).subarray(0, maxOutputBytes);
    };
    const kill = (): void => {
      // Its own process group: a shell script's children go with it.
      if (child.pid !== undefined && child.exitCode === null) killGroup(child.pid);
    };
    const timer = clock.after(timeoutMs, () => {
      timedOut = true;
      kill();
    });
    const done = (): void => {
      timer.cancel();
      signal?.removeEventListener('abort', kill);
    };
    signal?.addEventListener('abort', kill, { once: true });
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => {
      done();
      reject(error);
    });
    // Not 'close': a daemon that the program leaves behind may hold its output open for ever.
    child.once('exit', (code, killedBy) => {
      done();
      child.stdout.destroy();
      child.stderr.destroy();
      resolve({ timedOut, output: kept.toString().trim(), ...(code !== null && { code }), ...(killedBy !== null && { signal: killedBy }) });
    });
  });
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
