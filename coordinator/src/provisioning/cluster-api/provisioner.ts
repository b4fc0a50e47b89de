import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { connect, type KubernetesApi, unlessMissing } from '../../kubernetes/core/index.ts';
import type { ActionCall, ActionReport, AllocateCall, CreateCall, DiscardCall, DrainCall, NewNode, NodeProvisioner } from '../types.ts';
import { cloudConfig, readTemplate, secretName, writeSecret } from './bootstrap.ts';
import type { ClusterApiProvisionerConfig } from './config.ts';
import { drainNode } from './drain.ts';
import { assertOurBootstrap, ManagementCluster } from './management.ts';
import { cordonNode, uncordonNode } from './nodes.ts';
import { annotationOf, claimAnnotation, type Machine, type MachineSet, nodeNameAnnotation } from './objects.ts';
import { findRemoval, forgetRemoval, type Removal, recordRemoval, recordWaiting, waitsFor } from './records.ts';

const gonePollMs = 500;
const allocateRetryMs = 2000;
const conflictRetryMs = 200;

/** Machines of Cluster API: deleted here, made by their MachineSets. All progress stands in the API's own objects, as annotations. */
export function createClusterApiProvisioner(
  config: ClusterApiProvisionerConfig,
  { clock, logger }: { clock: Clock; logger: Logger },
): NodeProvisioner {
  return new ClusterApiProvisioner(config, clock, logger);
}

class ClusterApiProvisioner implements NodeProvisioner {
  readonly type = 'cluster-api';
  readonly sameName = false;
  readonly #config: ClusterApiProvisionerConfig;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #closing = new AbortController();

  constructor(config: ClusterApiProvisionerConfig, clock: Clock, logger: Logger) {
    this.#config = config;
    this.#clock = clock;
    this.#logger = logger;
  }

  async cordon(call: ActionCall): Promise<ActionReport> {
    const node = await this.#nodeToLeave(call);
    return { message: await cordonNode(await this.#workload(call), node, call.replacementId) };
  }

  async uncordon(call: ActionCall): Promise<ActionReport> {
    const management = await this.#management(call);
    const machine = await management.machineOf(call.node.name);
    const message = await uncordonNode(await this.#workload(call), nodeName(call, machine), call.replacementId);
    await forgetRemoval(management, call.replacementId);
    return { message };
  }

  async drain(call: DrainCall): Promise<ActionReport> {
    const node = await this.#nodeToLeave(call);
    const { timeoutMs } = call;
    const options = { node, settings: this.#config.drain, timeoutMs, clock: this.#clock, signal: this.#signal(call) };
    return { message: await drainNode(await this.#workload(call), options) };
  }

  async remove(call: ActionCall): Promise<ActionReport> {
    const management = await this.#management(call);
    let removal = await this.#removalOf(management, call);
    if (removal === undefined) return { message: `there is no Machine of node ${call.node.name}` };
    const { machine: name, uid } = removal.record;
    const machine = await management.machine(name);
    if (machine?.metadata.uid === uid && machine.metadata.deletionTimestamp === undefined) {
      await management.successorsOf(machine);
      removal = await recordWaiting(management, call.replacementId, removal);
      await management.deleteMachine(name, uid);
      this.#logger.info('Machine deleted', { cluster: call.cluster, node: call.node.name, machine: name });
    }
    await this.#untilGone(management, name, uid, call);
    return { message: `Machine ${name} of MachineSet ${removal.set.metadata.name} is gone` };
  }

  async allocate(call: AllocateCall): Promise<NewNode> {
    const management = await this.#management(call);
    const { set, waiting } = await this.#successors(management, call);
    const claim = claimOf(call);
    const machines = await management.machines();
    const claimed = machines.find(
      (machine) => annotationOf(machine, claimAnnotation) === claim && machine.metadata.deletionTimestamp === undefined,
    );
    if (claimed !== undefined) return this.#newNode(call, claimed);
    const candidates = machines.filter((machine) => waitsFor(set, machine) && !waiting.has(machine.metadata.uid)).sort(oldestFirst);
    const [machine] = candidates;
    if (machine === undefined)
      throw new EvercertError('Unavailable', `MachineSet ${set.metadata.name} has made no new Machine yet`, {
        retryAfterMs: allocateRetryMs,
      });
    assertOurBootstrap(`Machine ${machine.metadata.name}`, machine.spec.bootstrap);
    const name = annotationOf(machine, nodeNameAnnotation) ?? machine.metadata.name;
    const annotations = { [claimAnnotation]: claim, [nodeNameAnnotation]: name };
    return this.#newNode(call, await this.#compared(management.patchMachine(machine, { annotations }), machine));
  }

  async create(call: CreateCall): Promise<ActionReport> {
    const management = await this.#management(call);
    const { bootstrap, namespace } = this.#config;
    const machine = await this.#claimed(management, call);
    if (machine === undefined)
      throw new EvercertError('NotFound', `Machine ${machineName(call.newNode)} is gone, or belongs to this replacement no more`);
    assertOurBootstrap(`Machine ${machine.metadata.name}`, machine.spec.bootstrap);
    const template = await readTemplate(bootstrap.secretTemplate.cloudConfigFile);
    const content = cloudConfig(call.newNode.name, call.join, bootstrap, template);
    const { apiVersion } = management;
    const options = { apiVersion, namespace, claim: claimOf(call), content, template: bootstrap.secretTemplate };
    const dataSecretName = await writeSecret(management.api, machine, options);
    await this.#compared(management.offerBootstrapData(machine, dataSecretName), machine);
    this.#logger.info('bootstrap data written', { cluster: call.cluster, node: call.newNode.name, machine: machine.metadata.name });
    return { message: `Machine ${machine.metadata.name} has its bootstrap data in Secret ${dataSecretName}` };
  }

  async discard(call: DiscardCall): Promise<ActionReport> {
    const management = await this.#management(call);
    const name = machineName(call.newNode);
    const machine = await this.#claimed(management, call);
    if (machine !== undefined) {
      const { uid } = machine.metadata;
      await management.deleteMachine(name, uid);
      await this.#untilGone(management, name, uid, call);
      this.#logger.info('Machine discarded', { cluster: call.cluster, node: call.newNode.name, machine: name });
    }
    // Its owner is gone, but who collects garbage may be late, and it holds a token.
    const path = `/api/v1/namespaces/${this.#config.namespace}/secrets/${encodeURIComponent(secretName(name))}`;
    await unlessMissing(management.api.send({ method: 'DELETE', path, secret: true }));
    return { message: machine === undefined ? `there is no Machine ${name} of this replacement` : `Machine ${name} is gone` };
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  #signal({ signal }: ActionCall): AbortSignal {
    return AbortSignal.any([signal, this.#closing.signal]);
  }

  #connect(call: ActionCall, kubeconfig: string | undefined): Promise<KubernetesApi> {
    // Each action reads its kubeconfig anew: the certificates in it are renewed, too.
    return connect({
      kubeconfig,
      requestTimeoutMs: this.#config.requestTimeout,
      signal: this.#signal(call),
      clock: this.#clock,
      roles: 'deploy/kubernetes/cluster-api-rbac.yaml',
    });
  }

  async #management(call: ActionCall): Promise<ManagementCluster> {
    return new ManagementCluster(await this.#connect(call, this.#config.kubeconfig), this.#config);
  }

  #workload(call: ActionCall): Promise<KubernetesApi> {
    return this.#connect(call, this.#config.workloadKubeconfig ?? this.#config.kubeconfig);
  }

  /** What the Node is called in Kubernetes. FailedPrecondition where its Machine could not be replaced: then nothing is done to the node's work either. */
  async #nodeToLeave(call: ActionCall): Promise<string> {
    const management = await this.#management(call);
    const removal = await this.#removalOf(management, call);
    return nodeName(call, removal && (await management.machine(removal.record.machine)));
  }

  /** The record of what this replacement removes, made where there is none. Undefined: the node has no Machine. */
  async #removalOf(management: ManagementCluster, { replacementId, node }: ActionCall): Promise<Removal | undefined> {
    const found = await findRemoval(management, replacementId);
    if (found !== undefined) return found;
    const machine = await management.machineOf(node.name);
    if (machine === undefined) return undefined;
    return this.#compared(recordRemoval(management, replacementId, node.name, machine), machine);
  }

  async #untilGone(management: ManagementCluster, name: string, uid: string, call: ActionCall): Promise<void> {
    const endMs = this.#clock.monotonicMs() + this.#config.removeTimeout;
    for (;;) {
      const machine = await management.machine(name);
      if (machine === undefined || machine.metadata.uid !== uid) return;
      if (this.#clock.monotonicMs() >= endMs) {
        const finalizers = machine.metadata.finalizers?.join(', ') ?? 'none';
        throw new EvercertError(
          'DeadlineExceeded',
          `Machine ${name} is still being deleted after ${this.#config.removeTimeout / 1000} s (phase ${machine.status?.phase ?? 'unknown'}, finalizers: ${finalizers})`,
        );
      }
      await this.#clock.sleep(gonePollMs, this.#signal(call));
    }
  }

  /** The MachineSet from which the new Machine comes, and which of its Machines are not it. */
  async #successors(management: ManagementCluster, call: AllocateCall): Promise<{ set: MachineSet; waiting: ReadonlySet<string> }> {
    const removal = await findRemoval(management, call.replacementId);
    if (removal !== undefined) return { set: removal.set, waiting: new Set(removal.record.waiting) };
    // The old Machine was gone before the replacement began.
    const sets = (await management.machineSets()).filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const [set] = sets;
    if (set !== undefined && sets.length === 1) return { set, waiting: new Set() };
    throw new EvercertError(
      'FailedPrecondition',
      `node ${call.node.name} had no Machine when its replacement began, and there are ${sets.length} MachineSets that could make the new one: ` +
        'cancel the replacement, or set `clusterName` where one of them is meant',
    );
  }

  /** The new Machine, if it is there and still this replacement's. */
  async #claimed(management: ManagementCluster, call: CreateCall | DiscardCall): Promise<Machine | undefined> {
    const machine = await management.machine(machineName(call.newNode));
    return machine !== undefined && annotationOf(machine, claimAnnotation) === claimOf(call) ? machine : undefined;
  }

  #newNode({ node }: AllocateCall, machine: Machine): NewNode {
    const { name } = machine.metadata;
    // Its addresses are its infrastructure's, and are not known before it is made.
    return {
      name: annotationOf(machine, nodeNameAnnotation) ?? name,
      labels: node.labels,
      addresses: [],
      dnsNames: [],
      machine: `${this.#config.namespace}/${name}`,
    };
  }

  /** Somebody else was faster: look again soon. */
  async #compared<T>(change: Promise<T>, { metadata }: Machine): Promise<T> {
    try {
      return await change;
    } catch (error) {
      if (!(error instanceof EvercertError) || error.code !== 'Conflict') throw error;
      throw new EvercertError('Unavailable', `Machine ${metadata.name} or its MachineSet has just been changed by somebody else`, {
        cause: error,
        retryAfterMs: conflictRetryMs,
      });
    }
  }
}

function claimOf({ replacementId, attempt }: ActionCall): string {
  return `${replacementId}-${attempt}`;
}

/** What the Node is called in Kubernetes. */
function nodeName({ node }: ActionCall, machine: Machine | undefined): string {
  return machine?.status?.nodeRef?.name ?? node.name;
}

function machineName({ machine, name }: NewNode): string {
  return machine === '' ? name : machine.slice(machine.indexOf('/') + 1);
}

function oldestFirst(a: Machine, b: Machine): number {
  const [left, right] = [a, b].map(({ metadata }) => `${metadata.creationTimestamp} ${metadata.name}`);
  return (left ?? '') < (right ?? '') ? -1 : 1;
}
