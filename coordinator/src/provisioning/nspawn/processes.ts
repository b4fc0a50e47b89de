import { readdir, readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { errnoOf } from '@evercert/shared/files';

/**
 * The processes of one machine, found by what they are: never by a number that was written down, which another process may have by now. Needs root.
 */
export interface MachineProcesses {
  /** systemd-nspawn with the machine's root among its arguments. */
  supervisors: number[];
  /** Those whose root folder is the machine's. */
  inside: number[];
  /** The one among them that is process 1 of the machine. */
  init: number | undefined;
}

/** What systemd-nspawn is told of its root, and is found by. */
export function directoryArgument(root: string): string {
  return `--directory=${root}`;
}

export async function findProcesses(root: string): Promise<MachineProcesses> {
  const folder = await orUndefined(stat(root, { bigint: true }));
  const found: MachineProcesses = { supervisors: [], inside: [], init: undefined };
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of pids) {
    const [command = '', ...args] = (await orUndefined(readFile(`/proc/${pid}/cmdline`, 'utf8')))?.split('\0') ?? [];
    if (basename(command) === 'systemd-nspawn' && args.includes(directoryArgument(root))) found.supervisors.push(pid);
    if (folder === undefined) continue;
    const rootOfProcess = await orUndefined(stat(`/proc/${pid}/root`, { bigint: true }));
    if (rootOfProcess?.dev !== folder.dev || rootOfProcess.ino !== folder.ino) continue;
    found.inside.push(pid);
    if (await isInit(pid)) found.init = pid;
  }
  return found;
}

/** Ends what is there; one that has ended meanwhile is no error. */
export function kill(pids: readonly number[], signal: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error;
    }
  }
}

async function isInit(pid: number): Promise<boolean> {
  const status = await orUndefined(readFile(`/proc/${pid}/status`, 'utf8'));
  const numbers = /^NSpid:\t(.+)$/m.exec(status ?? '')?.[1]?.split('\t');
  return numbers !== undefined && numbers.length > 1 && numbers.at(-1) === '1';
}

/** Processes end while they are looked at, and kernel threads have no root. */
async function orUndefined<T>(looking: Promise<T>): Promise<T | undefined> {
  try {
    return await looking;
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'].includes(errnoOf(error))) return undefined;
    throw error;
  }
}
