import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type ReplacementPolicy, replacementPolicyOf } from '@evercert/shared/manifest';
import { clusterNotFound } from '../clusters/clusters.ts';
import type { EventRecorder } from '../events/recorder.ts';
import type { NodeHealth } from '../nodes/health/index.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { Provisioners } from '../provisioning/provisioners.ts';
import type { JoinFacts } from '../provisioning/types.ts';
import { layout, partsAfter } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { encodeRecord, type NodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { Availability } from './availability.ts';
import { ProvisionerCalls } from './calls.ts';
import { decide, reconsider } from './decision.ts';
import type { ReplacementPauses } from './pauses.ts';
import { isEnded } from './progress.ts';
import { type ReplacementRecords, replacementNotFound } from './records.ts';
import { type Confirmation, ReplacementSaga, type SagaOptions } from './saga.ts';
import { type ShownVerdict, shownVerdict } from './shown.ts';
import { unknownProvisioner } from './steps.ts';
import type { NodeSwap } from './swap.ts';
import type { Decision, ReplacementFacts, ReplacementQuestion, ReplacementRecord, Verdict } from './types.ts';
import { type VerdictRecord, Verdicts } from './verdicts.ts';

const tickMs = 1000;
/** A cluster in which nothing was noticed is looked at all the same. */
const atLeastEveryMs = 15_000;
/** Decisions take at most a part of the time, this one: where there are many nodes, they are made more seldom. */
const shareOfTime = 20;
/** Calls of provisioners at once. */
const concurrency = 16;
/** What makes a node Ready, were it not being replaced: `Ready` itself is False until the replacement is done. */
const servingConditions = ['Reachable', 'CertificatesValid', 'RenewalsSucceeding', 'TrustBundleCurrent'];
/** How long a cancel waits for the end before it answers with how it stands. */
const cancelWaitMs = 5000;

export interface ReplacementsOptions {
  store: Store;
  model: Model;
  registry: NodeRegistry;
  records: ReplacementRecords;
  pauses: ReplacementPauses;
  swap: NodeSwap;
  provisioners: Provisioners;
  health: Pick<NodeHealth, 'of' | 'subscribe'>;
  availability: Pick<Availability, 'facts' | 'subscribe'>;
  factsOf: (node: NodeRecord) => ReplacementFacts;
  events: EventRecorder;
  clock: Clock;
  logger: Logger;
  random: () => number;
  /** `rp-` and ten characters of [a-z0-9]. */
  newId: () => string;
  join: () => Pick<JoinFacts, 'endpoints' | 'caPins'>;
  /** What was decided before this coordinator led. */
  earlier?: readonly VerdictRecord[];
  /** Absent: nothing happens at the places where tests end the process. */
  fault?: SagaOptions['fault'];
}

/** Decides for each cluster whom to replace, keeps the verdicts, and runs the replacements, those included that an earlier process began. */
export class Replacements {
  readonly verdicts: Verdicts;
  readonly #options: ReplacementsOptions;
  readonly #calls: ProvisionerCalls;
  readonly #sagas = new Map<string, ReplacementSaga>();
  readonly #ended = new Set<Promise<void>>();
  /** Clusters in which something may have changed. */
  readonly #dirty = new Set<string>();
  /** When a cluster is looked at again, whichever clock comes there first. */
  readonly #next = new Map<string, { wallMs: number; monotonicMs: number }>();
  /** What the decisions of the last look took. */
  #spentMs = 0;
  readonly #stops: (() => void)[] = [];
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ReplacementsOptions) {
    this.#options = options;
    const { store, events, clock, earlier = [] } = options;
    this.verdicts = new Verdicts({ store, events, earlier, nowMs: () => clock.nowMs() });
    this.#calls = new ProvisionerCalls({ clock: options.clock, concurrency });
  }

  /** Goes on with what is under way, and begins to look. */
  start(): void {
    const { records, model, health, pauses, availability } = this.#options;
    for (const { cluster, id } of records.running('')) this.#run(cluster, id);
    this.#stops.push(
      health.subscribe((cluster) => this.#noticed(cluster)),
      model.nodes.subscribe(({ key }) => this.#noticed(partsAfter(layout.nodes, key)[0] ?? '')),
      model.clusters.subscribe(({ key, type }) => {
        const [cluster = ''] = partsAfter(layout.clusters, key);
        if (type === 'delete') this.verdicts.forget(cluster);
        this.#noticed(cluster);
      }),
      records.informer.subscribe(({ key }) => this.#noticed(partsAfter(layout.replacements, key)[0] ?? '')),
      pauses.informer.subscribe(() => this.#noticedAll()),
      availability.subscribe(() => this.#noticedAll()),
    );
    this.#schedule();
  }

  /** Begins nothing more, breaks off the calls under way, and waits for them. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const stop of this.#stops) stop();
    await this.#looking;
    await Promise.all([...this.#sagas.values()].map((saga) => saga.stop()));
    await Promise.all(this.#ended);
  }

  /** Whom it would replace now, and why not the others. NotFound: no such cluster. */
  plan(cluster: string): Decision {
    if (!this.#options.model.cluster(cluster)) throw clusterNotFound(cluster);
    return decide(this.#question(cluster));
  }

  /** What was decided of a node last; undefined: there is nothing to tell. */
  verdictOf({ cluster, name }: Pick<NodeRecord, 'cluster' | 'name'>, decided?: Verdict): ShownVerdict | undefined {
    const running = this.#options.records.runningOf(cluster, name);
    return shownVerdict({ node: name, running, kept: this.verdicts.get(cluster, name), decided, nowMs: this.#options.clock.nowMs() });
  }

  /**
   * Ends a replacement: what can be undone is, and it goes on in the background where that takes longer. Idempotent while it is under way. Errors: NotFound; FailedPrecondition (it has
   * ended).
   */
  async cancel(cluster: string, id: string, actor: string): Promise<ReplacementRecord> {
    const { records, clock } = this.#options;
    if (!records.get(cluster, id)) throw replacementNotFound(cluster, id);
    let first = false;
    await records.update(cluster, id, (record) => {
      if (isEnded(record)) throw hasEnded(record);
      if (record.cancel) return undefined;
      first = true;
      const { nextAttemptAtMs: _none, ...rest } = record;
      return { record: { ...rest, failures: 0, cancel: { by: actor, atMs: clock.nowMs(), reason: '' } } };
    });
    const saga = this.#sagas.get(keyOf(cluster, id));
    if (first) saga?.interrupt();
    const over = new AbortController();
    const waited = clock.sleep(cancelWaitMs, over.signal).catch(() => {});
    await Promise.race([saga?.run().catch(() => {}), waited]);
    over.abort();
    const record = records.get(cluster, id)?.record;
    if (!record) throw replacementNotFound(cluster, id);
    return record;
  }

  /** Looks at every cluster that is due, one after the other. */
  async look(): Promise<void> {
    const { model, clock } = this.#options;
    for (const { name } of model.clusters.list()) {
      if (this.#stopped) return;
      const next = this.#next.get(name);
      const monotonicMs = clock.monotonicMs();
      const due = !next || this.#dirty.has(name) || clock.nowMs() >= next.wallMs || monotonicMs >= next.monotonicMs;
      if (!due) continue;
      this.#dirty.delete(name);
      await this.#lookAt(name);
    }
  }

  async #lookAt(cluster: string): Promise<void> {
    const { clock, logger } = this.#options;
    let wallMs = Number.POSITIVE_INFINITY;
    try {
      const began = clock.monotonicMs();
      const decision = decide(this.#question(cluster));
      this.#spentMs += clock.monotonicMs() - began;
      for (const { againAtMs = Number.POSITIVE_INFINITY } of decision.verdicts) wallMs = Math.min(wallMs, againAtMs);
      await this.verdicts.keep(cluster, decision.verdicts);
      for (const node of decision.start)
        await this.#begin(cluster, node, decision.verdicts.find((one) => one.node === node)?.message ?? '');
    } catch (error) {
      this.#dirty.add(cluster);
      logger.warn('cannot decide on replacements just now; trying again', { cluster, error: describeError(error) });
    }
    this.#next.set(cluster, { wallMs, monotonicMs: clock.monotonicMs() + atLeastEveryMs });
  }

  #question(cluster: string, without = ''): ReplacementQuestion {
    const { model, provisioners, pauses, availability, records, factsOf, clock } = this.#options;
    const policy = this.#policyOf(cluster);
    const provisioner = provisioners.get(policy.provisioner);
    const nowMs = clock.nowMs();
    return {
      cluster,
      policy,
      provisionerKnown: provisioner !== undefined,
      ...(provisioner && { sameName: provisioner.sameName }),
      pause: pauses.of(cluster),
      availability: availability.facts(),
      nodes: model.nodesOf(cluster).map(factsOf),
      history: records.history(cluster, nowMs, without),
      nowMs,
    };
  }

  #policyOf(cluster: string): ReplacementPolicy {
    return replacementPolicyOf(this.#options.model.cluster(cluster)?.policy);
  }

  /** Records the replacement and marks its node in one transaction; a pause, or another change of the node, that comes between wins. */
  async #begin(cluster: string, name: string, reason: string): Promise<void> {
    const { registry, records, pauses, events, clock, model, newId } = this.#options;
    const earlier = await registry.read(cluster, name);
    if (this.#stopped || !earlier || earlier.record.replacement || earlier.record.role !== 'worker' || pauses.of(cluster)) return;
    const id = newId();
    const { labels, registeredAddresses, dnsNames } = earlier.record;
    const record: ReplacementRecord = {
      cluster,
      id,
      node: name,
      newNode: '',
      machine: '',
      provisioner: this.#policyOf(cluster).provisioner,
      state: 'Running',
      step: 'Cordon',
      attempt: 1,
      reason,
      message: '',
      facts: { labels, registeredAddresses, dnsNames },
      tokenIds: [],
      createdAtMs: clock.nowMs(),
      failures: 0,
      steps: [],
    };
    const node: NodeRecord = { ...earlier.record, replacement: { id } };
    const key = layout.node(cluster, name);
    const event = events.operation({
      cluster,
      node: name,
      actor: `coordinator/replacement/${id}`,
      reason: 'ReplacementStarted',
      source: 'certificate-renewal-worker',
      warning: true,
      message: `replacement ${id} of node ${name} begins: ${reason}`,
      details: { replacementId: id, attempt: 1, provisioner: record.provisioner },
    });
    const began = await records.create({
      record,
      compares: [{ key, modRevision: earlier.modRevision }, ...pauses.unchanged(cluster)],
      operations: [{ type: 'put', key, value: encodeRecord(node) }, event],
      accept: (revision) => model.nodes.accept(key, node, revision),
    });
    if (began) this.#run(cluster, id);
    else this.#dirty.add(cluster);
  }

  #run(cluster: string, id: string): void {
    const { records, swap, model, pauses, provisioners, events, clock, logger, random, join, health, fault } = this.#options;
    const saga = new ReplacementSaga(cluster, id, {
      records,
      swap,
      model,
      pauses,
      provisioners,
      calls: this.#calls,
      events,
      clock,
      logger,
      random,
      join,
      policyOf: (of) => this.#policyOf(of),
      confirm: (record) => this.#confirm(record),
      isReady: (of, name) => {
        const node = model.node(of, name);
        const conditions = node ? health.of(node).conditions : [];
        return servingConditions.every((wanted) => conditions.some(({ type, status }) => type === wanted && status === 'True'));
      },
      fault: fault ?? (() => {}),
    });
    const key = keyOf(cluster, id);
    this.#sagas.set(key, saga);
    const over: Promise<void> = saga.run().finally(() => {
      this.#sagas.delete(key);
      this.#ended.delete(over);
    });
    this.#ended.add(over);
  }

  /** The last word before the machine is removed. */
  #confirm({ cluster, node, id, provisioner }: ReplacementRecord): Confirmation {
    const { provisioners } = this.#options;
    // It may be another one than the policy names by now, and nobody else can remove the machine.
    if (!provisioners.get(provisioner)) return { type: 'wait', message: unknownProvisioner(provisioner, provisioners.names()).message };
    const { kind, reason, message } = reconsider(this.#question(cluster, id), node);
    if (kind === 'Due') return { type: 'go' };
    if (kind === 'Held' && reason !== 'Cordoned') return { type: 'wait', message };
    return { type: 'recovered', message };
  }

  #noticed(cluster: string): void {
    this.#dirty.add(cluster);
    for (const saga of this.#sagas.values()) if (saga.cluster === cluster) saga.poke();
  }

  #noticedAll(): void {
    for (const { name } of this.#options.model.clusters.list()) this.#noticed(name);
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(Math.max(tickMs, this.#spentMs * shareOfTime), () => {
      this.#spentMs = 0;
      this.#looking = this.look().finally(() => {
        this.#looking = undefined;
        if (!this.#stopped) this.#schedule();
      });
    });
  }
}

function keyOf(cluster: string, id: string): string {
  return `${cluster}/${id}`;
}

function hasEnded({ id, state, message }: ReplacementRecord): EvercertError {
  return new EvercertError('FailedPrecondition', `replacement ${id} has ended already (${state}): ${message}`, {
    metadata: { replacement: id, state },
  });
}
