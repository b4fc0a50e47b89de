import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { type EventRecorder, eventId } from '../../events/recorder.ts';
import { renewalSource } from '../../events/renewal-log.ts';
import { layout, partsAfter } from '../../state/layout.ts';
import { decodeRecord, encodeRecord, type NodeHealthRecord, type NodeRecord } from '../../state/records.ts';
import type { Operation, Store } from '../../store/index.ts';
import { type Due, nextDue } from './due.ts';
import { type FactsSources, factsOf } from './facts.ts';
import { Inventory } from './inventory.ts';
import { nextState, sameState, type Transition, transitionsOf } from './transition.ts';
import type { HealthFacts, NodeHealthState, NodePhase } from './types.ts';

/** How often it is looked whose next possible change is due, and changes are written. */
const sweepEveryMs = 1000;
/** A look that comes so much later than it should tells that this process was stopped or its machine asleep. */
const absentMs = 5000;
/** Nodes looked at in one sweep: after a step of the clock it is all of them, which takes some sweeps. */
const maxPerSweep = 2000;
/** Nodes written in one transaction, with their events: what a store takes at once is bounded. */
const flushBatch = 10;
/** Events of one node that wait to be written; beyond, the oldest goes. */
const maxWaiting = 11;

export interface NodeHealthOptions extends Omit<FactsSources, 'inventory' | 'nowMs'> {
  store: Store;
  events: EventRecorder;
  clock: Clock;
  logger: Logger;
}

/** What the coordinator knows of a node by itself. */
const certain = new Set<NodePhase>(['Expired', 'Revoked', 'Repairing', 'Replacing']);

interface Waiting {
  cluster: string;
  name: string;
  transitions: { timeMs: number; transition: Transition }[];
}

/** Keeps every node's health, at the leader: derives it when something is reported or time makes a difference, remembers since when it is so, and tells each transition. */
export class NodeHealth {
  readonly #options: NodeHealthOptions;
  readonly #sources: FactsSources;
  readonly #states = new Map<string, NodeHealthState>();
  readonly #due = new Map<string, { wallMs: number; monotonicMs: number }>();
  readonly #dirty = new Map<string, Waiting>();
  readonly #listeners = new Set<(cluster: string, name: string) => void>();
  readonly #stops: (() => void)[] = [];
  #sweptMonotonicMs = 0;
  #sweptWallMs = 0;
  #timer: Timer | undefined;
  #flushing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: NodeHealthOptions) {
    this.#options = options;
    const { store, logger, clock } = options;
    const inventory = new Inventory({ store, logger, found: (cluster, name) => this.#look(cluster, name) });
    this.#sources = { ...options, inventory, nowMs: () => clock.nowMs() };
  }

  /** Reads what was known, and begins to look. Nobody is judged by what happened while no coordinator ran until it had time to be heard. */
  async start(): Promise<void> {
    const { store, clock, model, statuses, desired } = this.#options;
    this.#sweptMonotonicMs = clock.monotonicMs();
    this.#sweptWallMs = clock.nowMs();
    const { entries } = await store.range({ prefix: layout.nodeHealths });
    for (const { key, value } of entries) {
      const { cluster, name, phase, phaseSinceMs, message, conditions } = decodeRecord<NodeHealthRecord>(key, value);
      if (model.node(cluster, name)) this.#states.set(key, { phase, phaseSinceMs, message, conditions });
      // Written in the very moment in which the node was deleted.
      else await store.transact([], [{ type: 'delete', key }]);
    }
    for (const { cluster, name } of model.nodes.list()) this.#due.set(layout.nodeHealth(cluster, name), soon);
    this.#stops.push(
      statuses.subscribe((cluster, name) => {
        this.#look(cluster, name);
        this.#notify(cluster, name);
      }),
      model.nodes.subscribe(({ type, key }) => {
        const [cluster = '', name = ''] = partsAfter(layout.nodes, key);
        if (type === 'delete') this.#forget(cluster, name);
        else this.#due.set(layout.nodeHealth(cluster, name), soon);
      }),
      desired.subscribe((cluster, name) => {
        if (this.#due.has(layout.nodeHealth(cluster, name))) this.#due.set(layout.nodeHealth(cluster, name), soon);
      }),
    );
    this.#schedule();
  }

  /** What has changed is durable when it resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const stop of this.#stops) stop();
    await this.#flushing;
    await this.#flush();
  }

  /** A node's health now. */
  of(node: NodeRecord): NodeHealthState {
    const before = this.#states.get(layout.nodeHealth(node.cluster, node.name));
    const after = this.#derive(node);
    // Whoever asks first must not keep the change from those who wait for it; they are told once the answer is given.
    if (after && after !== before) queueMicrotask(() => this.#notify(node.cluster, node.name));
    return after ?? nextState(factsOf(this.#sources, node), undefined);
  }

  /** What a node's health is derived from now. */
  factsOf(node: NodeRecord): HealthFacts {
    return factsOf(this.#sources, node);
  }

  /** Calls back after each report, and after each change that time alone has made. */
  subscribe(listener: (cluster: string, name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Undefined: the node is gone. */
  #derive(node: NodeRecord): NodeHealthState | undefined {
    const { cluster, name } = node;
    const { model, clock } = this.#options;
    const key = layout.nodeHealth(cluster, name);
    if (!model.node(cluster, name)) return undefined;
    const before = this.#states.get(key);
    const awaited = before !== undefined && this.#isAwaited(cluster, name);
    const facts = factsOf(this.#sources, node);
    const wasSilent = awaited && before.conditions.some(({ type, status }) => type === 'Reachable' && status === 'False');
    const after = nextState(wasSilent ? { ...facts, silentMs: Number.POSITIVE_INFINITY } : facts, before);
    this.#setDue(key, nextDue(facts));
    if (awaited && !certain.has(after.phase)) return before;
    if (before && sameState(before, after)) return before;
    this.#states.set(key, after);
    this.#remember(key, cluster, name, transitionsOf(name, before, after), clock.nowMs());
    return after;
  }

  /** After a start each node has its time to be heard: what was known of it stands until it has reported, or the time is over; but for what is certain without a word of it. */
  #isAwaited(cluster: string, name: string): boolean {
    const { clock, statuses, unreachableAfterMs } = this.#options;
    const status = statuses.get(cluster, name);
    return status !== undefined && !status.fresh && clock.monotonicMs() - statuses.startedMonotonicMs <= unreachableAfterMs;
  }

  #look(cluster: string, name: string): void {
    const node = this.#options.model.node(cluster, name);
    if (node && !this.#stopped) this.#derive(node);
  }

  #setDue(key: string, { wallMs, silentForMs }: Due): void {
    this.#due.set(key, { wallMs, monotonicMs: this.#options.clock.monotonicMs() + silentForMs });
  }

  #remember(key: string, cluster: string, name: string, transitions: Transition[], timeMs: number): void {
    const waiting = this.#dirty.get(key) ?? { cluster, name, transitions: [] };
    waiting.transitions = [...waiting.transitions, ...transitions.map((transition) => ({ timeMs, transition }))].slice(-maxWaiting);
    this.#dirty.set(key, waiting);
  }

  #forget(cluster: string, name: string): void {
    const key = layout.nodeHealth(cluster, name);
    for (const map of [this.#states, this.#due, this.#dirty]) map.delete(key);
  }

  #notify(cluster: string, name: string): void {
    for (const listener of this.#listeners) listener(cluster, name);
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(sweepEveryMs, () => {
      if (this.#stopped) return;
      this.sweep();
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = undefined;
      });
      this.#schedule();
    });
  }

  /** Looks at the nodes whose next possible change is due. Returns how many it looked at. */
  sweep(): number {
    const { clock, model, statuses } = this.#options;
    const monotonicMs = clock.monotonicMs();
    const wallMs = clock.nowMs();
    const lateMs = monotonicMs - this.#sweptMonotonicMs - sweepEveryMs;
    if (lateMs > absentMs) statuses.excuse(lateMs);
    const steppedMs = wallMs - this.#sweptWallMs - (monotonicMs - this.#sweptMonotonicMs);
    if (Math.abs(steppedMs) > sweepEveryMs) for (const key of this.#due.keys()) this.#due.set(key, soon);
    this.#sweptMonotonicMs = monotonicMs;
    this.#sweptWallMs = wallMs;
    let looked = 0;
    for (const [key, due] of this.#due) {
      if (looked >= maxPerSweep) break;
      if (due.wallMs > wallMs && due.monotonicMs > monotonicMs) continue;
      const [cluster = '', name = ''] = partsAfter(layout.nodeHealths, key);
      if (due.wallMs > wallMs && this.#wasHeard(key, cluster, name, due.wallMs)) continue;
      const node = model.node(cluster, name);
      if (!node) continue;
      looked += 1;
      const before = this.#states.get(key);
      if (this.#derive(node) !== before) this.#notify(cluster, name);
    }
    return looked;
  }

  /** Only its silence was due, and a heartbeat came meanwhile: all that is to be done is to look again later. */
  #wasHeard(key: string, cluster: string, name: string, wallMs: number): boolean {
    const { statuses, unreachableAfterMs, clock } = this.#options;
    const silentMs = statuses.silentMs(cluster, name);
    if (silentMs === undefined || silentMs > unreachableAfterMs) return false;
    this.#due.set(key, { wallMs, monotonicMs: clock.monotonicMs() + unreachableAfterMs - silentMs + 1 });
    return true;
  }

  async #flush(): Promise<void> {
    while (this.#dirty.size > 0) {
      const batch = [...this.#dirty].slice(0, flushBatch);
      for (const [key] of batch) this.#dirty.delete(key);
      try {
        await this.#options.store.transact(
          [],
          batch.flatMap(([key, waiting]) => this.#writes(key, waiting)),
        );
      } catch (error) {
        this.#options.logger.warn("cannot write the nodes' health; trying again", { error: String(error) });
        for (const [key, waiting] of batch) {
          const since = this.#dirty.get(key)?.transitions ?? [];
          this.#dirty.set(key, { ...waiting, transitions: [...waiting.transitions, ...since].slice(-maxWaiting) });
        }
        return;
      }
    }
  }

  #writes(key: string, { cluster, name, transitions }: Waiting): Operation[] {
    const state = this.#states.get(key);
    const node = this.#options.model.node(cluster, name);
    // Deleted meanwhile: its record went with it.
    if (!state || !node) return [];
    const source = renewalSource(node.role);
    return [
      { type: 'put', key, value: encodeRecord<NodeHealthRecord>({ cluster, name, ...state }) },
      ...transitions.map(({ timeMs, transition }) =>
        this.#options.events.operation({
          cluster,
          node: name,
          actor: 'coordinator',
          source,
          timeMs,
          // Written again when it is not known whether it was written.
          id: eventId(timeMs, `${name}-${transition.reason}`),
          ...transition,
        }),
      ),
    ];
  }
}

const soon = { wallMs: Number.NEGATIVE_INFINITY, monotonicMs: Number.NEGATIVE_INFINITY };
