import { randomBytes } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import { checkPrefix, checkTransaction, checkTtl, invalid } from '../limits.ts';
import type {
  Compare,
  KeyValue,
  Operation,
  RangeOptions,
  RangeResult,
  SnapshotPage,
  Store,
  TransactionResult,
  WatchEvent,
  WatchOptions,
} from '../types.ts';
import { WatchHub } from '../watch-hub.ts';
import { Batch } from './batch.ts';
import { readWindow, SqliteChangeLog } from './change-log.ts';
import { type OpenDatabase, openDatabase } from './database.ts';
import { isSyncFailure, toStoreError } from './errors.ts';
import { Leases } from './leases.ts';
import { Snapshots } from './snapshots.ts';
import { Tables } from './tables.ts';
import type { Window } from './window.ts';

export interface SqliteStoreOptions {
  /** Path of the database file; its folder must exist. `:memory:` for tests. */
  file: string;
  clock: Clock;
  logger: Logger;
  /** Revisions that watches can resume from, at most about this many (default 5000)… */
  historyRevisions?: number;
  /** …and about this old (default 10 minutes). Milliseconds. */
  historyAgeMs?: number;
  /** Events that wait in memory for one watcher; beyond them it reads from the file again (default 4096). */
  watchQueueEvents?: number;
  /** Transactions that wait for a commit, beyond which they are refused as Overloaded (default 10,000). */
  maxPending?: number;
  /** Bytes of replaced values that are kept in memory for one snapshot while it is read (default 64 MiB). */
  snapshotBytes?: number;
  /** For lease ids. */
  randomBytes?: (size: number) => Buffer;
  /** Opens the database; for tests of failures. */
  open?: OpenDatabase;
}

export interface SqliteStoreStats {
  /** Durable commits: each costs one fsync. */
  commits: number;
  /** Transactions and lease calls that were answered, those with a failed comparison too. */
  transactions: number;
  /** Commits that failed and were rolled back. */
  rollbacks: number;
  /** The last revision. */
  revision: number;
}

export interface SqliteStore extends Store {
  stats(): SqliteStoreStats;
}

/** One caller's part of a batch. */
interface Work {
  run(batch: Batch): unknown;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

type Outcome = { value: unknown } | { error: EvercertError };

/** So that one commit does not hold up the event loop for long; the rest follows in the next turn. */
const maxBatch = 256;
const expiryRetryMs = 1000;
const overloadRetryMs = 500;

/**
 * Opens (or makes) the store in one SQLite file, which this process then owns alone.
 * FailedPrecondition: another coordinator has it open; it is another program's, or a newer Evercert's. DataLoss: damaged. StoreFailure, DiskFull.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<SqliteStore> {
  const db = openDatabase(options.file, options.open);
  try {
    return new GroupCommitStore(db, options);
  } catch (error) {
    db.close();
    throw toStoreError(error, 'read its state', options.file);
  }
}

/**
 * Group commit: calls queue up, and once per turn of the event loop all that wait go into one SQLite transaction with one fsync. All SQL runs to its end within that
 * turn, so reads, which run in between, only ever see committed state.
 */
class GroupCommitStore implements SqliteStore {
  readonly shared = false;
  readonly #db: DatabaseSync;
  readonly #file: string;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #tables: Tables;
  readonly #window: Window;
  readonly #leases: Leases;
  readonly #hub: WatchHub;
  readonly #snapshots: Snapshots;
  readonly #maxPending: number;
  readonly #randomBytes: (size: number) => Buffer;
  readonly #stats = { commits: 0, transactions: 0, rollbacks: 0 };
  #nextRow: number;
  /** The first row that the index in the file lacks. */
  #indexedRow: number;
  #queue: Work[] = [];
  #scheduled = false;
  /** Set once nothing more can be done with the database. */
  #refusal: EvercertError | undefined;
  #closing: Promise<void> | undefined;

  constructor(db: DatabaseSync, options: SqliteStoreOptions) {
    this.#db = db;
    this.#file = options.file;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#maxPending = options.maxPending ?? 10_000;
    this.#randomBytes = options.randomBytes ?? randomBytes;
    this.#tables = new Tables(db);
    const { window, nextRow } = readWindow(this.#tables, {
      revisions: options.historyRevisions ?? 5000,
      ageMs: options.historyAgeMs ?? 600_000,
      nowMs: options.clock.monotonicMs(),
      file: options.file,
    });
    this.#window = window;
    this.#nextRow = nextRow;
    this.#indexedRow = nextRow;
    const log = new SqliteChangeLog(this.#tables, window, (read) => this.#read(read));
    this.#hub = new WatchHub(log, { queueEvents: options.watchQueueEvents ?? 4096 });
    this.#snapshots = new Snapshots(this.#tables, { maxBytes: options.snapshotBytes ?? 64 * 1024 * 1024 });
    this.#leases = new Leases(options.clock, this.#tables.leases(), () => this.#expireLeases());
    this.#leases.schedule();
  }

  stats(): SqliteStoreStats {
    return { ...this.#stats, revision: this.#window.revision };
  }

  async get(key: string): Promise<KeyValue | undefined> {
    checkPrefix(key);
    return this.#read(() => this.#tables.entry(key));
  }

  async range(options: RangeOptions): Promise<RangeResult> {
    checkPrefix(options.prefix);
    if (options.after !== undefined) checkPrefix(options.after);
    const limit = options.limit ?? 0;
    if (!Number.isSafeInteger(limit) || limit < 0) throw invalid(`limit is a whole number from 0, not ${limit}`);
    const entries = this.#read(() => this.#tables.range(options, limit === 0 ? -1 : limit + 1));
    const more = limit > 0 && entries.length > limit;
    return { entries: more ? entries.slice(0, limit) : entries, more, revision: this.#window.revision };
  }

  async transact(compares: Compare[], operations: Operation[]): Promise<TransactionResult> {
    checkTransaction(compares, operations);
    return this.#enqueue((batch) => batch.transact(compares, operations));
  }

  watch(options: WatchOptions): AsyncIterable<WatchEvent[]> {
    this.#assertUsable();
    checkPrefix(options.prefix);
    return this.#hub.watch(options);
  }

  async *snapshot({ prefix, signal }: { prefix: string; signal: AbortSignal }): AsyncGenerator<SnapshotPage, void, void> {
    this.#assertUsable();
    checkPrefix(prefix);
    const snapshot = this.#snapshots.open(prefix, this.#window.revision);
    try {
      while (!signal.aborted) {
        const page = this.#read(() => snapshot.next());
        if (page === undefined) return;
        yield page;
        // Others get their turn between two pages, also when the reader is a fast one.
        await nextTurn();
      }
    } finally {
      snapshot.close();
    }
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    checkTtl(ttlSeconds);
    const id = this.#randomBytes(8).toString('hex');
    await this.#enqueue((batch) => batch.grantLease(id, Math.ceil(ttlSeconds * 1000)));
    this.#leases.schedule();
    return id;
  }

  async keepLeaseAlive(lease: string): Promise<void> {
    await this.#enqueue((batch) => batch.keepLeaseAlive(lease));
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#enqueue((batch) => batch.revokeLease(lease));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    while (this.#queue.length > 0) this.#flush();
    this.#leases.stop();
    const failed = this.#refusal !== undefined;
    this.#refusal ??= new EvercertError('Unavailable', 'the store is closed');
    this.#hub.close(this.#refusal);
    try {
      this.#db.close();
    } catch (error) {
      if (!failed) throw toStoreError(error, 'close', this.#file);
    }
  }

  #enqueue<T>(run: (batch: Batch) => T): Promise<T> {
    this.#assertUsable();
    if (this.#queue.length >= this.#maxPending) {
      throw new EvercertError('Overloaded', `${this.#queue.length} transactions wait for the store; try again later`, {
        retryAfterMs: overloadRetryMs,
      });
    }
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ run, resolve: resolve as (value: unknown) => void, reject });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    // After the poll phase: everything that this turn's input asked for has queued up by then.
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#queue.length === 0) return;
    const works = this.#queue.splice(0, maxBatch);
    if (this.#queue.length > 0) this.#schedule();
    const settled = this.#commit(works);
    if ('error' in settled) {
      for (const work of works) work.reject(settled.error);
      return;
    }
    for (const [index, work] of works.entries()) {
      const outcome = settled.outcomes[index];
      if (outcome && 'value' in outcome) work.resolve(outcome.value);
      else if (outcome) work.reject(outcome.error);
    }
  }

  /** Runs the works in one SQLite transaction. Either all outcomes are durable, or nothing was written. */
  #commit(works: readonly Work[]): { outcomes: Outcome[] } | { error: EvercertError } {
    if (this.#refusal) return { error: this.#refusal };
    const batch = new Batch({
      tables: this.#tables,
      window: this.#window,
      leases: this.#leases,
      snapshots: this.#snapshots,
      nextRow: this.#nextRow,
      indexedRow: this.#indexedRow,
      nowMs: this.#clock.monotonicMs(),
      collectEvents: this.#hub.active,
    });
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      batch.begin();
      const outcomes = works.map((work) => attempt(work, batch));
      if (batch.dirty) faultPoint('store.batch.before-commit');
      this.#db.exec('COMMIT');
      if (batch.dirty) {
        faultPoint('store.batch.after-commit');
        this.#stats.commits += 1;
      }
      this.#stats.transactions += works.length;
      const { changes, nextRow, indexedRow } = batch.committed();
      this.#nextRow = nextRow;
      this.#indexedRow = indexedRow;
      for (const events of changes) this.#hub.publish(events);
      return { outcomes };
    } catch (error) {
      batch.rolledBack();
      return { error: this.#rollBack(error) };
    }
  }

  #rollBack(cause: unknown): EvercertError {
    this.#stats.rollbacks += 1;
    const error = toStoreError(cause, 'commit', this.#file);
    this.#logger.error('a commit failed and was rolled back', { code: error.code, error: error.message });
    try {
      // SQLite has rolled back by itself after some errors.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      if (!isSyncFailure(cause)) return error;
    } catch (failure) {
      this.#logger.error('the rollback failed too', { error: String(failure) });
    }
    this.#refusal = new EvercertError(
      'StoreFailure',
      `the store stopped after a failure of the disk, to lose nothing; check the disk and restart the coordinator (${error.message})`,
      { cause, metadata: { file: this.#file } },
    );
    this.#hub.close(this.#refusal);
    return this.#refusal;
  }

  #read<T>(read: () => T): T {
    this.#assertUsable();
    try {
      return read();
    } catch (error) {
      throw toStoreError(error, 'read', this.#file);
    }
  }

  #assertUsable(): void {
    if (this.#refusal) throw this.#refusal;
  }

  #expireLeases(): void {
    if (this.#refusal) return;
    const run = (batch: Batch): void => {
      // Asked again here: one of them may have been renewed in the meantime.
      for (const lease of this.#leases.expired()) batch.endLease(lease);
    };
    const resolve = (): void => this.#leases.schedule();
    const reject = (error: Error): void => {
      this.#logger.warn('leases that ran out could not be ended yet', { error: error.message });
      this.#leases.schedule(expiryRetryMs);
    };
    this.#queue.push({ run, resolve, reject });
    this.#schedule();
  }
}

/** What a refused transaction throws is its own outcome; everything else fails the batch. */
function attempt(work: Work, batch: Batch): Outcome {
  try {
    return { value: work.run(batch) };
  } catch (error) {
    if (error instanceof EvercertError) return { error };
    throw error;
  }
}
