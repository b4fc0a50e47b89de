/** Real agents as processes of a local cluster's host of machines, without a cluster around them: what the process driver is tested with. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { type NodeProvisioner, openProvisioners, type Provisioners } from '@evercert/coordinator/provisioning';
import { ActionJournal, Fleet, type MachineApi, MachineHost, prepareRunFolder, type RunFolder, serveMachines } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { Machine } from '../contract/provisioner.ts';
import { temporaryFolder, until } from './live.ts';

export class ProcessMachines {
  readonly folder: RunFolder;
  readonly socket: string;
  readonly fleet: Fleet;
  readonly #opened: Provisioners[] = [];
  #host: MachineHost | undefined;
  #api: MachineApi | undefined;
  #silent: Server | undefined;

  private constructor() {
    this.folder = prepareRunFolder(temporaryFolder('machines'), systemClock.nowMs());
    this.socket = join(this.folder.sockets, 'machines.sock');
    const common = { autoRestart: true, scanIntervalSeconds: 10, clock: systemClock, notify: () => undefined, onRemoved: () => undefined };
    this.fleet = new Fleet({ ...common, folder: this.folder }, []);
  }

  static async open(): Promise<ProcessMachines> {
    const machines = new ProcessMachines();
    await machines.serve();
    return machines;
  }

  /** Opens the host, its journal and its socket; again after `close`, as another process would. */
  async serve(): Promise<void> {
    const journal = await ActionJournal.open(join(this.folder.path, 'machines.json'));
    this.#host = new MachineHost({ cluster: 'demo', keeper: this.fleet, journal });
    this.#api = await serveMachines(this.socket, this.#host);
  }

  async close(): Promise<void> {
    await this.#api?.close();
    await this.#host?.close();
  }

  /** As the coordinator opens it from its configuration. */
  async driver(): Promise<NodeProvisioner> {
    const deps = { clock: systemClock, logger: silentLogger, stateDir: this.folder.path };
    const provisioners = await openProvisioners({ local: { type: 'process', socket: this.socket } }, deps);
    this.#opened.push(provisioners);
    return provisioners.get('local') as NodeProvisioner;
  }

  /** Takes the host's place with somebody who takes calls and never answers. */
  async stall(): Promise<void> {
    await this.close();
    const silent = createServer(() => undefined);
    this.#silent = silent;
    await new Promise<void>((resolve) => silent.listen(this.socket, resolve));
  }

  /** The agents that run, as the operating system knows them; each leads its own process group. */
  async running(): Promise<Machine[]> {
    const config = new RegExp(`${this.folder.nodes}/([^/ ]+)/etc/evercert/agent\\.yaml`);
    await until('no process to be in the middle of an exec', 5000, () => !pids().some(isBetweenPrograms), 5);
    return pids().flatMap((id) => {
      const name = config.exec(commandLine(id))?.[1];
      return name === undefined || statOf(id).group !== id ? [] : [{ name, id }];
    });
  }

  async dispose(): Promise<void> {
    for (const provisioners of this.#opened) await provisioners.close();
    await this.close();
    this.#silent?.close();
    for (const process of this.fleet.processes()) await process.kill();
    this.folder.release();
    rmSync(this.folder.path, { recursive: true, force: true });
  }
}

function pids(): string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
}

function commandLine(pid: string): string {
  return read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ');
}

/** A child of this process whose old program is gone and whose new one is not there yet: it has no command line for a moment. */
function isBetweenPrograms(pid: string): boolean {
  const { state, parent } = statOf(pid);
  return parent === String(process.pid) && state !== 'Z' && commandLine(pid) === '' && statOf(pid).parent === parent;
}

/** proc_pid_stat(5): fields 3 to 5; the second is the only one that may hold spaces and brackets. Undefined for a process that is gone. */
function statOf(pid: string): Record<'state' | 'parent' | 'group', string | undefined> {
  const stat = read(`/proc/${pid}/stat`);
  const [state, parent, group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { state, parent, group };
}

/** Empty for a process that has ended since it was listed. */
function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code))) return '';
    throw error;
  }
}
