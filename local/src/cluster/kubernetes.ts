import { existsSync, readFileSync } from 'node:fs';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Layout } from '../etcd/credentials.ts';
import { kubeApiServerFiles } from '../kubernetes/api-server.ts';
import { readKubeconfig } from '../kubernetes/kubeconfig.ts';
import { KubernetesLoad, type KubernetesStatistics } from '../kubernetes/load.ts';
import { type KubernetesRequest, type KubernetesResponse, sendOnce } from '../kubernetes/request.ts';
import { waitUntil } from '../loop.ts';
import type { Environment } from '../supervisor/environment.ts';
import { commonPort } from '../supervisor/ports.ts';
import type { AdminApi } from './admin.ts';
import type { LocalNode } from './node.ts';
import { adminKubeconfigs } from './programs.ts';

export type KubernetesState = 'off' | 'starting' | 'up' | 'failed';

/** The node with this label holds super-admin.conf (kubeconfigs-admin.yaml). */
export const superAdminLabels = { 'evercert.io/super-admin': 'true' };

export interface KubernetesOptions {
  binary: string;
  /** The control-plane nodes, their etcd members prepared. */
  nodes: LocalNode[];
  layout: Layout;
  leafLifetimeSeconds: number;
  clock: Clock;
  random: () => number;
  takenPorts: Set<number>;
  onProblem: (message: string) => void;
}

const startTimeoutMs = 180_000;
const requestMs = 5000;
/** kube-apiserver looks at its serving pair once a minute; the rest is for the renewal itself. */
const servingLagSeconds = 75;
const leastServingLifetimeSeconds = 100;

/** A kube-apiserver on every control-plane node, each over the node's own etcd member, with the issued certificates alone; and people who use them. */
export class LocalKubernetes {
  /** The same on every node, at its own address. */
  readonly port: number;
  readonly #options: KubernetesOptions;
  #state: KubernetesState = 'starting';
  #load: KubernetesLoad | undefined;

  private constructor(options: KubernetesOptions, port: number) {
    this.#options = options;
    this.port = port;
  }

  static async prepare(options: KubernetesOptions): Promise<LocalKubernetes> {
    const { nodes, binary, layout, random, takenPorts } = options;
    const addresses = nodes.map(({ address }) => address);
    const port = await commonPort(addresses, random, takenPorts);
    for (const node of nodes) node.useKubeApiServer({ binary, port, layout });
    return new LocalKubernetes(options, port);
  }

  get state(): KubernetesState {
    return this.#state;
  }

  get statistics(): KubernetesStatistics | undefined {
    return this.#load?.statistics();
  }

  /** Automatic restarts of the API servers. */
  get restarts(): number {
    return this.#options.nodes.reduce((sum, { apiServer }) => sum + (apiServer?.restarts ?? 0), 0);
  }

  /**
   * Declares the admin kubeconfigs, and that a new serving certificate is there more than a minute before the old one ends, because kube-apiserver needs so long to take
   * it up: with lives of days that is so by itself.
   */
  async declare(admin: AdminApi, cluster: string): Promise<void> {
    await admin.apply(cluster, 'kubeconfigs-admin.yaml', readFileSync(adminKubeconfigs, 'utf8'));
    const lifetime = Math.max(this.#options.leafLifetimeSeconds, leastServingLifetimeSeconds);
    const renewAt = Math.min(2 / 3, (lifetime - servingLagSeconds) / lifetime);
    await admin.changeCertificate(cluster, 'apiserver', { lifetime: `${lifetime}s`, renewAt });
  }

  /** Starts the API servers, gives the admins their rights as kubeadm does, and resolves once every server serves an admin. DeadlineExceeded, Cancelled. */
  async start(env: Record<string, Environment>, signal: AbortSignal): Promise<void> {
    const { nodes, clock } = this.#options;
    const wait = { timeoutMs: startTimeoutMs, pollMs: 250, signal };
    try {
      for (const { name, pkiDir, adminKubeconfig } of nodes) {
        const files = [...kubeApiServerFiles(pkiDir), adminKubeconfig];
        await waitUntil(clock, () => files.every((path) => existsSync(path)), {
          ...wait,
          what: `the API server's certificates of ${name}`,
        });
      }
      await Promise.all(nodes.map((node) => node.apiServer?.start(env[`kube-apiserver-${node.name}`])));
      await waitUntil(clock, async () => (await Promise.all(nodes.map((node) => this.ready(node)))).every(Boolean), {
        ...wait,
        what: 'the API servers to be ready',
      });
      await waitUntil(clock, () => this.#bindAdmins(), { ...wait, what: 'the rights of the admins to be accepted' });
      await waitUntil(clock, async () => (await Promise.all(nodes.map((node) => this.#serves(node)))).every(Boolean), {
        ...wait,
        what: 'every API server to know the rights of the admins',
      });
      this.#state = 'up';
    } catch (error) {
      if (!signal.aborted) this.#state = 'failed';
      throw error;
    }
  }

  /** Begins to write and read through all API servers. */
  startLoad(): void {
    const { nodes, clock, onProblem } = this.#options;
    const endpoints = nodes.map(({ apiServerClient }) => apiServerClient).filter((endpoint) => endpoint !== undefined);
    this.#load = new KubernetesLoad({ endpoints, clock, onProblem });
    this.#load.start();
  }

  async stopLoad(): Promise<void> {
    await this.#load?.stop();
  }

  /** What `kubectl get --raw /readyz` says with the node's admin kubeconfig. */
  async ready(node: LocalNode): Promise<boolean> {
    return (await this.#ask(node, node.adminKubeconfig, { method: 'GET', path: '/readyz' }))?.status === 200;
  }

  async #serves(node: LocalNode): Promise<boolean> {
    const path = '/api/v1/namespaces/default/configmaps?limit=1';
    return (await this.#ask(node, node.adminKubeconfig, { method: 'GET', path }))?.status === 200;
  }

  /** `kubeadm init` does the same with super-admin.conf: https://kubernetes.io/docs/reference/setup-tools/kubeadm/implementation-details/ */
  async #bindAdmins(): Promise<boolean> {
    const [node] = this.#options.nodes;
    if (!node || !existsSync(node.superAdminKubeconfig)) return false;
    const body = {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRoleBinding',
      metadata: { name: 'kubeadm:cluster-admins' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'cluster-admin' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'kubeadm:cluster-admins' }],
    };
    const path = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
    const status = (await this.#ask(node, node.superAdminKubeconfig, { method: 'POST', path, body }))?.status;
    return status === 201 || status === 409;
  }

  /** Undefined: no answer, or nothing to ask with yet. */
  async #ask(node: LocalNode, kubeconfig: string, request: KubernetesRequest): Promise<KubernetesResponse | undefined> {
    const { clock } = this.#options;
    try {
      const credential = await readKubeconfig(kubeconfig);
      const server = node.apiServerClient?.server ?? credential.server;
      return await sendOnce({ ...credential, server }, request, { clock, deadlineMs: requestMs });
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  }
}
