import { type ExecFileException, execFile } from 'node:child_process';
import { EvercertError } from '@evercert/shared/errors';
import { visibleLine } from '@evercert/shared/text';

export interface ProgramResult {
  status: number;
  stdout: string;
  stderr: string;
}

export interface ProgramOptions {
  /** SIGKILL after so long. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/** Of the coordinator's own environment nothing is passed on. */
export const programEnvironment = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' };

const maxOutputBytes = 1024 * 1024;
const packages: Readonly<Record<string, string>> = { 'systemd-nspawn': 'systemd-container', nsenter: 'util-linux', setpriv: 'util-linux' };

/**
 * Runs a program to its end, without a shell; it does not outlive this process. Errors: FailedPrecondition (it is not installed), DeadlineExceeded, Cancelled, Unavailable (ended by a signal).
 * A status other than 0 is the caller's to judge.
 */
export function runProgram(argv: readonly string[], { timeoutMs, signal }: ProgramOptions): Promise<ProgramResult> {
  const options = { env: programEnvironment, cwd: '/', timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: maxOutputBytes } as const;
  return new Promise((resolve, reject) => {
    const ended = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      if (error === null) resolve({ status: 0, stdout, stderr });
      else if (typeof error.code === 'number') resolve({ status: error.code, stdout, stderr });
      else reject(failure(argv, error, timeoutMs, signal));
    };
    execFile('setpriv', ['--pdeathsig', 'KILL', '--', ...argv], { ...options, ...(signal && { signal }) }, ended);
  });
}

/** The same, and a status other than 0 is an error: DiskFull or Unavailable, with the last line that the program said. */
export async function runProgramOk(argv: readonly string[], options: ProgramOptions): Promise<string> {
  const { status, stdout, stderr } = await runProgram(argv, options);
  if (status === 0) return stdout;
  if (status === 127) throw missing(argv[0]!);
  const said = visibleLine(stderr.trim().split('\n').at(-1) ?? '').slice(0, 500);
  throw new EvercertError(
    /No space left on device|Disk quota exceeded/.test(stderr) ? 'DiskFull' : 'Unavailable',
    `${argv[0]} failed (exit code ${status}): ${said || 'it said nothing'}`,
  );
}

export function missing(program: string, cause?: unknown): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `\`${program}\` is not installed on the coordinator's host (Debian: apt-get install ${packages[program] ?? program})`,
    { cause },
  );
}

function failure(argv: readonly string[], error: ExecFileException, timeoutMs: number, signal: AbortSignal | undefined): EvercertError {
  const program = argv[0]!;
  if (signal?.aborted) return new EvercertError('Cancelled', `${program} was cancelled`, { cause: error });
  if (error.code === 'ENOENT') return missing('setpriv', error);
  if (error.killed) return new EvercertError('DeadlineExceeded', `${program} was still running after ${timeoutMs / 1000} s and was killed`);
  return new EvercertError('Unavailable', `${program} was ended by ${error.signal ?? error.code ?? 'a fault'}`, { cause: error });
}
