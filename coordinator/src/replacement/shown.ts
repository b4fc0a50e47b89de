import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import type { NodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { ReplacementRecords } from './records.ts';
import type { ReplacementRecord, Verdict } from './types.ts';
import type { KeptVerdict, VerdictRecord, Verdicts } from './verdicts.ts';

/** What is shown of a node. */
export interface ShownVerdict extends Verdict {
  sinceMs: number;
  replacementId: string;
  step: string;
}

export interface ShownQuestion {
  node: string;
  /** The replacement that the node belongs to and that has not ended. */
  running: ReplacementRecord | undefined;
  /** What was decided last. */
  kept: KeptVerdict | undefined;
  /** What would be decided now, where that was asked. */
  decided?: Verdict | undefined;
  nowMs: number;
}

/** Undefined: there is nothing to tell. */
export function shownVerdict({ node, running, kept, decided, nowMs }: ShownQuestion): ShownVerdict | undefined {
  const verdict = decided ?? kept;
  const place = { replacementId: running?.id ?? '', step: running?.step ?? '' };
  if (running && verdict?.kind !== 'Replacing') {
    const { message, createdAtMs: sinceMs } = running;
    return { node, kind: 'Replacing', reason: 'UnderWay', message, sinceMs, ...place };
  }
  if (!verdict || verdict.reason === '') return undefined;
  const same = kept?.kind === verdict.kind && kept.reason === verdict.reason;
  return { ...verdict, sinceMs: same ? kept.sinceMs : nowMs, ...place };
}

/** Who decides, at the leader. */
export interface DecidedReplacements {
  readonly verdicts: Pick<Verdicts, 'subscribe'>;
  verdictOf(node: Pick<NodeRecord, 'cluster' | 'name'>): ShownVerdict | undefined;
}

export interface ShownReplacementsOptions {
  store: Store;
  records: ReplacementRecords;
  logger: Logger;
  nowMs: () => number;
}

/** What was decided of each node's replacement, at all coordinators: as the leader keeps it, and at the leader itself as it has just decided. */
export class ShownReplacements {
  readonly #options: ShownReplacementsOptions;
  readonly #informer: Informer<VerdictRecord>;
  readonly #listeners = new Set<(cluster: string, node: string) => void>();
  #leading: DecidedReplacements | undefined;

  constructor(options: ShownReplacementsOptions) {
    this.#options = options;
    this.#informer = new Informer(options.store, layout.replacementVerdicts, options.logger);
    this.#informer.subscribe((change) => {
      const { cluster, node } = change.type === 'put' ? change.record : change.previous;
      if (!this.#leading) this.#tell(cluster, node);
    });
  }

  start(): Promise<void> {
    return this.#informer.start();
  }

  stop(): Promise<void> {
    return this.#informer.stop();
  }

  /** What whoever led before has kept. */
  kept(): VerdictRecord[] {
    return this.#informer.list();
  }

  /** From now on it is decided here. Returns a function that ends it. */
  lead(replacements: DecidedReplacements): () => void {
    this.#leading = replacements;
    const end = replacements.verdicts.subscribe((cluster, node) => this.#tell(cluster, node));
    return () => {
      end();
      this.#leading = undefined;
    };
  }

  /** What was decided of a node last; undefined: there is nothing to tell. */
  verdictOf(node: Pick<NodeRecord, 'cluster' | 'name'>): ShownVerdict | undefined {
    if (this.#leading) return this.#leading.verdictOf(node);
    const { cluster, name } = node;
    const { records, nowMs } = this.#options;
    const kept = this.#informer.get(layout.replacementVerdict(cluster, name))?.record;
    return shownVerdict({ node: name, running: records.runningOf(cluster, name), kept, nowMs: nowMs() });
  }

  /** Calls back after a verdict's kind or reason has changed. Returns a function that ends it. */
  subscribe(listener: (cluster: string, node: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #tell(cluster: string, node: string): void {
    for (const listener of this.#listeners) listener(cluster, node);
  }
}
