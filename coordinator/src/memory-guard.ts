import { readFile } from 'node:fs/promises';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';

/** Options of Node by which whoever reaches a port, or sends a signal, gets to what is in memory. */
const revealing = /^--(?:inspect|debug|heapsnapshot-|heap-prof|build-snapshot)/;

export interface MemoryGuardOptions {
  execArgv: readonly string[];
  env: NodeJS.ProcessEnv;
  logger: Logger;
}

/**
 * Keeps the private keys in this process' memory from being written out: no inspector, no heap snapshots, and a warning where the kernel may write a core dump.
 * FailedPrecondition: Node was started with an option that does.
 */
export async function guardMemory({ execArgv, env, logger }: MemoryGuardOptions): Promise<void> {
  refuseRevealingOptions(execArgv, env);
  // Without a listener, this signal would open the inspector. (The launcher has Node ignore it altogether.)
  process.on('SIGUSR1', () => logger.warn('SIGUSR1 is ignored: it would open a debugger, which could read the private keys'));
  const warning = coreDumpWarning(await limits());
  if (warning !== undefined) logger.warn(warning);
}

export function refuseRevealingOptions(execArgv: readonly string[], env: NodeJS.ProcessEnv): void {
  const given = [...execArgv, ...(env['NODE_OPTIONS'] ?? '').split(/\s+/)].find((option) => revealing.test(option));
  if (given === undefined) return;
  throw new EvercertError(
    'FailedPrecondition',
    `Node was started with ${given.slice(0, 100)}, which lets others read the private keys from memory; start the coordinator without it (see also NODE_OPTIONS)`,
  );
}

/** @param text of /proc/self/limits; undefined: the system has none. */
export function coreDumpWarning(text: string | undefined): string | undefined {
  const soft = /^Max core file size\s+(\S+)/m.exec(text ?? '')?.[1];
  if (soft === undefined || soft === '0') return undefined;
  return `core dumps are possible (limit ${soft}), and one would hold private keys; set LimitCORE=0 in the unit, or run ulimit -c 0 before the start`;
}

async function limits(): Promise<string | undefined> {
  try {
    return await readFile('/proc/self/limits', 'utf8');
  } catch {
    // Not Linux, or /proc is hidden: nothing can be said.
    return undefined;
  }
}
