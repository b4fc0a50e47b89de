/** The machines of a run: made for it at the start, and by replacements; each a folder with an agent that lives among others in a process. */
import { appendFileSync, closeSync, fsyncSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MachineHost, type MachineHostOptions, type MachineKeeper, type MachineOrder, type MachineView } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import type { AgentHosts } from './agent-hosts.ts';
import type { Recorder } from './recorder.ts';

interface Machine {
  id: string;
  node: string;
  address: string;
  folder: string;
  on: boolean;
}

export interface FleetOptions {
  folder: string;
  hosts: AgentHosts;
  recorder: Recorder;
  /** The provisioner's record: each line is on the disk before anything follows from it. */
  record: string;
}

type ActionName = 'create' | 'remove';

export class Fleet implements MachineKeeper {
  readonly #options: FleetOptions;
  readonly #machines = new Map<string, Machine>();
  readonly #generations = new Map<string, number>();
  readonly #keys = new Map<string, string>();
  #addresses = 0;

  constructor(options: FleetOptions) {
    this.#options = options;
    writeFileSync(options.record, '');
  }

  /** Nodes whose machines run, in their order. */
  get on(): string[] {
    return [...this.#machines.values()].filter(({ on }) => on).map(({ node }) => node);
  }

  list(): MachineView[] {
    return [...this.#machines.values()].map(({ node, address, folder, on }) => {
      return { name: node, role: 'worker', addresses: [address], pid: on ? process.pid : null, folder };
    });
  }

  /** A machine that the run begins with. */
  async begin(node: string, join_: MachineOrder['join']): Promise<void> {
    await this.#make(node, this.#newAddress(), join_);
  }

  /** As a power cut: nothing of it is heard any more, and its files stay as they are. */
  async switchOff(node: string): Promise<void> {
    const machine = this.#machines.get(node);
    if (!machine?.on) return;
    machine.on = false;
    await this.#options.hosts.stop(machine.id);
    await this.#options.recorder.end(machine.id, true);
  }

  /** It is asked to do something under a key; what it then really does is told by `create` and `remove`. */
  asked(action: ActionName, node: string, key: string): void {
    this.#keys.set(`${action} ${node}`, key);
    this.#record('call', action, node);
  }

  async create({ name, addresses, join: join_ }: MachineOrder): Promise<string> {
    this.#record('effect', 'create', name);
    await this.#make(name, addresses[0] ?? this.#newAddress(), join_);
    return 'it was made';
  }

  async remove(name: string): Promise<string> {
    this.#record('effect', 'remove', name);
    await this.switchOff(name);
    this.#machines.delete(name);
    return 'it was removed';
  }

  async #make(node: string, address: string, { token, endpoints, caPins }: MachineOrder['join']): Promise<void> {
    const { folder: parent, hosts, recorder } = this.#options;
    const generation = (this.#generations.get(node) ?? 0) + 1;
    this.#generations.set(node, generation);
    const id = `${node}.${generation}`;
    const folder = join(parent, id);
    mkdirSync(join(folder, 'state'), { recursive: true, mode: 0o700 });
    mkdirSync(join(folder, 'root'), { mode: 0o755 });
    writeFileSync(join(folder, 'token'), `${token}\n`, { mode: 0o600 });
    this.#machines.set(node, { id, node, address, folder, on: true });
    recorder.add({ id, node, rootDir: join(folder, 'root'), stateDir: join(folder, 'state') });
    await hosts.start({ id, node, address, folder, endpoints: [...endpoints], caPins: [...caPins] });
  }

  #newAddress(): string {
    this.#addresses += 1;
    return `127.1.${Math.floor(this.#addresses / 250)}.${(this.#addresses % 250) + 1}`;
  }

  #record(kind: 'call' | 'effect', action: ActionName, node: string): void {
    const key = this.#keys.get(`${action} ${node}`) ?? '';
    const file = openSync(this.#options.record, 'a');
    appendFileSync(file, `${JSON.stringify({ kind, key, action, node, atMs: systemClock.nowMs() })}\n`);
    fsyncSync(file);
    closeSync(file);
  }
}

/** Tells the fleet of each call, repeats included. */
export class RecordingHost extends MachineHost {
  readonly #fleet: Fleet;

  constructor(options: MachineHostOptions & { keeper: Fleet }) {
    super(options);
    this.#fleet = options.keeper;
  }

  override create(action: Parameters<MachineHost['create']>[0]): Promise<string> {
    this.#fleet.asked('create', action.name, action.idempotencyKey);
    return super.create(action);
  }

  override remove(action: Parameters<MachineHost['remove']>[0]): Promise<string> {
    this.#fleet.asked('remove', action.name, action.idempotencyKey);
    return super.remove(action);
  }
}
