/** Process groups: a program with all that it has started and not let go of. */
import { readdir, readFile } from 'node:fs/promises';
import type { Clock } from '@evercert/shared/clock';
import { errnoOf } from '@evercert/shared/files';

/** From SIGTERM to SIGKILL. */
export const graceMs = 5000;
const pollMs = 25;

/** SIGTERM to the whole group, SIGKILL to what is left of it after a grace time; resolves when it is gone, or cannot be ended. */
export async function endGroup(pid: number, clock: Clock): Promise<void> {
  if (!signalGroup(pid, 'SIGTERM')) return;
  if (await goneWithin(pid, graceMs, clock)) return;
  signalGroup(pid, 'SIGKILL');
  // A process that hangs in the kernel dies when it leaves it, whoever waits.
  await goneWithin(pid, 1000, clock);
}

async function goneWithin(pid: number, timeoutMs: number, clock: Clock): Promise<boolean> {
  const endMs = clock.monotonicMs() + timeoutMs;
  while (await groupRuns(pid)) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(pollMs);
  }
  return true;
}

/** What has died but whose parent has not taken notice yet is still a member, and runs no more: where nobody reaps orphans (in some containers), it stays one for ever. */
async function groupRuns(group: number): Promise<boolean> {
  if (!signalGroup(group, 0)) return false;
  const names = await readdir('/proc').catch(() => []);
  const pids = names.filter((name) => /^\d+$/.test(name)).map(Number);
  const members = (await Promise.all(pids.map(statOf))).filter((stat) => stat !== undefined && Number(stat[2]) === group);
  return members.length === 0 ? signalGroup(group, 0) : members.some((stat) => stat?.[0] !== 'Z' && stat?.[0] !== 'X');
}

function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-pid, signal);
    return true;
  } catch (error) {
    // EPERM: there is one, and it became another user's; there is nothing that could be done to it.
    if (errnoOf(error) === 'ESRCH' || errnoOf(error) === 'EPERM') return false;
    throw error;
  }
}

/** What tells a process from every other that ever has the same number: this boot, and when it was started. Undefined: it runs no more, or the system does not tell. */
export async function processMark(pid: number): Promise<string | undefined> {
  try {
    const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8');
    const started = (await statOf(pid))?.[19];
    return started && `${boot.trim()}:${started}`;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** proc_pid_stat(5) from `state` on: [2] is the process group, [19] the start time. The name before stands in parentheses and may hold anything. */
async function statOf(pid: number): Promise<string[] | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
