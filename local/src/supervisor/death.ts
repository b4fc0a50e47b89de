import { spawnSync } from 'node:child_process';

export interface DeathPact {
  /** Put before a child's command line, so that the kernel kills the child when this process dies, however hard. Empty where the system has no such thing. */
  prefix: string[];
  /** True: children may leave the terminal's process group, so that Ctrl-C reaches the parent alone and it can stop them in order. */
  detached: boolean;
}

/**
 * Finds out once whether util-linux's setpriv can set the parent-death signal (prctl(2), PR_SET_PDEATHSIG; Debian's util-linux has it).
 * Without it children stay in the parent's process group: Ctrl-C and a killed group still end them, a SIGKILL of the parent alone does not.
 */
export function findDeathPact(): DeathPact {
  cached ??= probe();
  return cached;
}

let cached: DeathPact | undefined;

function probe(): DeathPact {
  const prefix = ['setpriv', '--pdeathsig', 'KILL', '--'];
  const [command = '', ...args] = prefix;
  const result = process.platform === 'linux' ? spawnSync(command, [...args, 'true'], { stdio: 'ignore', timeout: 5000 }) : undefined;
  return result?.status === 0 ? { prefix, detached: true } : { prefix: [], detached: false };
}
