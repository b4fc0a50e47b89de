import type { CoordinatorInstance } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { StateEtcd } from '../state-store/state-etcd.ts';
import type { Environment } from '../supervisor/environment.ts';
import type { Notify } from '../supervisor/events.ts';
import { freePort } from '../supervisor/ports.ts';
import type { SupervisedProcess } from '../supervisor/process.ts';
import type { RunFolder } from '../supervisor/run-folder.ts';
import type { AdminApi } from './admin.ts';
import { LocalCoordinator } from './coordinator.ts';
import { maxCoordinators, type Settings } from './options.ts';

export interface LocalCoordinatorsOptions {
  settings: Settings;
  folder: RunFolder;
  /** Added to the configuration of each. */
  config: Record<string, unknown>;
  takenPorts: Set<number>;
  notify: Notify;
}

/** One of several coordinators, as it was seen last. */
export interface CoordinatorView {
  name: string;
  address: string;
  /** It tells of itself. */
  serves: boolean;
  leads: boolean;
  /** Nodes whose agents are connected to it. */
  nodes: number;
}

const askMs = 2000;

/** The coordinators of a local cluster: one with a store of its own, or several on an etcd that is there for them. */
export class LocalCoordinators {
  readonly all: readonly LocalCoordinator[];
  readonly #etcd: StateEtcd | undefined;
  #views: readonly CoordinatorView[] = [];

  private constructor(all: readonly LocalCoordinator[], etcd: StateEtcd | undefined) {
    this.all = all;
    this.#etcd = etcd;
  }

  /** Chooses ports and writes configurations; starts nothing. InvalidArgument: several without an etcd, or too many. */
  static async prepare({ settings, folder, config, takenPorts, notify }: LocalCoordinatorsOptions): Promise<LocalCoordinators> {
    const { coordinators: count, stateEtcdBinary: binary, autoRestart, clock, random } = settings;
    if (count < 1 || count > maxCoordinators)
      throw new EvercertError('InvalidArgument', `a local cluster has 1 to ${maxCoordinators} coordinators`);
    if (count > 1 && binary === undefined)
      throw new EvercertError('InvalidArgument', 'several coordinators share an etcd: install etcd-server, or run one coordinator');
    const common = { folder, autoRestart, clock, notify };
    const port = (): Promise<number> => freePort('127.0.0.1', random, takenPorts);
    if (count === 1 || binary === undefined) {
      const [own, web] = [await port(), await port()];
      return new LocalCoordinators([new LocalCoordinator({ ...common, port: own, webPort: web, config })], undefined);
    }
    const etcd = await StateEtcd.prepare({ ...common, binary, random, takenPorts });
    const all: LocalCoordinator[] = [];
    let url: string | undefined;
    for (let index = 1; index <= count; index += 1) {
      const [own, webPort] = [await port(), await port()];
      // The same in all certificates, whoever issues them; the first serves it.
      url ??= `http://127.0.0.1:${webPort}`;
      const web = { listen: `127.0.0.1:${webPort}`, url };
      all.push(
        new LocalCoordinator({
          ...common,
          name: `coordinator-${index}`,
          port: own,
          webPort,
          config: { ...etcd.coordinatorConfig, advertise: `127.0.0.1:${own}`, web, ...config },
        }),
      );
    }
    return new LocalCoordinators(all, etcd);
  }

  /** The one whose folder holds the admin's credential that people are told of. */
  get first(): LocalCoordinator {
    const [first] = this.all;
    if (!first) throw new EvercertError('Internal', 'there is no coordinator');
    return first;
  }

  /** `HOST:PORT` of each. */
  get addresses(): string[] {
    return this.all.map(({ address }) => address);
  }

  /** Empty where there is one alone. */
  get views(): readonly CoordinatorView[] {
    return this.#views;
  }

  get processes(): SupervisedProcess[] {
    return [...this.all.map(({ process }) => process), ...(this.#etcd ? [this.#etcd.process] : [])];
  }

  /** Resolves when all of them answer. */
  async start(env: Record<string, Environment>, signal: AbortSignal): Promise<void> {
    await this.#etcd?.process.start(env['state-etcd']);
    // One after the other: the first makes the control CA.
    for (const coordinator of this.all) await coordinator.start(env[coordinator.process.name], signal);
  }

  /** The admin API of the only one, or of the first that answers. Unavailable: none does. */
  async admin(): Promise<AdminApi> {
    if (this.all.length === 1) return this.first.admin();
    for (const coordinator of this.all) {
      if (!coordinator.process.running) continue;
      const admin = await coordinator.admin().catch(() => undefined);
      if (await admin?.serving()) return admin as AdminApi;
    }
    throw new EvercertError('Unavailable', 'no coordinator answers');
  }

  /** Asks who serves and who leads. */
  async look(): Promise<void> {
    if (this.all.length === 1) return;
    let told: readonly CoordinatorInstance[] = [];
    try {
      const admin = await this.admin();
      told = (await admin.call(admin.client.listCoordinators, {}, askMs)).coordinators;
    } catch (error) {
      // Nobody answers: none is seen to serve.
      if (!(error instanceof EvercertError)) throw error;
    }
    this.#views = this.all.map(({ process, address }) => {
      const found = process.running ? told.find((one) => one.address === address) : undefined;
      return { name: process.name, address, serves: found !== undefined, leads: found?.leader ?? false, nodes: found?.nodes ?? 0 };
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.all.map((coordinator) => coordinator.stop()));
    await this.#etcd?.process.stop();
  }
}
