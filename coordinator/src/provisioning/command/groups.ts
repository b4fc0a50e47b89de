/** Process groups: a program with all that it has started and not let go of. */
import { readFile } from 'node:fs/promises';
import type { Clock } from '@evercert/shared/clock';
import { errnoOf } from '@evercert/shared/files';

/** From SIGTERM to SIGKILL. */
export const graceMs = 5000;
const pollMs = 20;

/** SIGTERM to the whole group, SIGKILL to what is left of it after a grace time; resolves when it is gone, or cannot be ended. */
export async function endGroup(pid: number, clock: Clock): Promise<void> {
  if (!signalGroup(pid, 'SIGTERM')) return;
  if (await goneWithin(pid, graceMs, clock)) return;
  signalGroup(pid, 'SIGKILL');
  // What has died but nobody has taken notice of still counts as a member: it is not waited for without end.
  await goneWithin(pid, 1000, clock);
}

/** Whether the group has a member. */
export function groupExists(pid: number): boolean {
  return signalGroup(pid, 0);
}

async function goneWithin(pid: number, timeoutMs: number, clock: Clock): Promise<boolean> {
  const endMs = clock.monotonicMs() + timeoutMs;
  while (groupExists(pid)) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(pollMs);
  }
  return true;
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
    const [boot, text] = await Promise.all([readFile('/proc/sys/kernel/random/boot_id', 'utf8'), readFile(`/proc/${pid}/stat`, 'utf8')]);
    // proc_pid_stat(5): the name stands in parentheses and may hold anything; `starttime` is the 20th field after it.
    const started = text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
    return started && `${boot.trim()}:${started}`;
  } catch (error) {
    if (['ENOENT', 'ESRCH', 'EACCES'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
