import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';
import type { Verdict } from './types.ts';

/** A verdict with the time since when its kind and reason are these. */
export interface KeptVerdict extends Verdict {
  sinceMs: number;
}

/** What is kept of a node at layout.replacementVerdict, for other coordinators and for the next leader. */
export interface VerdictRecord extends KeptVerdict {
  cluster: string;
}

/** Changes in one transaction; each is a record and an event. */
const atOnce = 50;

export interface VerdictsOptions {
  store: Store;
  events: EventRecorder;
  nowMs: () => number;
  /** Verdicts of whoever led before. */
  earlier?: readonly VerdictRecord[];
}

/** Keeps what was decided of each node, and tells what has changed. Nodes of which there is nothing to tell are not kept. */
export class Verdicts {
  readonly #options: VerdictsOptions;
  readonly #kept = new Map<string, Map<string, KeptVerdict>>();
  readonly #listeners = new Set<(cluster: string, node: string) => void>();

  constructor(options: VerdictsOptions) {
    this.#options = options;
    for (const { cluster, ...verdict } of options.earlier ?? []) {
      const kept = this.#kept.get(cluster) ?? new Map<string, KeptVerdict>();
      this.#kept.set(cluster, kept.set(verdict.node, verdict));
    }
  }

  get(cluster: string, node: string): KeptVerdict | undefined {
    return this.#kept.get(cluster)?.get(node);
  }

  /** Calls back after a verdict's kind or reason has changed. Returns a function that ends it. */
  subscribe(listener: (cluster: string, node: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  forget(cluster: string): void {
    this.#kept.delete(cluster);
  }

  /** Takes the place of what was kept of a cluster; changes are durable, with their events, when it resolves. */
  async keep(cluster: string, verdicts: readonly Verdict[]): Promise<void> {
    const { nowMs } = this.#options;
    const before = this.#kept.get(cluster) ?? new Map<string, KeptVerdict>();
    const after = new Map<string, KeptVerdict>();
    const changed: Verdict[] = [];
    for (const verdict of verdicts) {
      const earlier = before.get(verdict.node);
      const same = earlier?.kind === verdict.kind && earlier.reason === verdict.reason;
      if (verdict.reason !== '') after.set(verdict.node, { ...verdict, sinceMs: same ? earlier.sinceMs : nowMs() });
      if (!same && (earlier || verdict.reason !== '')) changed.push(verdict);
    }
    if (after.size > 0) this.#kept.set(cluster, after);
    else this.#kept.delete(cluster);
    for (const { node } of changed) for (const listener of this.#listeners) listener(cluster, node);
    const present = new Set(verdicts.map(({ node }) => node));
    const gone = [...before.keys()].filter((node) => !present.has(node));
    await this.#write([
      ...gone.map((node): Operation[] => [{ type: 'delete', key: layout.replacementVerdict(cluster, node) }]),
      ...changed.map((verdict) => this.#operations(cluster, verdict, after.get(verdict.node))),
    ]);
  }

  #operations(cluster: string, verdict: Verdict, kept: KeptVerdict | undefined): Operation[] {
    const key = layout.replacementVerdict(cluster, verdict.node);
    const event = eventOf(cluster, verdict);
    return [
      kept ? { type: 'put', key, value: encodeRecord<VerdictRecord>({ cluster, ...kept }) } : { type: 'delete', key },
      ...(event ? [this.#options.events.operation(event)] : []),
    ];
  }

  async #write(changes: readonly Operation[][]): Promise<void> {
    for (let from = 0; from < changes.length; from += atOnce) {
      await this.#options.store.transact([], changes.slice(from, from + atOnce).flat());
    }
  }
}

/** Undefined: the node's health, or the replacement itself, tells it. */
function eventOf(cluster: string, { node, kind, reason, message }: Verdict): NewEvent | undefined {
  const base = { cluster, node, actor: 'coordinator', source: 'certificate-renewal-worker' as const };
  switch (kind) {
    case 'Held':
      return reason === 'DryRun'
        ? { ...base, reason: 'ReplacementWouldStart', message: `node ${node}: ${message}` }
        : { ...base, reason: 'ReplacementHeld', warning: true, message: `node ${node} (${reason}): ${message}` };
    case 'Due':
      return { ...base, reason: 'ReplacementDue', warning: true, message: `node ${node}: ${message}` };
    case 'Never':
      return reason === ''
        ? undefined
        : {
            ...base,
            source: 'certificate-renewal-controller',
            reason: 'NodeNeedsRepair',
            warning: true,
            message: `node ${node}: ${message}`,
          };
    case 'NotDue':
    case 'Replacing':
      return undefined;
  }
}
