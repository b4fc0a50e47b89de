import { join } from 'node:path';
import { ClusterSpec, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { WriterStatistics } from '../etcd/writer.ts';
import type { KubernetesStatistics } from '../kubernetes/load.ts';
import { repeat, waitUntil } from '../loop.ts';
import { type MachineApi, serveMachines } from '../machines/api.ts';
import { Fleet, maxNodes } from '../machines/fleet.ts';
import { MachineHost } from '../machines/host.ts';
import { ActionJournal } from '../machines/journal.ts';
import type { Notify } from '../supervisor/events.ts';
import type { SupervisedProcess } from '../supervisor/process.ts';
import { prepareRunFolder, type RunFolder } from '../supervisor/run-folder.ts';
import type { AdminApi } from './admin.ts';
import { ControlPlane } from './control-plane.ts';
import type { LocalCoordinator } from './coordinator.ts';
import { LocalCoordinators } from './coordinators.ts';
import type { KubernetesState } from './kubernetes.ts';
import type { LocalNode, NodeRole } from './node.ts';
import { type LocalClusterOptions, type Settings, withDefaults } from './options.ts';
import { checkPrograms } from './programs.ts';
import { provisionerName } from './replacement.ts';
import { isBadPhase, StatusBook } from './status.ts';
import { type Summary, summarize } from './summary.ts';

const pollMs = 500;
const observeMs = 1000;
/**
 * A whole cluster on this machine: a coordinator, nodes with their agents, etcd members and API servers, each a process of its own, and writers through them. Everything can be stopped,
 * killed and started again one by one; `stop` ends all of it. Made by `prepareLocalCluster`, which starts nothing yet, or `startLocalCluster`.
 */
export class LocalCluster {
  readonly settings: Settings;
  readonly folder: RunFolder;
  readonly coordinators: LocalCoordinators;
  readonly book: StatusBook;
  /** Unix socket on which machines are made and removed, where workers can be replaced. */
  readonly machinesSocket: string;
  readonly #fleet: Fleet;
  readonly #abort = new AbortController();
  readonly #loops: Promise<void>[] = [];
  readonly #begunMs: number;
  readonly #notify: Notify;
  #machines: { host: MachineHost; api: MachineApi } | undefined;
  /** Set by `prepare`. */
  #controlPlane: ControlPlane | undefined;
  #readyAfterMs: number | undefined;
  #stopping: Promise<void> | undefined;

  private constructor(settings: Settings, folder: RunFolder, coordinators: LocalCoordinators, notify: Notify) {
    this.settings = settings;
    this.folder = folder;
    this.coordinators = coordinators;
    this.#notify = notify;
    const { clock, autoRestart, scanIntervalSeconds } = settings;
    this.machinesSocket = machinesSocketOf(folder);
    this.#begunMs = clock.monotonicMs();
    const common = { folder, autoRestart, clock, notify };
    const named = (role: NodeRole, prefix: string, count: number): { name: string; role: NodeRole }[] =>
      Array.from({ length: count }, (_, index) => ({ name: `${prefix}-${index + 1}`, role }));
    const nodes = [...named('control-plane', 'cp', settings.controlPlanes), ...named('worker', 'worker', settings.workers)];
    this.book = new StatusBook(nodes);
    this.#fleet = new Fleet({ ...common, scanIntervalSeconds, onRemoved: (name) => this.book.machineRemoved(name) }, nodes);
  }

  /** Makes folder, ports and configuration. FileConflict: the run folder is somebody else's. */
  static async prepare(options: LocalClusterOptions): Promise<LocalCluster> {
    const settings = withDefaults(options);
    if (settings.controlPlanes < 1 || settings.workers < 0 || settings.controlPlanes + settings.workers > maxNodes) {
      throw new EvercertError('InvalidArgument', `a local cluster has 1 to ${maxNodes} nodes, one of them a control-plane node`);
    }
    checkPrograms();
    const folder = prepareRunFolder(settings.runDir, settings.clock.nowMs());
    try {
      const takenPorts = new Set<number>();
      const notify: Notify = (level, message) => settings.onNotice({ timeMs: settings.clock.nowMs(), level, message });
      const provisioners = { [provisionerName]: { type: 'process', socket: machinesSocketOf(folder) } };
      const config = { ...(settings.replacement && { provisioners }), ...settings.coordinatorConfig };
      const coordinators = await LocalCoordinators.prepare({ settings, folder, config, takenPorts, notify });
      const cluster = new LocalCluster(settings, folder, coordinators, notify);
      const nodes = cluster.controlPlaneNodes;
      cluster.#controlPlane = await ControlPlane.prepare({ settings, nodes, takenPorts, notify });
      return cluster;
    } catch (error) {
      folder.release();
      throw error;
    }
  }

  get name(): string {
    return this.settings.clusterName;
  }

  /** The only coordinator, or the first of several. */
  get coordinator(): LocalCoordinator {
    return this.coordinators.first;
  }

  /** The machines that are there now: workers come and go where they can be replaced. */
  get nodes(): readonly LocalNode[] {
    return this.#fleet.nodes;
  }

  /** Machines that were removed, as they can come back: `agent.start()`. Oldest first. */
  get removedMachines(): readonly LocalNode[] {
    return this.#fleet.removed;
  }

  get controlPlaneNodes(): LocalNode[] {
    return this.nodes.filter((node) => node.role === 'control-plane');
  }

  /** NotFound when there is none of this name. */
  node(name: string): LocalNode {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (!node)
      throw new EvercertError('NotFound', `this cluster has no node ${name}; it has ${this.nodes.map((each) => each.name).join(', ')}`);
    return node;
  }

  get elapsedMs(): number {
    return this.settings.clock.monotonicMs() - this.#begunMs;
  }

  get etcdState(): KubernetesState {
    return this.#plane.etcdState;
  }

  /** Of the API servers; `failed` when etcd failed before them. */
  get kubernetesState(): KubernetesState {
    const state = this.#plane.kubernetes?.state ?? 'off';
    return state === 'starting' && this.etcdState === 'failed' ? 'failed' : state;
  }

  /** Undefined before the first request. */
  get kubernetesStatistics(): KubernetesStatistics | undefined {
    return this.#plane.kubernetes?.statistics;
  }

  get writerStatistics(): WriterStatistics | undefined {
    return this.#plane.writerStatistics;
  }

  /** True from the first call of `stop` on. */
  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Automatic restarts of all processes. */
  get restarts(): number {
    return this.coordinators.processes.reduce((sum, { restarts }) => sum + restarts, 0) + this.#fleet.tally().restarts;
  }

  /** The admin API of the coordinator; of several, of one that answers. */
  admin(): Promise<AdminApi> {
    return this.coordinators.admin();
  }

  /**
   * Starts the coordinators, makes the cluster and starts every agent; resolves then, with the nodes on their way to Ready. The etcd members, the API servers and the writers follow by themselves
   * once the certificates are there.
   */
  async start(): Promise<void> {
    const { signal } = this.#abort;
    const { env, clock, replacement } = this.settings;
    if (replacement) await this.#serveMachines();
    await this.coordinators.start(env, signal);
    for (const { process, address } of this.coordinators.all) this.#notify('info', `${process.name} serves on ${address}`);
    this.#checkNotStopping();
    await this.#createCluster();
    await Promise.all(this.nodes.map((node) => this.#join(node)));
    this.#loops.push(repeat(clock, pollMs, signal, () => this.#poll()));
    this.#loops.push(repeat(clock, observeMs, signal, () => this.observe()));
    this.#loops.push(this.#plane.run(signal));
  }

  /** Looks at all nodes' files now. */
  observe(): Promise<void> {
    return this.#fleet.observe();
  }

  /** Asks for all nodes' status now. */
  async refresh(): Promise<void> {
    await this.coordinators.look();
    const nodes = await (await this.admin()).listNodes(this.name);
    for (const { name, phase, message } of this.book.update(nodes)) {
      const bad = isBadPhase(phase);
      const why = (bad || phase === 'Replacing') && message ? `: ${message}` : '';
      this.#notify(bad ? 'warn' : 'info', `${name} is ${phase}${why}`);
    }
    const { ready, nodes: all } = this.book.totals();
    if (this.#readyAfterMs !== undefined || ready < all) return;
    this.#readyAfterMs = this.elapsedMs;
    this.#notify('info', `all ${all} nodes are Ready after ${(this.elapsedMs / 1000).toFixed(1)} s`);
  }

  /** Refreshes the status and asks, again and again. DeadlineExceeded when the answer is not true in time. */
  waitUntil(predicate: (cluster: this) => boolean | Promise<boolean>, timeoutMs: number, what = 'the condition'): Promise<void> {
    const ask = async (): Promise<boolean> => {
      await this.#poll();
      return await predicate(this);
    };
    return waitUntil(this.settings.clock, ask, { timeoutMs, what, signal: this.#abort.signal });
  }

  /** DeadlineExceeded names the nodes that are not Ready. */
  async waitUntilReady(timeoutMs: number): Promise<void> {
    await this.waitUntil(({ book }) => book.nodes.every((node) => node.phase === 'Ready'), timeoutMs, 'all nodes to be Ready');
  }

  /** Until the etcd members are up and, unless it was switched off, the writer writes. */
  async waitUntilWriting(timeoutMs: number): Promise<void> {
    await this.waitUntil(() => this.#plane.isWriting, timeoutMs, 'etcd and its writer');
  }

  /** Until every API server serves the issued admin credential, and the requests through them have begun. */
  async waitUntilServing(timeoutMs: number): Promise<void> {
    await this.waitUntil(() => this.#plane.isServing, timeoutMs, 'the API servers');
  }

  /** Whether the node's API server says to its admin kubeconfig that it is ready. False where none runs. */
  async apiServerReady(name: string): Promise<boolean> {
    return (await this.#plane.kubernetes?.ready(this.node(name))) ?? false;
  }

  /** Begins to write through all etcd members. */
  startWriter(): Promise<void> {
    return this.#plane.startWriter();
  }

  /** Ends the writes through etcd and the requests through the API servers; those under way end, and count. */
  async stopWriter(): Promise<void> {
    await this.#plane.stopWriters();
  }

  /** What happened so far. */
  summary(): Summary {
    const tally = this.#fleet.tally();
    const { keyAlgorithm, layout, leafLifetimeSeconds } = this.settings;
    return summarize({
      totals: this.book.totals(),
      ...this.#plane.summaryInput(),
      observed: tally,
      replacements: tally.replacements,
      restarts: this.restarts,
      readyAfterSeconds: this.#readyAfterMs === undefined ? undefined : this.#readyAfterMs / 1000,
      seconds: this.elapsedMs / 1000,
      keyAlgorithm,
      layout,
      leafLifetimeSeconds,
      runDir: this.folder.path,
    });
  }

  /** Stops everything in order: writers, API servers, etcd, agents, coordinator. Idempotent. Nothing that was started here runs afterwards. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  /** SIGKILL to every process, at once and without waiting: for an end that cannot wait. */
  killAll(): void {
    for (const process of this.#processes()) void process.kill();
  }

  async #stopAll(): Promise<void> {
    this.#abort.abort();
    await this.#machines?.host.close();
    await this.#machines?.api.close();
    await this.stopWriter();
    await Promise.all(this.#loops);
    // Once more: it may just have been starting.
    await this.stopWriter();
    await this.#plane.stop();
    await Promise.all([...this.nodes, ...this.removedMachines].map(({ agent }) => agent.stop()));
    await this.coordinators.stop();
    this.folder.release();
  }

  get #plane(): ControlPlane {
    if (!this.#controlPlane) throw new EvercertError('FailedPrecondition', 'a local cluster is made by prepareLocalCluster');
    return this.#controlPlane;
  }

  #checkNotStopping(): void {
    if (this.#abort.signal.aborted) throw new EvercertError('Cancelled', 'the local cluster was stopped while it started');
  }

  #processes(): SupervisedProcess[] {
    return [...this.coordinators.processes, ...this.#fleet.processes()];
  }

  /** Before the coordinator: its provisioner needs it, and it outlives it. */
  async #serveMachines(): Promise<void> {
    const journal = await ActionJournal.open(join(this.folder.path, 'machines.json'));
    const host = new MachineHost({ cluster: this.name, keeper: this.#fleet, journal });
    this.#machines = { host, api: await serveMachines(this.machinesSocket, host) };
  }

  async #createCluster(): Promise<void> {
    const { clusterName, keyAlgorithm, layout, leafLifetimeSeconds, identityLifetimeSeconds, replacement, spec } = this.settings;
    const admin = await this.admin();
    await admin.createCluster(
      clusterName,
      ClusterSpec.fromPartial({
        keyAlgorithm,
        layout,
        controlPlaneEndpoint: this.#plane.endpoint,
        nodeAddressRanges: ['127.0.0.0/8'],
        leafLifetimeSeconds,
        identityLifetimeSeconds,
        ...(replacement && { replacement: { ...replacement, provisioner: provisionerName } }),
        ...spec,
      }),
    );
    await this.#plane.declare(admin, clusterName);
    this.#notify('info', `cluster ${clusterName}: ${keyAlgorithm}, ${layout} layout, leaves live ${leafLifetimeSeconds} s`);
  }

  async #join(node: LocalNode): Promise<void> {
    const admin = await this.admin();
    const role = node.role === 'control-plane' ? Role.CONTROL_PLANE : Role.WORKER;
    const labels = this.#plane.labelsFor(node);
    const { token, caPin } = await admin.createToken(this.name, { name: node.name, role, addresses: [node.address], labels });
    const { scanIntervalSeconds, env, endpointFor } = this.settings;
    this.#checkNotStopping();
    const endpoints = await Promise.all(this.coordinators.addresses.map((address) => endpointFor(node.name, address)));
    node.writeAgentConfig({ endpoints, caPins: [caPin], token, scanIntervalSeconds });
    await node.agent.start(env[node.name]);
  }

  /** As `refresh`; a coordinator that is away is what some of its users are testing. */
  async #poll(): Promise<void> {
    await this.refresh().catch((error: unknown) => {
      if (!(error instanceof EvercertError)) throw error;
    });
  }
}

function machinesSocketOf({ sockets }: RunFolder): string {
  return join(sockets, 'machines.sock');
}

export function prepareLocalCluster(options: LocalClusterOptions = {}): Promise<LocalCluster> {
  return LocalCluster.prepare(options);
}

/** Prepares and starts; on a failure everything is stopped again. See LocalCluster.start for how far it is when this resolves. */
export async function startLocalCluster(options: LocalClusterOptions = {}): Promise<LocalCluster> {
  const cluster = await LocalCluster.prepare(options);
  try {
    await cluster.start();
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
