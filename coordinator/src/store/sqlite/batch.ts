import type { Compare, Operation, TransactionResult, WatchEvent } from '../types.ts';
import type { Leases } from './leases.ts';
import type { Snapshots } from './snapshots.ts';
import type { CurrentRow, Tables } from './tables.ts';
import type { Window } from './window.ts';

/** Rows that the file's index may lack: more cost memory and a longer pause when it is brought up to date, fewer cost CPU. */
const flushRows = 4096;

/**
 * What happens inside one SQLite transaction: several transactions of the store, each seeing what those before it wrote. Nothing of it is known outside until
 * `committed` is called; after a rollback the object is dropped and `rolledBack` undoes what it did in memory.
 *
 * A transaction is checked whole before its first write, so one that fails leaves nothing for its neighbours to trip over.
 */
export class Batch {
  readonly #tables: Tables;
  readonly #window: Window;
  readonly #leases: Leases;
  readonly #snapshots: Snapshots;
  readonly #forgotten: ReturnType<Window['due']>;
  readonly #windowStart: number;
  readonly #indexedRow: number;
  readonly #flush: boolean;
  readonly #nowMs: number;
  readonly #current = new Map<string, CurrentRow | undefined>();
  readonly #firstRows: number[] = [];
  readonly #obsolete: number[] = [];
  readonly #undo: (() => void)[] = [];
  readonly #changes: WatchEvent[][] | undefined;
  #events: WatchEvent[] = [];
  #revision: number;
  #nextRow: number;
  #dirty = false;

  constructor(parts: {
    tables: Tables;
    window: Window;
    leases: Leases;
    snapshots: Snapshots;
    nextRow: number;
    indexedRow: number;
    nowMs: number;
    collectEvents: boolean;
  }) {
    this.#tables = parts.tables;
    this.#window = parts.window;
    this.#leases = parts.leases;
    this.#snapshots = parts.snapshots;
    this.#nowMs = parts.nowMs;
    this.#revision = parts.window.revision;
    this.#nextRow = parts.nextRow;
    this.#changes = parts.collectEvents ? [] : undefined;
    this.#forgotten = parts.window.due(parts.nowMs);
    this.#windowStart = this.#forgotten?.start ?? parts.window.start;
    // What the index in the file lacks is made again from the window's rows after a crash: so they stay until it has them.
    const flush = parts.nextRow - parts.indexedRow >= flushRows || this.#windowStart > parts.indexedRow;
    this.#indexedRow = flush ? parts.nextRow : parts.indexedRow;
    this.#flush = flush;
  }

  /** The revision as of the transactions so far. */
  get revision(): number {
    return this.#revision;
  }

  /** False: there is nothing to commit. */
  get dirty(): boolean {
    return this.#dirty;
  }

  /** NotFound: a lease has run out. Then, and when a comparison fails, nothing was written. */
  transact(compares: readonly Compare[], operations: readonly Operation[]): TransactionResult {
    for (const { key, modRevision } of compares) {
      if ((this.#row(key)?.modRevision ?? 0) !== modRevision) return { succeeded: false, revision: this.#revision };
    }
    for (const operation of operations) {
      if (operation.type === 'put' && operation.lease !== undefined) this.#leases.require(operation.lease);
    }
    this.#inRevision(() => {
      for (const operation of operations) this.#apply(operation);
    });
    return { succeeded: true, revision: this.#revision };
  }

  grantLease(id: string, ttlMs: number): void {
    this.#dirty = true;
    this.#tables.putLease(this.#leases.set(id, ttlMs, this.#undo));
  }

  /** NotFound: it ran out. */
  keepLeaseAlive(id: string): void {
    this.grantLease(id, this.#leases.require(id).ttlMs);
  }

  /** NotFound: it ran out. */
  revokeLease(id: string): void {
    this.#leases.require(id);
    this.endLease(id);
  }

  /** Deletes the lease and its keys, in one revision. */
  endLease(id: string): void {
    this.#dirty = true;
    this.#leases.delete(id, this.#undo);
    this.#tables.deleteLease(id);
    this.#inRevision(() => {
      for (const key of this.#tables.keysOfLease(id)) this.#delete(key);
    });
  }

  /** The housekeeping that is due; comes before the transactions. */
  begin(): void {
    if (this.#flush) this.#tables.flushRecent(this.#indexedRow);
    for (const row of this.#forgotten?.rows ?? []) this.#tables.deleteHistory(row);
    if (this.#forgotten) this.#tables.setWindow(this.#forgotten);
    this.#dirty = this.#flush || this.#forgotten !== undefined;
  }

  /** Makes the batch known; returns the changes of each revision for the watchers, the next free row, and the first that the file's index lacks. */
  committed(): { changes: WatchEvent[][]; nextRow: number; indexedRow: number } {
    if (this.#forgotten) this.#window.forget(this.#forgotten);
    for (const row of this.#firstRows) this.#window.add(row, this.#nowMs);
    for (const row of this.#obsolete) this.#window.markObsolete(row);
    return { changes: this.#changes ?? [], nextRow: this.#nextRow, indexedRow: this.#indexedRow };
  }

  rolledBack(): void {
    for (const undo of this.#undo.reverse()) undo();
  }

  #inRevision(write: () => void): void {
    const firstRow = this.#nextRow;
    this.#events = [];
    this.#revision += 1;
    write();
    if (this.#nextRow === firstRow) {
      this.#revision -= 1;
      return;
    }
    this.#dirty = true;
    this.#firstRows.push(firstRow);
    this.#changes?.push(this.#events);
  }

  #apply(operation: Operation): void {
    if (operation.type === 'put') this.#put(operation.key, operation.value, operation.lease);
    else if (operation.type === 'delete') this.#delete(operation.key);
    else for (const key of this.#tables.keysWithPrefix(operation.prefix)) this.#delete(key);
  }

  #put(key: string, value: Uint8Array, lease: string | undefined): void {
    this.#snapshots.beforeChange(key);
    const old = this.#row(key);
    const row: CurrentRow = {
      seq: this.#nextRow++,
      createRevision: old?.createRevision ?? this.#revision,
      modRevision: this.#revision,
      version: (old?.version ?? 0) + 1,
      lease,
    };
    const entry = { key, createRevision: row.createRevision, modRevision: row.modRevision, version: row.version };
    const leased = lease === undefined ? entry : { ...entry, lease };
    this.#tables.insertHistory(row.seq, leased, value);
    this.#tables.setCurrent(key, row);
    this.#current.set(key, row);
    if (old) this.#supersede(old.seq);
    if (this.#changes) this.#events.push({ type: 'put', key, entry: { ...leased, value }, revision: this.#revision });
  }

  #delete(key: string): void {
    const old = this.#row(key);
    if (!old) return;
    this.#snapshots.beforeChange(key);
    const row = this.#nextRow++;
    const tombstone = { key, createRevision: old.createRevision, modRevision: this.#revision, version: 0 };
    this.#tables.insertHistory(row, tombstone, undefined);
    this.#tables.deleteCurrent(key);
    this.#current.set(key, undefined);
    this.#supersede(old.seq);
    this.#supersede(row);
    if (this.#changes) this.#events.push({ type: 'delete', key, revision: this.#revision });
  }

  /** No key points at the row any more: watches may still need it, if the window holds it. */
  #supersede(row: number): void {
    if (row < this.#windowStart) this.#tables.deleteHistory(row);
    else this.#obsolete.push(row);
  }

  #row(key: string): CurrentRow | undefined {
    if (this.#current.has(key)) return this.#current.get(key);
    const row = this.#tables.current(key);
    this.#current.set(key, row);
    return row;
  }
}
