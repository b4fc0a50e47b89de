/** Several coordinators, each a process of its own, on one real etcd cluster with mTLS: each can be stopped, killed and started again. */
import { randomBytes } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AdminApi, type Environment, freePort, LocalCoordinator, prepareRunFolder, type RunFolder, waitUntil } from '@evercert/local';
import type { CoordinatorInstance } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { EtcdCluster, type EtcdClusterOptions } from './etcd-cluster.ts';
import { temporaryFolder } from './live.ts';

export interface CoordinatorsOptions {
  /** How many; 3 by default. */
  count?: number;
  etcd?: EtcdClusterOptions;
  /** More of the coordinators' configuration. */
  config?: Record<string, unknown>;
  /** Variables for the first run of each coordinator, by its index. */
  env?: Record<number, Environment>;
}

/** Tests do not wait for long to see another leader. */
const defaults = { leadership: { leaseTtl: '4s' }, shutdownGrace: '2s', heartbeatInterval: '2s', unreachableAfter: '8s' };
const startTimeoutMs = 60_000;

export class Coordinators {
  readonly etcd: EtcdCluster;
  readonly folder: RunFolder;
  readonly all: LocalCoordinator[] = [];

  /** True: this machine has an etcd. */
  static possible(): boolean {
    return EtcdCluster.possible();
  }

  /** Resolves when all of them serve and one leads. */
  static async start(options: CoordinatorsOptions = {}): Promise<Coordinators> {
    const etcd = await EtcdCluster.start(options.etcd);
    const coordinators = new Coordinators(etcd);
    try {
      await coordinators.#prepare(options);
      // One after the other: the first makes the control CA.
      for (const index of coordinators.all.keys()) await coordinators.start(index, options.env?.[index]);
      await coordinators.untilLeading();
      return coordinators;
    } catch (error) {
      await coordinators.dispose();
      throw error;
    }
  }

  private constructor(etcd: EtcdCluster) {
    this.etcd = etcd;
    this.folder = prepareRunFolder(temporaryFolder('coordinators'), systemClock.nowMs());
  }

  /** `HOST:PORT` of each. */
  get addresses(): string[] {
    return this.all.map(({ address }) => address);
  }

  /** The admin's contexts file of one of them. */
  contextsFile(index: number): string {
    return join(this.#at(index).adminDir, 'config.yaml');
  }

  /** Starts one and resolves once it serves. */
  start(index: number, env: Environment = {}): Promise<void> {
    return this.#at(index).start(env);
  }

  /** SIGTERM: it sends its agents away first. */
  stop(index: number): Promise<void> {
    return this.#at(index).stop();
  }

  /** SIGKILL. */
  kill(index: number): Promise<void> {
    return this.#at(index).process.kill();
  }

  /** The admin API of this one, or of the first that runs. */
  admin(index = this.all.findIndex(({ process }) => process.running)): Promise<AdminApi> {
    return this.#at(index).admin();
  }

  /** Those that are told to agents now. Empty: nobody answers. */
  async instances(): Promise<CoordinatorInstance[]> {
    for (const [index, { process }] of this.all.entries()) {
      if (!process.running) continue;
      try {
        const admin = await this.admin(index);
        return (await admin.call(admin.client.listCoordinators, {}, 2000)).coordinators;
      } catch (error) {
        if (!(error instanceof EvercertError)) throw error;
      }
    }
    return [];
  }

  /** Index of the one that leads; undefined: there is none now. */
  async leader(): Promise<number | undefined> {
    const leading = (await this.instances()).find(({ leader }) => leader);
    const index = this.addresses.indexOf(leading?.address ?? '');
    return index < 0 || !this.#at(index).process.running ? undefined : index;
  }

  /** Resolves with the index of the one that leads, once one does that is another than `than`. */
  async untilLeading(than?: number, timeoutMs = startTimeoutMs): Promise<number> {
    let leader: number | undefined;
    const leads = async (): Promise<boolean> => {
      leader = await this.leader();
      return leader !== undefined && leader !== than;
    };
    await waitUntil(systemClock, leads, { timeoutMs, what: `a coordinator to lead (logs: ${this.folder.logs})` });
    return leader as number;
  }

  async dispose(): Promise<void> {
    await Promise.all(this.all.map(({ process }) => process.kill()));
    for (const coordinator of this.all) await coordinator.stop();
    await this.etcd.dispose();
    this.folder.release();
    rmSync(this.folder.path, { recursive: true, force: true });
  }

  async #prepare({ count = 3, config }: CoordinatorsOptions): Promise<void> {
    const kekFile = join(this.folder.path, 'kek');
    writeFileSync(kekFile, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
    const taken = new Set<number>();
    const port = (): Promise<number> => freePort('127.0.0.1', Math.random, taken);
    // One for all: what stands in certificates does not depend on who issues them.
    const url = `http://127.0.0.1:${await port()}`;
    for (let index = 0; index < count; index += 1) {
      const webPort = await port();
      this.all.push(
        new LocalCoordinator({
          folder: this.folder,
          name: `coordinator-${index + 1}`,
          port: await port(),
          webPort,
          config: {
            ...defaults,
            serverNames: ['127.0.0.1', 'localhost'],
            web: { listen: `127.0.0.1:${webPort}`, url },
            store: this.etcd.storeConfig,
            caKeys: { provider: 'store', store: { kekFile } },
            ...config,
          },
          autoRestart: false,
          clock: systemClock,
          notify: () => undefined,
        }),
      );
    }
  }

  #at(index: number): LocalCoordinator {
    const coordinator = this.all[index];
    if (!coordinator) throw new Error(`there is no coordinator ${index}`);
    return coordinator;
  }
}
