import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { type KubernetesApi, unlessMissing } from '../../kubernetes/core/index.ts';
import type { ClusterApiProvisionerConfig } from './config.ts';
import { readNode } from './nodes.ts';
import { annotationOf, controllerOf, type Pod } from './objects.ts';

export interface DrainOptions {
  node: string;
  settings: ClusterApiProvisionerConfig['drain'];
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

const mirrorAnnotation = 'kubernetes.io/config.mirror';
const pollMs = 1000;
/** As kubectl waits where the server names no time. */
const refusedRetryMs = 5000;
const mostRetryMs = 30_000;
const mostNamed = 10;

/** Why a pod holds the drain up until a person has done something; undefined: it may be evicted. `skip`: it is left where it is. */
function judge(pod: Pod, settings: DrainOptions['settings']): { skip: boolean; obstacle?: string } {
  if (annotationOf(pod, mirrorAnnotation) !== undefined) return { skip: true };
  if (['Succeeded', 'Failed'].includes(pod.status?.phase ?? '')) return { skip: false };
  const controller = pod.metadata.ownerReferences?.find((owner) => owner.controller === true);
  if (controllerOf(pod, 'DaemonSet') !== undefined)
    return settings.ignoreDaemonSets ? { skip: true } : { skip: false, obstacle: 'a DaemonSet would make it again' };
  if (controller === undefined && !settings.force) return { skip: false, obstacle: 'no controller would make it again' };
  if (!settings.deleteEmptyDirData && pod.spec?.volumes?.some(({ emptyDir }) => emptyDir !== undefined))
    return { skip: false, obstacle: 'it has data in an emptyDir volume' };
  return { skip: false };
}

/**
 * Evicts the node's pods and waits until they are gone, as `kubectl drain` does: PodDisruptionBudgets are respected, pods of DaemonSets and mirror pods stay. Where the kubelet does not answer,
 * nobody confirms the end of a pod: it is waited for no longer than its grace period and `skipWaitAfter`. Errors: FailedPrecondition (a pod that a person must move), DeadlineExceeded (names
 * the pods that are left).
 */
export async function drainNode(api: KubernetesApi, options: DrainOptions): Promise<string> {
  return new Drain(api, options).run();
}

class Drain {
  readonly #api: KubernetesApi;
  readonly #options: DrainOptions;
  readonly #endMs: number;
  #evictionVersion: string | undefined;
  /** By UID, all by the monotonic clock: when to ask again, why it was refused, since when its end is known of. */
  readonly #askAgainMs = new Map<string, number>();
  readonly #refusals = new Map<string, string>();
  readonly #endingSinceMs = new Map<string, number>();
  readonly #evicted = new Set<string>();

  constructor(api: KubernetesApi, options: DrainOptions) {
    this.#api = api;
    this.#options = options;
    this.#endMs = options.clock.monotonicMs() + options.timeoutMs;
  }

  async run(): Promise<string> {
    const { node, clock, signal } = this.#options;
    let left: Pod[] | undefined;
    let trouble = '';
    for (;;) {
      try {
        left = await this.#pods();
        const unconfirmed = await this.#unconfirmed(left);
        if (unconfirmed.length === left.length) return this.#summary(unconfirmed);
        for (const pod of left) await this.#evict(pod);
        trouble = '';
      } catch (error) {
        // The API server may be away for a while (its own control plane is renewed, too); the drain's own time says for how long.
        if (!(error instanceof EvercertError) || !error.retryable) throw error;
        trouble = describeError(error);
      }
      if (clock.monotonicMs() + pollMs > this.#endMs) throw this.#timeOut(left, trouble);
      await clock.sleep(pollMs, signal);
      if (signal.aborted) throw new EvercertError('Cancelled', `the drain of ${node} was cancelled`);
    }
  }

  async #pods(): Promise<Pod[]> {
    const { node, settings } = this.#options;
    const all = await this.#api.list<Pod>('/api/v1/pods', { fieldSelector: `spec.nodeName=${node}` });
    const pods = all.filter((pod) => !judge(pod, settings).skip);
    const obstacles = pods.flatMap((pod) => {
      const { obstacle } = judge(pod, settings);
      return obstacle === undefined ? [] : [`${nameOf(pod)} (${obstacle})`];
    });
    if (obstacles.length > 0)
      throw new EvercertError('FailedPrecondition', `these pods of node ${node} must be moved by a person: ${listed(obstacles)}`);
    return pods;
  }

  /** Pods whose end nobody will confirm. */
  async #unconfirmed(pods: readonly Pod[]): Promise<Pod[]> {
    const { node, settings, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const ending = pods.filter(({ metadata }) => metadata.deletionTimestamp !== undefined);
    for (const { metadata } of ending) if (!this.#endingSinceMs.has(metadata.uid)) this.#endingSinceMs.set(metadata.uid, nowMs);
    const overdue = ending.filter(({ metadata }) => {
      const graceMs = (metadata.deletionGracePeriodSeconds ?? 0) * 1000;
      return nowMs - (this.#endingSinceMs.get(metadata.uid) ?? nowMs) >= graceMs + settings.skipWaitAfter;
    });
    if (overdue.length === 0) return [];
    const conditions = (await readNode(this.#api, node))?.status?.conditions ?? [];
    const kubeletAnswers = conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
    return kubeletAnswers ? [] : overdue;
  }

  async #evict({ metadata }: Pod): Promise<void> {
    const { settings, clock } = this.#options;
    const { uid, name, namespace = 'default', deletionTimestamp } = metadata;
    if (deletionTimestamp !== undefined || clock.monotonicMs() < (this.#askAgainMs.get(uid) ?? 0)) return;
    const { gracePeriod } = settings;
    const deleteOptions = { preconditions: { uid }, ...(gracePeriod === undefined ? {} : { gracePeriodSeconds: gracePeriod }) };
    const path = `/api/v1/namespaces/${namespace}/pods/${encodeURIComponent(name)}/eviction`;
    try {
      const body = { apiVersion: await this.#version(), kind: 'Eviction', metadata: { name, namespace }, deleteOptions };
      await unlessMissing(this.#api.send({ method: 'POST', path, body }));
      this.#evicted.add(uid);
      this.#refusals.delete(uid);
    } catch (error) {
      // Overloaded: a PodDisruptionBudget forbids it now. Unavailable: the server cannot tell (several budgets match). Conflict: the pod has just changed. One pod holds up no other.
      if (!(error instanceof EvercertError) || !error.retryable || error.code === 'DeadlineExceeded') throw error;
      this.#refusals.set(uid, error.code === 'Overloaded' ? 'a PodDisruptionBudget does not allow it' : error.message);
      this.#askAgainMs.set(uid, clock.monotonicMs() + Math.min(error.retryAfterMs ?? refusedRetryMs, mostRetryMs));
    }
  }

  /** policy/v1 from Kubernetes 1.22 on, policy/v1beta1 before: the server says which it takes. */
  async #version(): Promise<string> {
    if (this.#evictionVersion !== undefined) return this.#evictionVersion;
    const { resources } = await this.#api.send<{ resources: { name: string; version?: string }[] }>({ method: 'GET', path: '/api/v1' });
    const version = resources.find(({ name }) => name === 'pods/eviction')?.version ?? 'v1';
    this.#evictionVersion = `policy/${version}`;
    return this.#evictionVersion;
  }

  #summary(unconfirmed: readonly Pod[]): string {
    const { node } = this.#options;
    const evicted = `${this.#evicted.size} ${this.#evicted.size === 1 ? 'pod was' : 'pods were'} evicted from ${node}`;
    if (unconfirmed.length === 0) return evicted;
    return `${evicted}; its kubelet does not answer, so nobody confirms the end of ${listed(unconfirmed.map(nameOf))}`;
  }

  #timeOut(left: readonly Pod[] | undefined, trouble: string): EvercertError {
    const { node, timeoutMs } = this.#options;
    const pods = (left ?? []).map((pod) => {
      const reason = pod.metadata.deletionTimestamp === undefined ? this.#refusals.get(pod.metadata.uid) : 'it has not ended yet';
      return reason === undefined ? nameOf(pod) : `${nameOf(pod)} (${reason})`;
    });
    const rest =
      left === undefined
        ? trouble
        : `${pods.length} ${pods.length === 1 ? 'pod is' : 'pods are'} left: ${listed(pods)}${trouble && `; ${trouble}`}`;
    return new EvercertError('DeadlineExceeded', `node ${node} could not be drained within ${Math.round(timeoutMs / 1000)} s; ${rest}`);
  }
}

function nameOf({ metadata }: Pod): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function listed(names: readonly string[]): string {
  const more = names.length - mostNamed;
  return names.slice(0, mostNamed).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
