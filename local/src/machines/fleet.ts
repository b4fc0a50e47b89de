import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { LocalNode, type NodeOptions, type NodeRole } from '../cluster/node.ts';
import { CertificateObserver } from '../cluster/observer.ts';
import type { Notify } from '../supervisor/events.ts';
import type { SupervisedProcess } from '../supervisor/process.ts';
import type { RunFolder } from '../supervisor/run-folder.ts';
import type { MachineKeeper, MachineOrder, MachineView } from './types.ts';

export interface FleetOptions {
  folder: RunFolder;
  autoRestart: boolean;
  scanIntervalSeconds: number;
  clock: Clock;
  notify: Notify;
  /** A machine was removed, and its agent runs no more. */
  onRemoved: (name: string) => void;
}

/** What was seen on the nodes' files, on all machines that there have been. */
export interface FleetTally {
  /** Certificates that ran out where they lay, on machines that are there, and on machines that were removed. */
  lapses: number;
  lapsesOfRemoved: number;
  renewals: number;
  reusedKeys: number;
  /** Automatic restarts of agents, etcd members and API servers. */
  restarts: number;
  /** Machines that were made in the place of removed ones. */
  replacements: number;
}

interface Machine {
  node: LocalNode;
  observer: CertificateObserver;
}

export const maxNodes = 200;
const firstAddress = 11;
/** Removed machines of one name whose folders are kept. */
const keptRemoved = 3;

/** The cluster's machines, which come and go: each a folder and processes. A removed one's folder is moved aside, so that the machine can come back as real ones do. */
export class Fleet implements MachineKeeper {
  readonly #options: FleetOptions;
  /** In the order in which the names first came; undefined: removed, and no other of the name was made yet. */
  readonly #machines = new Map<string, Machine | undefined>();
  #removed: LocalNode[] = [];
  readonly #removals = new Map<string, number>();
  #gone: Omit<FleetTally, 'lapses' | 'replacements'> = { lapsesOfRemoved: 0, renewals: 0, reusedKeys: 0, restarts: 0 };
  #replacements = 0;
  #nextAddress = firstAddress;

  constructor(options: FleetOptions, nodes: readonly { name: string; role: NodeRole }[]) {
    this.#options = options;
    for (const { name, role } of nodes) this.#add(this.#node({ name, role, address: this.#newAddress() }));
  }

  get nodes(): LocalNode[] {
    return this.#present().map(({ node }) => node);
  }

  /** Machines that were removed and can come back; oldest first, some of each name. */
  get removed(): readonly LocalNode[] {
    return this.#removed;
  }

  processes(): SupervisedProcess[] {
    const all = [...this.nodes, ...this.#removed].flatMap(({ agent, etcd, apiServer }) => [agent, etcd, apiServer]);
    return all.filter((process) => process !== undefined);
  }

  /** Looks at all machines' files now. */
  async observe(): Promise<void> {
    const nowMs = this.#options.clock.nowMs();
    await Promise.all(this.#present().map(({ observer }) => observer.look(nowMs)));
  }

  tally(): FleetTally {
    const present = this.#present();
    const sum = (of: (observer: CertificateObserver) => number): number => present.reduce((total, { observer }) => total + of(observer), 0);
    return {
      lapses: sum((observer) => observer.lapsedSerials.length),
      lapsesOfRemoved: this.#gone.lapsesOfRemoved,
      renewals: this.#gone.renewals + sum((observer) => observer.replacements),
      reusedKeys: this.#gone.reusedKeys + sum((observer) => observer.reusedKeys),
      restarts: this.#gone.restarts + this.processes().reduce((total, process) => total + process.restarts, 0),
      replacements: this.#replacements,
    };
  }

  list(): MachineView[] {
    return this.nodes.map(({ name, role, address, agent, rootDir }) => ({
      name,
      role,
      addresses: [address],
      pid: agent.pid ?? null,
      folder: rootDir,
    }));
  }

  async create({ name, addresses, join }: MachineOrder): Promise<string> {
    if (!this.#machines.has(name) && this.#machines.size >= maxNodes)
      throw new EvercertError('FailedPrecondition', `this local cluster has ${maxNodes} machines, the most that it can have`);
    const node = this.#node({ name, role: 'worker', address: addresses[0] ?? this.#newAddress() });
    // Of an attempt that failed before there was a machine.
    node.deleteFiles();
    try {
      node.writeAgentConfig({ ...join, scanIntervalSeconds: this.#options.scanIntervalSeconds });
      await node.agent.start();
    } catch (error) {
      node.deleteFiles();
      throw error;
    }
    const replaces = this.#machines.has(name);
    if (replaces) this.#replacements += 1;
    this.#add(node);
    const message = `${replaces ? 'a new machine was made in its place' : 'the machine was made'}: process ${node.agent.pid}`;
    this.#options.notify('info', `${name}: ${message}`);
    return message;
  }

  async remove(name: string): Promise<string> {
    const machine = this.#machines.get(name);
    if (!machine) return `the machine ${name} is not there`;
    const { node, observer } = machine;
    await node.agent.stop();
    await observer.look(this.#options.clock.nowMs());
    this.#machines.set(name, undefined);
    this.#gone = {
      lapsesOfRemoved: this.#gone.lapsesOfRemoved + observer.lapsedSerials.length,
      renewals: this.#gone.renewals + observer.replacements,
      reusedKeys: this.#gone.reusedKeys + observer.reusedKeys,
      restarts: this.#gone.restarts + node.agent.restarts,
    };
    const count = (this.#removals.get(name) ?? 0) + 1;
    this.#removals.set(name, count);
    const aside = node.moveAside(`${name}.removed-${count}`);
    this.#removed.push(aside);
    await this.#forgetOldest(name);
    this.#options.onRemoved(name);
    const message = `the machine was removed; its folder is ${aside.rootDir}`;
    this.#options.notify('info', `${name}: ${message}`);
    return message;
  }

  async #forgetOldest(name: string): Promise<void> {
    const ofName = this.#removed.filter((node) => node.name === name);
    const forgotten = ofName.slice(0, Math.max(0, ofName.length - keptRemoved));
    for (const node of forgotten) {
      await node.agent.stop();
      node.deleteFiles();
    }
    this.#removed = this.#removed.filter((node) => !forgotten.includes(node));
  }

  #present(): Machine[] {
    return [...this.#machines.values()].filter((machine) => machine !== undefined);
  }

  #add(node: LocalNode): void {
    this.#machines.set(node.name, { node, observer: new CertificateObserver(node.rootDir) });
  }

  #node(own: Pick<NodeOptions, 'name' | 'role' | 'address'>): LocalNode {
    const { folder, autoRestart, clock, notify } = this.#options;
    return new LocalNode({ ...own, folder, autoRestart, clock, notify });
  }

  #newAddress(): string {
    const address = `127.0.${Math.floor(this.#nextAddress / 256)}.${this.#nextAddress % 256}`;
    this.#nextAddress += 1;
    return address;
  }
}
