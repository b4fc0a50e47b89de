import type { Clock } from '@evercert/shared/clock';
import type { AdminApi, ConnectOptions } from './client.ts';
import type { ResolvedContext } from './contexts/index.ts';

/** All that a command sees of the world. `main` hands in the process, tests hand in their own. */
export interface Environment {
  clock: Clock;
  env: Readonly<Record<string, string | undefined>>;
  /** Folder that relative paths are relative to. */
  cwd: string;
  homeDir: string;
  /** Writes to standard output, as it is. */
  out(text: string): void;
  /** Writes to standard error, as it is. */
  err(text: string): void;
  /** Reads standard input to its end; InvalidArgument beyond `maxBytes`. */
  readStdin(maxBytes: number): Promise<string>;
  /** Asks the person at the terminal, and shows nothing of what he types when it is secret. Undefined, also when it is absent: there is no terminal. */
  ask?(question: string, options: { secret: boolean }): Promise<string | undefined>;
  connect(context: ResolvedContext, options: ConnectOptions): Promise<AdminApi>;
}

/** A command's outcome: its exit code. Errors are thrown. */
export type ExitCode = number;

export function line(write: (text: string) => void, text: string): void {
  write(`${text}\n`);
}
