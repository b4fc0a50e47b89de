/** The machines of the provisioner `nspawn` as they really are: looked up without it, and without what it writes down. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '@evercert/shared/files';

export interface RunningMachine {
  /** Host name inside. */
  name: string;
  /** Process 1 of the machine. */
  initPid: string;
  /** Of its process 1, with the time at which it was started: the number alone may come again. */
  id: string;
  root: string;
}

/** Machines whose systemd-nspawn has a root below the folder. */
export function runningMachines(machinesDir: string): RunningMachine[] {
  return processesOf(machinesDir).flatMap((pid) => {
    const root = argumentsOf(pid)
      .find((argument) => argument.startsWith('--directory='))
      ?.slice('--directory='.length);
    const [initPid] = read(`/proc/${pid}/task/${pid}/children`).trim().split(' ');
    if (root === undefined || !initPid) return [];
    return [{ name: read(join(root, 'etc/hostname')).trim(), initPid, id: `${initPid}-${startOf(initPid)}`, root }];
  });
}

/** Whatever a folder's machines could leave behind on the host: processes, mounts, interfaces, entries of systemd-nspawn, and what is in the folder. */
export function leftovers(machinesDir: string): string[] {
  const folders = existsSync(machinesDir) ? readdirSync(machinesDir) : [];
  const entries = ['locks', 'propagate']
    .map((name) => join('/run/systemd/nspawn', name))
    .flatMap((folder) => (existsSync(folder) ? readdirSync(folder) : []));
  return [
    ...processesOf(machinesDir).map((pid) => `process ${pid}: ${argumentsOf(pid).join(' ')}`),
    ...read('/proc/self/mountinfo')
      .split('\n')
      .filter((line) => line.includes(machinesDir)),
    ...readdirSync('/sys/class/net').filter((name) => /^v[be]-/.test(name)),
    ...entries,
    ...folders,
  ];
}

/** Every systemd-nspawn of the folder, also one that only tidies up any more. */
export function processesOf(machinesDir: string): string[] {
  return readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && argumentsOf(pid).some((argument) => argument.startsWith(`--directory=${machinesDir}/`)),
  );
}

function argumentsOf(pid: string): string[] {
  return read(`/proc/${pid}/cmdline`).split('\0');
}

/** In ticks since the host's start: the 22nd field of proc(5)'s stat, whose second may hold spaces. */
function startOf(pid: string): string {
  return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19] ?? '';
}

function read(path: string): string {
  return orEmpty(() => readFileSync(path, 'utf8'));
}

/** Processes end while they are looked at. */
function orEmpty(look: () => string): string {
  try {
    return look();
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes(errnoOf(error))) return '';
    throw error;
  }
}
