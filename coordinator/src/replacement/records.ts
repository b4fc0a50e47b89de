import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type Cached, Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';
import { historyOf } from './limits.ts';
import { isEnded } from './progress.ts';
import type { ReplacementHistory, ReplacementRecord } from './types.ts';

/** A change that loses against another is decided again, so many times. */
const maxAttempts = 8;

/** More that is compared and written in the transaction of a record's change. */
export interface RecordChange {
  record: ReplacementRecord;
  compares?: Compare[];
  operations?: Operation[];
  /** Called once it is durable. */
  accept?: (revision: number) => void;
}

type Decide = (record: ReplacementRecord) => RecordChange | undefined | Promise<RecordChange | undefined>;

/** The records of all replacements, in memory and in the store: each change is one transaction that compares the record's revision. */
export class ReplacementRecords {
  readonly informer: Informer<ReplacementRecord>;
  readonly #store: Store;
  readonly #options: { logger: Logger };

  /** @param options.informer of records that are written elsewhere; absent: its own. */
  constructor(options: { store: Store; logger: Logger; informer?: Informer<ReplacementRecord> }) {
    this.#options = options;
    this.#store = options.store;
    this.informer = options.informer ?? new Informer(options.store, layout.replacements, options.logger);
  }

  /** The same records, written through another store. */
  through(store: Store): ReplacementRecords {
    return new ReplacementRecords({ store, logger: this.#options.logger, informer: this.informer });
  }

  start(): Promise<void> {
    return this.informer.start();
  }

  stop(): Promise<void> {
    return this.informer.stop();
  }

  get(cluster: string, id: string): Cached<ReplacementRecord> | undefined {
    return this.informer.get(layout.replacement(cluster, id));
  }

  /** Newest first; empty cluster: those of all. */
  list(cluster: string): ReplacementRecord[] {
    const found = this.informer.list(cluster === '' ? layout.replacements : layout.replacementsOf(cluster));
    return found.sort((a, b) => b.createdAtMs - a.createdAtMs);
  }

  /** Those that have not ended. */
  running(cluster: string): ReplacementRecord[] {
    return this.list(cluster).filter((record) => !isEnded(record));
  }

  /** The one that has not ended to which a node belongs, as the old one or the new one. */
  runningOf(cluster: string, node: string): ReplacementRecord | undefined {
    return this.running(cluster).find((record) => record.node === node || record.newNode === node);
  }

  /** What bears on the limits; `without`: as if this one had never begun. */
  history(cluster: string, nowMs: number, without = ''): ReplacementHistory {
    return historyOf(this.list(cluster), nowMs, without);
  }

  /** False: something that it compares was otherwise, and nothing was written. */
  async create({ record, compares = [], operations = [], accept }: RecordChange): Promise<boolean> {
    const key = layout.replacement(record.cluster, record.id);
    const put: Operation = { type: 'put', key, value: encodeRecord(record) };
    const { succeeded, revision } = await this.#store.transact([{ key, modRevision: 0 }, ...compares], [put, ...operations]);
    if (!succeeded) return false;
    accept?.(revision);
    this.informer.accept(key, record, revision);
    return true;
  }

  /**
   * Changes a record as the store has it now, and is asked again when another change came between. Undefined from `decide` means: leave it as it is. Errors: NotFound, Conflict, StoreFailure.
   */
  async update(cluster: string, id: string, decide: Decide): Promise<ReplacementRecord> {
    const key = layout.replacement(cluster, id);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const entry = await this.#store.get(key);
      if (!entry) throw replacementNotFound(cluster, id);
      const before = decodeRecord<ReplacementRecord>(key, entry.value);
      const change = await decide(before);
      if (!change) return before;
      const { record, compares = [], operations = [], accept } = change;
      const put: Operation = { type: 'put', key, value: encodeRecord(record) };
      const { succeeded, revision } = await this.#store.transact(
        [{ key, modRevision: entry.modRevision }, ...compares],
        [put, ...operations],
      );
      if (!succeeded) continue;
      accept?.(revision);
      this.informer.accept(key, record, revision);
      return record;
    }
    throw new EvercertError('Conflict', `replacement ${id}, or what it changes, keeps changing under it: try again`);
  }
}

export function replacementNotFound(cluster: string, id: string): EvercertError {
  const where = cluster === '' ? '' : ` in cluster ${cluster}`;
  return new EvercertError('NotFound', `replacements "${id.slice(0, 40)}" not found${where}`, {
    metadata: { cluster, replacement: id.slice(0, 40) },
  });
}
