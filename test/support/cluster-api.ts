/** Plays the controllers of Cluster API over a real API server: MachineSets make Machines, an infrastructure provider makes and ends what stands behind them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { parse } from 'yaml';
import { serveClusterApi } from './cluster-api-server.ts';
import type { TestKubernetes } from './kubernetes.ts';
import { until } from './live.ts';
import { repositoryRoot } from './tools.ts';

export const namespace = 'capi-clusters';
const group = '/apis/cluster.x-k8s.io/v1beta1';
const base = `${group}/namespaces/${namespace}`;
const configs = `/apis/bootstrap.evercert.io/v1alpha1/namespaces/${namespace}/evercertconfigs`;
/** The Machine controller's own. */
const finalizer = 'machine.cluster.x-k8s.io';
const pollMs = 50;

export interface MachineObject {
  metadata: {
    name: string;
    uid: string;
    deletionTimestamp?: string;
    annotations?: Record<string, string>;
    ownerReferences?: { uid: string }[];
  };
  spec: { bootstrap: { configRef?: { kind: string; name: string }; dataSecretName?: string }; clusterName: string };
  status?: { nodeRef?: { name: string }; phase?: string };
}

/** What stands behind a Machine. */
export interface Infrastructure {
  /** With the bootstrap data; resolves once the machine boots. */
  boot(machine: MachineObject, cloudConfig: CloudConfig): Promise<void>;
  /** Ends and deletes it. */
  destroy(machine: MachineObject): Promise<void>;
}

export interface CloudConfig {
  write_files: { path: string; permissions?: string; content: string }[];
  runcmd: unknown[];
}

export const noInfrastructure: Infrastructure = { boot: async () => undefined, destroy: async () => undefined };

/** Serves Cluster API's objects, makes the namespace and the roles of deploy/kubernetes; `stop` ends what it has begun. */
export async function prepareClusterApi(kubernetes: TestKubernetes): Promise<{ stop(): void }> {
  await kubernetes.create(`{apiVersion: v1, kind: Namespace, metadata: {name: ${namespace}}}`);
  await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy', 'kubernetes', 'cluster-api-rbac.yaml'), 'utf8'));
  customResources ??= await servesCustomResources(kubernetes);
  if (!customResources) {
    const server = await serveClusterApi(kubernetes);
    return { stop: () => server.close() };
  }
  await kubernetes.createDefinitions(readFileSync(join(repositoryRoot, 'test', 'fixtures', 'cluster-api', 'crds.yaml'), 'utf8'));
  await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy', 'kubernetes', 'evercert-bootstrap.yaml'), 'utf8'));
  await until('our own objects to be served', 20_000, async () => (await kubernetes.send('GET', `${configs}`)).status === 200);
  return { stop: () => undefined };
}

/** The kubeconfig of the coordinator's service account. */
export function coordinatorKubeconfig(kubernetes: TestKubernetes, server?: string): Promise<string> {
  return kubernetes.kubeconfigOfServiceAccount('evercert', 'evercert-coordinator', server);
}

let customResources: boolean | undefined;

/**
 * Kubernetes 1.20 that was built with Go 1.18 or later dies of the first custom resource: its json-iterator reads maps in a way that Go has given up (modern-go/reflect2 before 1.0.2).
 */
async function servesCustomResources(kubernetes: TestKubernetes): Promise<boolean> {
  await kubernetes.createDefinitions(probeDefinition);
  const probe = { apiVersion: 'probe.evercert.test/v1', kind: 'Probe', metadata: { name: 'probe' } };
  try {
    await kubernetes.ok('POST', '/apis/probe.evercert.test/v1/probes', probe);
    return true;
  } catch (error) {
    // Anything else than its death is an error of the test.
    await until('kube-apiserver to end', 10_000, () => !kubernetes.apiServerRuns).catch(() => {
      throw error;
    });
  }
  process.stderr.write('this kube-apiserver cannot serve custom resources: Cluster API is served behind it as an aggregated API\n');
  await kubernetes.restartApiServer();
  return false;
}

const probeDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: probes.probe.evercert.test }
spec:
  group: probe.evercert.test
  scope: Cluster
  names: { kind: Probe, listKind: ProbeList, plural: probes, singular: probe }
  versions: [{ name: v1, served: true, storage: true, schema: { openAPIV3Schema: { type: object } } }]
`;

/** The controllers of one Cluster. */
export class ClusterApi {
  readonly clusterName: string;
  /** Names of all Machines that were ever made. */
  readonly made: string[] = [];
  /** Of the last boot of each Machine, by its name. */
  readonly booted = new Map<string, CloudConfig>();
  /** No Machine is let go while it is set, as where an infrastructure provider is stuck. */
  holdDeletions = false;
  /** Machines get no infrastructure while it is set. */
  holdBoots = false;
  /** So many of the next Machines never get any: their machines do not join. */
  failNext = 0;
  /** The controllers do nothing while it is set. */
  suspended = false;
  readonly #kubernetes: TestKubernetes;
  readonly #infrastructure: Infrastructure;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  readonly #failing = new Set<string>();
  #count = 0;

  constructor(kubernetes: TestKubernetes, clusterName: string, infrastructure: Infrastructure = noInfrastructure) {
    this.#kubernetes = kubernetes;
    this.clusterName = clusterName;
    this.#infrastructure = infrastructure;
  }

  /** The Cluster and one MachineSet, and the loop of the controllers. */
  async start(replicas: number, template: Record<string, unknown> = {}): Promise<void> {
    const { clusterName } = this;
    const reference = { apiVersion: 'infrastructure.cluster.x-k8s.io/v1beta1', kind: 'TestMachineTemplate', name: clusterName };
    await this.#kubernetes.ok('POST', `${base}/clusters`, this.#object('Cluster', clusterName, { spec: {} }));
    const ours = { apiVersion: 'bootstrap.evercert.io/v1alpha1', kind: 'EvercertConfigTemplate' };
    const labels = { 'cluster.x-k8s.io/cluster-name': clusterName, 'cluster.x-k8s.io/set-name': this.setName };
    const spec = { clusterName, bootstrap: { configRef: { ...ours, name: 'workers' } }, infrastructureRef: reference, ...template };
    const set = { replicas, clusterName, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } };
    await this.#kubernetes.ok('POST', `${base}/machinesets`, this.#object('MachineSet', this.setName, { spec: set }));
    this.#running = this.#loop();
  }

  get setName(): string {
    return `${this.clusterName}-md-0`;
  }

  /** Ends the controllers, and deletes the Cluster's objects and whatever stands behind them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.#kubernetes.send('DELETE', `${base}/machinesets/${this.setName}`);
    await this.#kubernetes.send('DELETE', `${base}/clusters/${this.clusterName}`);
    this.holdDeletions = false;
    for (const { metadata } of await this.machines()) await this.#kubernetes.send('DELETE', `${base}/machines/${metadata.name}`);
    for (const machine of await this.machines()) await this.#destroy(machine);
  }

  async machines(): Promise<MachineObject[]> {
    const selector = encodeURIComponent(`cluster.x-k8s.io/cluster-name=${this.clusterName}`);
    return (await this.#kubernetes.ok('GET', `${base}/machines?labelSelector=${selector}`)).items;
  }

  /** biome-ignore lint/suspicious/noExplicitAny: the test says what it expects. */
  async machineSet(): Promise<any> {
    return this.#kubernetes.ok('GET', `${base}/machinesets/${this.setName}`);
  }

  patch(resource: 'machines' | 'machinesets' | 'clusters', name: string, change: object): Promise<unknown> {
    return this.#kubernetes.ok('PATCH', `${base}/${resource}/${name}`, change);
  }

  /** A Machine of the set, once there is one without a node; it is given this one, as if it had run for long. */
  async adopt(node: string): Promise<MachineObject> {
    let machine: MachineObject | undefined;
    await until('a Machine of the set', 10_000, async () => {
      machine = (await this.machines()).find(({ metadata, status }) => !metadata.deletionTimestamp && status?.nodeRef === undefined);
      return machine !== undefined;
    });
    const found = machine as MachineObject;
    await this.#joined(found, node);
    return found;
  }

  async #loop(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        if (!this.suspended) await this.#reconcile();
      } catch (error) {
        // Objects change meanwhile; the next round sees them as they are. Anything else shows as a test that waits in vain.
        process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      }
      await systemClock.sleep(pollMs, signal).catch((error: unknown) => {
        if (!(error instanceof EvercertError && error.code === 'Cancelled')) throw error;
      });
    }
  }

  async #reconcile(): Promise<void> {
    const machines = await this.machines();
    const set = await this.machineSet();
    const own = machines.filter(({ metadata }) => metadata.ownerReferences?.some(({ uid }) => uid === set.metadata.uid));
    for (const machine of machines) {
      if (machine.metadata.deletionTimestamp !== undefined) {
        if (!this.holdDeletions) await this.#destroy(machine);
      } else await this.#bootstrap(machine);
    }
    const missing = set.spec.replicas - own.filter(({ metadata }) => metadata.deletionTimestamp === undefined).length;
    for (let i = 0; i < missing; i += 1) await this.#make(set);
  }

  // biome-ignore lint/suspicious/noExplicitAny: as the server tells it.
  async #make(set: any): Promise<void> {
    this.#count += 1;
    const name = `${this.setName}-${process.pid.toString(36)}${this.#count}`;
    const owner = { apiVersion: set.apiVersion, kind: 'MachineSet', name: set.metadata.name, uid: set.metadata.uid, controller: true };
    const { configRef, ...bootstrap } = set.spec.template.spec.bootstrap;
    const ref = configRef && { ...configRef, kind: configRef.kind.replace(/Template$/, ''), name };
    if (ref?.kind === 'EvercertConfig')
      await this.#kubernetes.ok('POST', configs, { apiVersion: ref.apiVersion, kind: ref.kind, metadata: { name, namespace }, spec: {} });
    const spec = { ...set.spec.template.spec, bootstrap: { ...bootstrap, ...(ref && { configRef: ref }) } };
    const machine = this.#object('Machine', name, { spec });
    const metadata = { ...machine.metadata, ...set.spec.template.metadata, ownerReferences: [owner], finalizers: [finalizer] };
    await this.#kubernetes.ok('POST', `${base}/machines`, { ...machine, metadata });
    this.made.push(name);
    if (this.failNext > 0) this.#failing.add(name);
    this.failNext = Math.max(0, this.failNext - 1);
  }

  /** As Cluster API's Machine controller: the bootstrap configuration tells where the data is. An infrastructure provider waits for it before it makes anything. */
  async #bootstrap(machine: MachineObject): Promise<void> {
    const { name } = machine.metadata;
    const { configRef, dataSecretName } = machine.spec.bootstrap;
    if (configRef?.kind === 'EvercertConfig' && dataSecretName === undefined) {
      const { status } = await this.#kubernetes.ok('GET', `${configs}/${configRef.name}`);
      if (!status?.ready) return;
      await this.patch('machines', name, { spec: { bootstrap: { dataSecretName: status.dataSecretName } } });
      return;
    }
    if (
      this.holdBoots ||
      this.#failing.has(name) ||
      machine.status?.nodeRef !== undefined ||
      dataSecretName === undefined ||
      this.booted.has(name)
    )
      return;
    const secret = await this.#kubernetes.send('GET', `/api/v1/namespaces/${namespace}/secrets/${dataSecretName}`);
    if (secret.status === 404) return;
    const cloudConfig = parse(Buffer.from(secret.body.data.value, 'base64').toString()) as CloudConfig;
    this.booted.set(name, cloudConfig);
    await this.#infrastructure.boot(machine, cloudConfig);
    await this.#kubernetes.send('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name } });
    await this.#joined(machine, name);
  }

  async #joined({ metadata }: MachineObject, node: string): Promise<void> {
    const nodeRef = { apiVersion: 'v1', kind: 'Node', name: node };
    await this.#kubernetes.ok('PATCH', `${base}/machines/${metadata.name}/status`, { status: { nodeRef, phase: 'Running' } });
  }

  async #destroy(machine: MachineObject): Promise<void> {
    const { name } = machine.metadata;
    await this.#infrastructure.destroy(machine);
    const node = machine.status?.nodeRef?.name;
    if (node !== undefined) await this.#kubernetes.send('DELETE', `/api/v1/nodes/${node}`);
    await this.#kubernetes.send('DELETE', `${configs}/${name}`);
    await this.#kubernetes.send('PATCH', `${base}/machines/${name}`, { metadata: { finalizers: null } });
  }

  #object(kind: string, name: string, more: object) {
    const labels = { 'cluster.x-k8s.io/cluster-name': this.clusterName };
    return { apiVersion: 'cluster.x-k8s.io/v1beta1', kind, metadata: { name, namespace, labels }, ...more };
  }
}
