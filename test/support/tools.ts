/** What the integration tests need from the machine: other people's tools, Kubernetes' binaries, and a way to run them. */
import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findExecutable, findKubernetesBinary } from '@evercert/local';

export const repositoryRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Debian keeps some tools out of a user's PATH. */
const moreFolders = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/lib/postgresql/15/bin'];

/** Absolute path of a tool in PATH or in the system's administration folders; undefined when the machine does not have it. */
export function findTool(name: string): string | undefined {
  return findExecutable(name, process.env['PATH'], moreFolders);
}

/** Path of a Kubernetes binary (`kubeadm`, `kube-apiserver`, …): see findKubernetesBinary. */
export function kubeBinary(name: string): string | undefined {
  return findKubernetesBinary(name);
}

/**
 * For `before` and `it`: the tool's path, or the test is skipped with one line that says why.
 * @example const openssl = needTool(this, 'openssl');
 */
export function needTool(context: Mocha.Context, name: string, find: (name: string) => string | undefined = findTool): string {
  const path = find(name);
  if (path !== undefined) return path;
  process.stderr.write(`skipped: ${context.runnable().parent?.title ?? 'a test'} needs \`${name}\`, which this machine does not have\n`);
  return context.skip();
}

export interface RunOptions {
  /** Written to standard input, which is then closed. */
  input?: string | Uint8Array;
  /** Added to this process's environment; undefined takes a variable away. */
  env?: Record<string, string | undefined>;
  cwd?: string;
  /** SIGKILL after so long; 60 s by default. */
  timeoutMs?: number;
}

export interface RunResult {
  /** Exit code; null when a signal ended it. */
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
  /** Standard output as it came, for DER and the like. */
  output: Buffer;
}

/** Runs a command to its end and tells how it went. Rejects only when it cannot be started or when the time ran out. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const timeoutMs = options.timeoutMs ?? 60_000;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    // A command may end without reading its input (EPIPE); its exit code tells the story.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    child.on('error', reject);
    child.on('close', (status, signal) => {
      const output = Buffer.concat(out);
      const stderr = Buffer.concat(err).toString();
      if (child.killed && signal === 'SIGKILL') {
        reject(new Error(`${command} ${args.join(' ')} was still running after ${timeoutMs} ms and was killed\n${output}${stderr}`));
        return;
      }
      resolve({ status, signal, stdout: output.toString(), stderr, output });
    });
  });
}

/** As `run`, but a failure rejects with all that the command said. */
export async function runOk(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.status === 0) return result;
  throw new Error(
    `${command} ${args.join(' ')} failed (${result.signal ?? `exit code ${result.status}`})\n${result.stdout}${result.stderr}`.trimEnd(),
  );
}
