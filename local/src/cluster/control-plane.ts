import { EvercertError } from '@evercert/shared/errors';
import { EtcdWriter, type WriterStatistics } from '../etcd/writer.ts';
import type { Notify } from '../supervisor/events.ts';
import type { AdminApi } from './admin.ts';
import { prepareEtcd, startEtcd } from './etcd-cluster.ts';
import { type KubernetesState, LocalKubernetes, superAdminLabels } from './kubernetes.ts';
import type { LocalNode } from './node.ts';
import type { Settings } from './options.ts';
import type { SummaryInput } from './summary.ts';

export interface ControlPlaneOptions {
  settings: Settings;
  /** The control-plane nodes. */
  nodes: LocalNode[];
  takenPorts: Set<number>;
  notify: Notify;
}

const etcdTimeoutMs = 180_000;

/** What runs on the control-plane nodes with the issued certificates, as far as it is wanted: etcd members, API servers over them, and those who write and read through both. */
export class ControlPlane {
  readonly #options: ControlPlaneOptions;
  #etcdState: KubernetesState;
  #etcdPort: number | undefined;
  #writer: EtcdWriter | undefined;
  #kubernetes: LocalKubernetes | undefined;

  private constructor(options: ControlPlaneOptions) {
    this.#options = options;
    this.#etcdState = options.settings.etcdBinary === undefined ? 'off' : 'starting';
  }

  /** Chooses ports and prepares the processes; nothing is started. InvalidArgument: API servers without etcd. */
  static async prepare(options: ControlPlaneOptions): Promise<ControlPlane> {
    const { settings, nodes, takenPorts, notify } = options;
    const { etcdBinary, kubeApiServerBinary, layout, leafLifetimeSeconds, clock, random } = settings;
    const controlPlane = new ControlPlane(options);
    const common = { nodes, layout, random, takenPorts };
    if (etcdBinary !== undefined) controlPlane.#etcdPort = await prepareEtcd({ ...common, binary: etcdBinary });
    if (kubeApiServerBinary === undefined) return controlPlane;
    if (etcdBinary === undefined)
      throw new EvercertError('InvalidArgument', 'API servers need etcd: install etcd-server, or run without kube-apiserver');
    const onProblem = (message: string): void => notify('warn', message);
    const kubernetes = { ...common, binary: kubeApiServerBinary, leafLifetimeSeconds, clock, onProblem };
    controlPlane.#kubernetes = await LocalKubernetes.prepare(kubernetes);
    return controlPlane;
  }

  get etcdState(): KubernetesState {
    return this.#etcdState;
  }

  /** Etcd runs and, unless it was switched off, the writer writes. Unavailable: that will never be. */
  get isWriting(): boolean {
    if (this.#etcdState === 'failed') throw new EvercertError('Unavailable', 'etcd did not come up; see its logs');
    return this.#etcdState === 'up' && (!this.#options.settings.writer || this.#writer !== undefined);
  }

  /** The API servers serve and, unless it was switched off, the load has begun. Unavailable: that will never be. */
  get isServing(): boolean {
    if (this.kubernetes?.state === 'failed' || this.#etcdState === 'failed')
      throw new EvercertError('Unavailable', 'the API servers did not come up; see their logs and etcd’s');
    return this.kubernetes?.state === 'up' && (!this.#options.settings.writer || this.kubernetes.statistics !== undefined);
  }

  get writerStatistics(): WriterStatistics | undefined {
    return this.#writer?.statistics();
  }

  /** Undefined: no API servers are wanted. */
  get kubernetes(): LocalKubernetes | undefined {
    return this.#kubernetes;
  }

  /** `HOST:PORT` at which the cluster's own kubeconfigs find an API server. */
  get endpoint(): string {
    return `${this.#options.nodes[0]?.address ?? '127.0.0.1'}:${this.#kubernetes?.port ?? 6443}`;
  }

  /** With which the node is to join. */
  labelsFor(node: LocalNode): Record<string, string> {
    return this.#kubernetes && node === this.#options.nodes[0] ? superAdminLabels : {};
  }

  /** What the cluster's manifests are to say besides. */
  async declare(admin: AdminApi, cluster: string): Promise<void> {
    if (this.#etcdPort !== undefined) await admin.declareEtcdHealth(cluster, this.#etcdPort);
    await this.#kubernetes?.declare(admin, cluster);
  }

  /** Starts everything as soon as the certificates are there. Never rejects: what does not come up is told, and seen in the states. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#options.settings.etcdBinary === undefined) return;
    await this.#telling('etcd', signal, () => this.#runEtcd(signal));
    const kubernetes = this.#kubernetes;
    if (!kubernetes || this.#etcdState !== 'up' || signal.aborted) return;
    await this.#telling('kube-apiserver', signal, () => this.#runKubernetes(kubernetes, signal));
  }

  /** Begins to write through all etcd members. */
  async startWriter(): Promise<void> {
    const { settings, nodes, notify } = this.#options;
    const members = nodes.map((node) => node.etcdClient).filter((member) => member !== undefined);
    const writer = new EtcdWriter({ members, clock: settings.clock, onProblem: (message) => notify('warn', message) });
    await writer.start();
    this.#writer = writer;
  }

  /** Ends the writes through etcd and the requests through the API servers; those under way end, and count. */
  async stopWriters(): Promise<void> {
    await Promise.all([this.#writer?.stop(), this.#kubernetes?.stopLoad()]);
  }

  async stop(): Promise<void> {
    const { nodes } = this.#options;
    await Promise.all(nodes.map(({ apiServer }) => apiServer?.stop()));
    // One by one: a member that leads hands over before it goes, which it cannot when all go at once.
    for (const { etcd } of nodes) await etcd?.stop();
  }

  /** Its part of the summary. */
  summaryInput(): Pick<
    SummaryInput,
    'writer' | 'etcdFailed' | 'etcdMembers' | 'kubeApiServers' | 'kubernetes' | 'kubernetesFailed' | 'kubeApiServerRestarts'
  > {
    const { settings, nodes } = this.#options;
    const kubernetes = this.#kubernetes;
    return {
      writer: this.writerStatistics,
      etcdFailed: settings.etcdBinary !== undefined && settings.writer && !this.#writer,
      etcdMembers: this.#etcdState === 'up' ? nodes.length : 0,
      kubeApiServers: kubernetes?.state === 'up' ? nodes.length : 0,
      kubernetes: kubernetes?.statistics,
      kubernetesFailed: kubernetes !== undefined && settings.writer && !kubernetes.statistics,
      kubeApiServerRestarts: kubernetes?.restarts ?? 0,
    };
  }

  async #runEtcd(signal: AbortSignal): Promise<void> {
    const { settings, nodes, notify } = this.#options;
    try {
      await startEtcd({ nodes, env: settings.env, timeoutMs: etcdTimeoutMs, clock: settings.clock, signal });
      this.#etcdState = 'up';
      notify('info', `etcd: ${nodes.length} members serve with the issued certificates`);
      if (settings.writer) await this.startWriter();
    } catch (error) {
      if (!signal.aborted) this.#etcdState = 'failed';
      throw error;
    }
  }

  async #runKubernetes(kubernetes: LocalKubernetes, signal: AbortSignal): Promise<void> {
    const { settings, nodes, notify } = this.#options;
    await kubernetes.start(settings.env, signal);
    notify('info', `kube-apiserver: ${nodes.length} serve the issued admin kubeconfig`);
    if (settings.writer) kubernetes.startLoad();
  }

  async #telling(what: string, signal: AbortSignal, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (signal.aborted) return;
      this.#options.notify('warn', `${what} did not come up: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
