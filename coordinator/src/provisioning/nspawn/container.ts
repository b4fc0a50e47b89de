/** One machine as a container: starts it so that it outlives this process, finds it again, and ends it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { open, readFile, rm, stat } from 'node:fs/promises';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf } from '@evercert/shared/files';
import { visibleLine } from '@evercert/shared/text';
import type { MachineNetwork } from './config.ts';
import { hostName, type MachinePlace } from './names.ts';
import { directoryArgument, findProcesses, kill, type MachineProcesses } from './processes.ts';
import { missing, programEnvironment, runProgram, runProgramOk } from './program.ts';

export interface WaitOptions {
  clock: Clock;
  timeoutMs: number;
  signal: AbortSignal;
}

const pollMs = 200;
const programMs = 20_000;
/** What a killed machine may take to be gone. */
const killedMs = 10_000;

/** Starts a machine that does not run. It is not up yet. Errors: FailedPrecondition (systemd-nspawn is not installed, there is no such bridge), Unavailable, Cancelled. */
export async function startContainer(place: MachinePlace, network: MachineNetwork, signal: AbortSignal): Promise<void> {
  if (network !== 'host' && !existsSync(`/sys/class/net/${network.bridge}/bridge`)) {
    throw new EvercertError(
      'FailedPrecondition',
      `this host has no network bridge ${network.bridge}: make it, or name another in the provisioner's network`,
    );
  }
  const argv = nspawnArguments(place, network);
  // Where systemd runs the host, everything in the coordinator's own control group ends with it: the machine gets a unit of its own.
  if (existsSync('/run/systemd/system')) await runProgramOk([...unitArguments(place), ...argv], { timeoutMs: programMs, signal });
  else await startDetached(place, argv);
}

function nspawnArguments({ name, node, root, agent }: MachinePlace, network: MachineNetwork): [string, ...string[]] {
  return [
    'systemd-nspawn',
    '--quiet',
    '--keep-unit',
    '--register=no',
    '--settings=no',
    '--link-journal=no',
    '--console=passive',
    `--machine=${name}`,
    `--hostname=${hostName(node)}`,
    directoryArgument(root),
    `--bind-ro=${agent}:/etc/evercert-agent`,
    ...(network === 'host' ? [] : [`--network-bridge=${network.bridge}`, '--resolv-conf=replace-host']),
    '--boot',
  ];
}

/** As systemd-nspawn@.service of systemd 252, for a unit that is gone when the machine is. */
function unitArguments({ name }: MachinePlace): string[] {
  const properties = [
    'KillMode=mixed',
    'Delegate=yes',
    'TasksMax=16384',
    'DevicePolicy=closed',
    'DeviceAllow=/dev/net/tun rwm',
    'DeviceAllow=char-pts rw',
  ];
  // 133: the machine reboots.
  properties.push('RestartForceExitStatus=133', 'SuccessExitStatus=133');
  const unit = [`--unit=evercert-machine-${name}.service`, '--slice=machine.slice', `--description=Evercert machine ${name}`];
  return [
    'systemd-run',
    '--quiet',
    '--collect',
    '--service-type=exec',
    ...unit,
    ...properties.map((property) => `--property=${property}`),
    '--',
  ];
}

async function startDetached({ log }: MachinePlace, [file, ...args]: [string, ...string[]]): Promise<void> {
  await using output = await open(log, 'w', 0o600);
  const child = spawn(file, args, { cwd: '/', env: programEnvironment, detached: true, stdio: ['ignore', output.fd, output.fd] });
  await once(child, 'spawn').catch((cause: unknown) => {
    throw errnoOf(cause) === 'ENOENT' ? missing(file, cause) : new EvercertError('Unavailable', `${file} cannot be started`, { cause });
  });
  child.unref();
}

/** Whether anything of the machine runs. */
export function isRunning({ supervisors, inside }: MachineProcesses): boolean {
  return supervisors.length + inside.length > 0;
}

/** Until the machine's systemd has its basic units up. Errors: Unavailable (it has ended, with what systemd-nspawn said), DeadlineExceeded (it runs on), Cancelled. */
export async function waitUntilUp(place: MachinePlace, { clock, timeoutMs, signal }: WaitOptions): Promise<void> {
  const endMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    const processes = await findProcesses(place.root);
    if (!isRunning(processes))
      throw new EvercertError('Unavailable', `machine ${place.name} ended while it booted: ${await lastWords(place)}`);
    if (processes.init !== undefined && (await isUp(processes.init, signal))) return;
    if (clock.monotonicMs() >= endMs) {
      throw new EvercertError(
        'DeadlineExceeded',
        `machine ${place.name} has not booted within ${timeoutMs / 1000} s; it is given more time`,
      );
    }
    await clock.sleep(pollMs, signal);
  }
}

/** Asked from within the machine's namespaces; it was copied from the image and nothing but that has run in it. */
async function isUp(init: number, signal: AbortSignal): Promise<boolean> {
  const inside = ['nsenter', '-t', String(init), '-m', '-p', '-u', '-i', '-n', '-C', '--'];
  const { stdout } = await runProgram([...inside, 'systemctl', 'is-system-running'], { timeoutMs: programMs, signal });
  return ['starting', 'running', 'degraded'].includes(stdout.trim());
}

async function lastWords({ name, log }: MachinePlace): Promise<string> {
  const text = await readFile(log, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  });
  return visibleLine(text.trim().split('\n').at(-1) ?? '').slice(0, 500) || `see journalctl -u evercert-machine-${name}`;
}

/**
 * Powers the machine off, and kills it when that takes longer than `timeoutMs`. When it resolves, nothing of it runs, and its network interface is gone. Idempotent.
 * Errors: DeadlineExceeded (it cannot even be killed), Cancelled.
 */
export async function stopContainer(place: MachinePlace, options: WaitOptions): Promise<'powered off' | 'killed' | 'did not run'> {
  const processes = await findProcesses(place.root);
  if (!isRunning(processes)) {
    await sweep(place);
    return 'did not run';
  }
  // Its answer is an orderly shutdown of the machine. Without it nobody would answer process 1.
  kill(processes.supervisors, 'SIGTERM');
  const orderly = processes.supervisors.length > 0 && (await hasEnded(place, options));
  if (!orderly && !(await isKilled(place, { ...options, timeoutMs: killedMs }))) {
    throw new EvercertError('DeadlineExceeded', `machine ${place.name} could not be ended within ${killedMs / 1000} s of SIGKILL`);
  }
  await sweep(place);
  return orderly ? 'powered off' : 'killed';
}

/** The kernel ends all of a machine with its process 1; systemd-nspawn then tidies up. It is killed itself only where it does not end by that. */
async function isKilled(place: MachinePlace, options: WaitOptions): Promise<boolean> {
  kill((await findProcesses(place.root)).inside, 'SIGKILL');
  if (await hasEnded(place, { ...options, timeoutMs: options.timeoutMs / 2 })) return true;
  const { supervisors, inside } = await findProcesses(place.root);
  kill([...supervisors, ...inside], 'SIGKILL');
  return hasEnded(place, { ...options, timeoutMs: options.timeoutMs / 2 });
}

async function hasEnded({ root }: MachinePlace, { clock, timeoutMs, signal }: WaitOptions): Promise<boolean> {
  const endMs = clock.monotonicMs() + timeoutMs;
  while (isRunning(await findProcesses(root))) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(pollMs, signal);
  }
  return true;
}

/** What systemd-nspawn leaves in /run when it is killed. */
async function sweep({ name, root }: MachinePlace): Promise<void> {
  await rm(`/run/systemd/nspawn/propagate/${name}`, { recursive: true, force: true });
  const folder = await stat(root, { bigint: true }).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (folder !== undefined) await rm(`/run/systemd/nspawn/locks/inode-${folder.dev}:${folder.ino}`, { force: true });
}
