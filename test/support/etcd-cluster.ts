/**
 * A real etcd cluster with TLS between its members and to its clients, for the tests of the store and of several coordinators: members can be killed and started again, cut off the
 * network, and their disks filled.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EtcdStore, type EtcdStoreOptions, openEtcdStore } from '@evercert/coordinator/store';
import { type EtcdEndpoint, etcdArguments, freePort, SupervisedProcess, waitUntil } from '@evercert/local';
import { AlarmRequest_AlarmAction, AlarmType, ClusterClient, KVClient, MaintenanceClient, type StatusResponse } from '@evercert/proto/etcd';
import { systemClock } from '@evercert/shared/clock';
import { createFileCredentials, unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { createEtcdPki, type EtcdPki } from './etcd-pki.ts';
import { TestDisk } from './test-disk.ts';
import { TestNetwork } from './test-network.ts';
import { findTool } from './tools.ts';

export interface EtcdClusterOptions {
  /** How many members; 3 by default. */
  members?: number;
  /** Each member in a network namespace of its own, so that it can be partitioned; needs root, `ip` and `nft`. */
  namespaces?: boolean;
  /** Megabytes of a file system of its own for each member's data, by its index; needs root. */
  disks?: Record<number, number>;
  /** Milliseconds; an election takes about ten heartbeats. 100 by default. */
  heartbeatMs?: number;
  /** Life of the members' and clients' certificates; an hour by default. */
  lifetimeSeconds?: number;
  /** More of etcd's flags. */
  flags?: string[];
}

export interface EtcdFiles {
  caFile: string;
  certFile: string;
  keyFile: string;
}

/** etcd's default is 2 GiB. */
const graceMs = 5000;

export class EtcdCluster {
  readonly folder: string;
  readonly endpoints: EtcdEndpoint[];
  readonly members: SupervisedProcess[] = [];
  readonly disks = new Map<number, TestDisk>();
  readonly network: TestNetwork | undefined;
  readonly #options: EtcdClusterOptions;
  readonly #pki: EtcdPki;
  readonly #pools = new Map<number, { kv: KVClient; maintenance: MaintenanceClient; cluster: ClusterClient }>();

  /** True: this machine has what the options need. */
  static possible({ namespaces = false, disks = {} }: EtcdClusterOptions = {}): boolean {
    const root = process.getuid?.() === 0;
    const tools = ['etcd', ...(namespaces ? ['ip', 'nft'] : []), ...(Object.keys(disks).length > 0 ? ['mount'] : [])];
    return tools.every((tool) => findTool(tool) !== undefined) && (tools.length === 1 || root);
  }

  static async start(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
    const folder = mkdtempSync(join(tmpdir(), 'evercert-etcd-'));
    const network = options.namespaces ? await TestNetwork.open(options.members ?? 3) : undefined;
    const taken = new Set<number>();
    const endpoints: EtcdEndpoint[] = [];
    for (let index = 0; index < (options.members ?? 3); index++) {
      const address = network?.address(index) ?? '127.0.0.1';
      const port = (): Promise<number> => freePort('127.0.0.1', Math.random, taken);
      endpoints.push({ name: `m${index + 1}`, address, clientPort: await port(), peerPort: await port() });
    }
    const cluster = new EtcdCluster(folder, endpoints, options, await createEtcdPki(), network);
    try {
      await cluster.#prepare();
      await Promise.all(cluster.members.map((member) => member.start()));
      await cluster.untilHealthy();
      return cluster;
    } catch (error) {
      await cluster.dispose();
      throw error;
    }
  }

  private constructor(
    folder: string,
    endpoints: EtcdEndpoint[],
    options: EtcdClusterOptions,
    pki: EtcdPki,
    network: TestNetwork | undefined,
  ) {
    this.folder = folder;
    this.endpoints = endpoints;
    this.#options = options;
    this.#pki = pki;
    this.network = network;
  }

  /** `HOST:PORT` of every member. */
  get targets(): string[] {
    return this.endpoints.map(({ address, clientPort }) => `${address}:${clientPort}`);
  }

  /** Of a client: what a coordinator's configuration names. */
  get files(): EtcdFiles {
    const pki = this.pkiDir(0);
    return {
      caFile: join(pki, 'ca.crt'),
      certFile: join(pki, 'apiserver-etcd-client.crt'),
      keyFile: join(pki, 'apiserver-etcd-client.key'),
    };
  }

  /** The section `store` of a coordinator's configuration. */
  get storeConfig(): { etcd: { endpoints: string[] } & EtcdFiles } {
    return { etcd: { endpoints: this.targets, ...this.files } };
  }

  pkiDir(index: number): string {
    return join(this.folder, this.#name(index), 'pki');
  }

  log(index: number): string {
    return readFileSync(join(this.folder, `${this.#name(index)}.log`), 'utf8');
  }

  /** A store over all members; the caller closes it. */
  openStore(options: Partial<EtcdStoreOptions> = {}): Promise<EtcdStore> {
    return openEtcdStore({ endpoints: this.targets, files: this.files, clock: systemClock, logger: silentLogger, ...options });
  }

  /** SIGKILL. */
  async kill(index: number): Promise<void> {
    await this.#member(index).kill();
  }

  /** Starts a member that was killed or has died. */
  async start(index: number): Promise<void> {
    await this.#member(index).start();
  }

  /** Index of the member that the others follow; undefined: there is none now. */
  async leader(): Promise<number | undefined> {
    for (const index of this.endpoints.keys()) {
      const status = await this.status(index);
      if (status !== undefined && status.leader !== '0' && status.leader === status.header?.memberId) return index;
    }
    return undefined;
  }

  /** What a member says of itself; undefined: it does not answer. */
  async status(index: number): Promise<StatusResponse | undefined> {
    if (!this.#member(index).running) return undefined;
    try {
      const { maintenance } = await this.#clients(index);
      return await unary(maintenance.status.bind(maintenance), {}, { deadlineMs: 1000 });
    } catch {
      // It is down, or cut off: that is an answer too.
      return undefined;
    }
  }

  /** Waits until these members (all, by default) know a leader and raise no alarm. */
  async untilHealthy(indexes: readonly number[] = [...this.endpoints.keys()], timeoutMs = 30_000): Promise<void> {
    const healthy = async (index: number): Promise<boolean> => {
      const status = await this.status(index);
      return status !== undefined && status.leader !== '0' && status.errors.length === 0;
    };
    const what = `etcd's members ${indexes.map((index) => this.#name(index)).join(', ')} to be healthy`;
    const all = async (): Promise<boolean> => (await Promise.all(indexes.map(healthy))).every(Boolean);
    await waitUntil(systemClock, all, { timeoutMs, what }).catch(async (error: unknown) => {
      const ill = [];
      for (const index of indexes)
        if (!(await healthy(index))) ill.push(`${this.#name(index)}:\n${this.log(index).split('\n').slice(-8).join('\n')}`);
      throw new Error(`${String(error)}\n${ill.join('\n')}`);
    });
  }

  /** Forgets everything that was overwritten up to now. Returns the revision. */
  async compact(index = 0): Promise<number> {
    const { kv } = await this.#clients(index);
    const status = await this.status(index);
    const revision = status?.header?.revision ?? 0;
    await unary(kv.compact.bind(kv), { revision, physical: true }, { deadlineMs: 10_000 });
    return revision;
  }

  /** Raises or takes away the alarm that stops all writes. */
  async alarmNoSpace(on: boolean): Promise<void> {
    const { maintenance } = await this.#clients(0);
    const memberId = (await this.status(0))?.header?.memberId ?? '0';
    const action = on ? AlarmRequest_AlarmAction.ACTIVATE : AlarmRequest_AlarmAction.DEACTIVATE;
    await unary(maintenance.alarm.bind(maintenance), { action, memberId, alarm: AlarmType.NOSPACE }, { deadlineMs: 5000 });
  }

  /** New certificates for all members and clients, in the same files. */
  async renewCertificates(lifetimeSeconds: number): Promise<void> {
    for (const [index, { name, address }] of this.endpoints.entries()) {
      await this.#pki.writeNode(this.pkiDir(index), name, address, lifetimeSeconds);
    }
    this.#forgetClients();
  }

  async dispose(): Promise<void> {
    this.#forgetClients();
    await Promise.all(this.members.map((member) => member.kill()));
    for (const disk of this.disks.values()) await disk.close();
    await this.network?.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #prepare(): Promise<void> {
    const { heartbeatMs = 100, lifetimeSeconds = 3600, flags = [], disks = {} } = this.#options;
    for (const [index, endpoint] of this.endpoints.entries()) {
      await this.#pki.writeNode(this.pkiDir(index), endpoint.name, endpoint.address, lifetimeSeconds);
      const dataDir = join(this.folder, endpoint.name, 'data');
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      if (disks[index] !== undefined) this.disks.set(index, await TestDisk.mount(dataDir, disks[index]));
      const args = [
        ...etcdArguments({
          endpoint,
          members: this.endpoints,
          pkiDir: this.pkiDir(index),
          dataDir: join(dataDir, 'etcd'),
          clusterToken: 'store',
        }),
        `--heartbeat-interval=${heartbeatMs}`,
        `--election-timeout=${heartbeatMs * 10}`,
        '--auto-compaction-retention=0',
        ...flags,
      ];
      const [command = '', ...before] = [...(this.network?.command(index) ?? []), findTool('etcd') ?? 'etcd'];
      const spec = {
        name: endpoint.name,
        command,
        args: [...before, ...args],
        cwd: this.folder,
        logPath: join(this.folder, `${endpoint.name}.log`),
        graceMs,
        autoRestart: false,
      };
      this.members.push(new SupervisedProcess(spec, systemClock, () => undefined));
    }
  }

  async #clients(index: number) {
    const known = this.#pools.get(index);
    if (known !== undefined) return known;
    const target = this.targets[index]!;
    const credentials = await createFileCredentials({ files: this.files, clock: systemClock, onUnusable: () => undefined });
    const options = { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_reconnect_backoff_ms': 500, 'grpc.initial_reconnect_backoff_ms': 100 };
    const clients = {
      kv: new KVClient(target, credentials, options),
      maintenance: new MaintenanceClient(target, credentials, options),
      cluster: new ClusterClient(target, credentials, options),
    };
    this.#pools.set(index, clients);
    return clients;
  }

  #forgetClients(): void {
    for (const clients of this.#pools.values()) for (const client of Object.values(clients)) client.close();
    this.#pools.clear();
  }

  #member(index: number): SupervisedProcess {
    return this.members[index]!;
  }

  #name(index: number): string {
    return this.endpoints[index]!.name;
  }
}
