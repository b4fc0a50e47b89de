import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { compareKeys, prefixEnd } from '../prefix.ts';
import type { KeyValue, RangeOptions, WatchEvent } from '../types.ts';

/** A row of `current`. */
export interface CurrentRow {
  /** Its row in `history`. */
  seq: number;
  createRevision: number;
  modRevision: number;
  version: number;
  lease: string | undefined;
}

export interface LeaseRow {
  id: string;
  ttlMs: number;
  expiresAtMs: number;
}

type Column = string | number | Uint8Array | null;
/** Above every text in SQLite's order, where a blob sorts after all texts. */
const aboveAllText = new Uint8Array([0]);
const columns = 'c.key, h.value, c.create_revision, c.mod_revision, c.version, c.lease';
// CROSS JOIN keeps SQLite's planner to this order.
const joined = 'current c CROSS JOIN history h ON h.seq = c.seq';
const rangeWhere = 'c.key >= ? AND c.key < ?';

/** Every SQL statement of the store, prepared once. Knows nothing of revisions' meaning or of commits. */
export class Tables {
  readonly #db: DatabaseSync;
  readonly #current: StatementSync;
  readonly #entry: StatementSync;
  readonly #ascending: StatementSync;
  readonly #descending: StatementSync;
  readonly #keysInRange: StatementSync;
  readonly #keysOfLease: StatementSync;
  readonly #insertHistory: StatementSync;
  readonly #deleteHistory: StatementSync;
  readonly #upsertCurrent: StatementSync;
  readonly #deleteCurrent: StatementSync;
  readonly #changes: StatementSync;
  readonly #putLease: StatementSync;
  readonly #deleteLease: StatementSync;
  readonly #setState: StatementSync;

  constructor(db: DatabaseSync) {
    this.#db = db;
    const prepare = (sql: string): StatementSync => {
      const statement = db.prepare(sql);
      statement.setReturnArrays(true);
      return statement;
    };
    this.#current = prepare('SELECT seq, create_revision, mod_revision, version, lease FROM current WHERE key = ?');
    this.#entry = prepare(`SELECT ${columns} FROM ${joined} WHERE c.key = ?`);
    this.#ascending = prepare(`SELECT ${columns} FROM ${joined} WHERE ${rangeWhere} ORDER BY c.key LIMIT ?`);
    this.#descending = prepare(`SELECT ${columns} FROM ${joined} WHERE ${rangeWhere} ORDER BY c.key DESC LIMIT ?`);
    this.#keysInRange = prepare(`SELECT c.key FROM current c WHERE ${rangeWhere} ORDER BY c.key`);
    this.#keysOfLease = prepare('SELECT key FROM current WHERE lease = ? ORDER BY key');
    this.#insertHistory = prepare('INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#deleteHistory = prepare('DELETE FROM history WHERE seq = ?');
    this.#upsertCurrent = prepare(
      `INSERT INTO current VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET seq = excluded.seq,
       create_revision = excluded.create_revision, mod_revision = excluded.mod_revision, version = excluded.version, lease = excluded.lease`,
    );
    this.#deleteCurrent = prepare('DELETE FROM current WHERE key = ?');
    this.#changes = prepare(
      `SELECT revision, key, value, create_revision, version, lease FROM history
       WHERE seq >= ? AND seq < ? AND key >= ? AND key < ? ORDER BY seq`,
    );
    this.#putLease = prepare('INSERT OR REPLACE INTO leases VALUES (?, ?, ?)');
    this.#deleteLease = prepare('DELETE FROM leases WHERE id = ?');
    this.#setState = prepare('UPDATE state SET value = ? WHERE name = ?');
  }

  current(key: string): CurrentRow | undefined {
    const row = get(this.#current, key);
    if (row === undefined) return undefined;
    return {
      seq: row[0] as number,
      createRevision: row[1] as number,
      modRevision: row[2] as number,
      version: row[3] as number,
      lease: (row[4] as string | null) ?? undefined,
    };
  }

  entry(key: string): KeyValue | undefined {
    const row = get(this.#entry, key);
    return row && toEntry(row);
  }

  /** At most `limit` entries; -1: all. */
  range(options: RangeOptions, limit: number): KeyValue[] {
    const { prefix, after, reverse } = options;
    let low = prefix;
    let high = prefixEnd(prefix);
    if (after !== undefined && !reverse && compareKeys(after, prefix) >= 0) low = successor(after);
    if (after !== undefined && reverse && (high === undefined || compareKeys(after, high) < 0)) high = after;
    const statement = reverse ? this.#descending : this.#ascending;
    return all(statement, low, high ?? aboveAllText, limit).map(toEntry);
  }

  keysWithPrefix(prefix: string): string[] {
    return all(this.#keysInRange, prefix, prefixEnd(prefix) ?? aboveAllText).map((row) => row[0] as string);
  }

  keysOfLease(lease: string): string[] {
    return all(this.#keysOfLease, lease).map((row) => row[0] as string);
  }

  /** A version of a key; without a value: its deletion. */
  insertHistory(seq: number, entry: Omit<KeyValue, 'value'>, value: Uint8Array | undefined): void {
    const { key, modRevision, createRevision, version, lease } = entry;
    // `get` on a statement without rows makes no result object, unlike `run`.
    this.#insertHistory.get(seq, modRevision, key, createRevision, version, lease ?? null, value ?? null);
  }

  deleteHistory(seq: number): void {
    this.#deleteHistory.get(seq);
  }

  setCurrent(key: string, row: CurrentRow): void {
    this.#upsertCurrent.get(key, row.seq, row.createRevision, row.modRevision, row.version, row.lease ?? null);
  }

  deleteCurrent(key: string): void {
    this.#deleteCurrent.get(key);
  }

  /** Events of the rows from one up to another (exclusive) whose keys have the prefix, grouped by revision. */
  changes(fromRow: number, toRow: number, prefix: string): WatchEvent[][] {
    const groups: WatchEvent[][] = [];
    for (const row of all(this.#changes, fromRow, toRow, prefix, prefixEnd(prefix) ?? aboveAllText)) {
      const event = toEvent(row);
      const last = groups.at(-1);
      if (last?.[0]?.revision === event.revision) last.push(event);
      else groups.push([event]);
    }
    return groups;
  }

  putLease({ id, ttlMs, expiresAtMs }: LeaseRow): void {
    this.#putLease.get(id, ttlMs, expiresAtMs);
  }

  deleteLease(id: string): void {
    this.#deleteLease.get(id);
  }

  leases(): LeaseRow[] {
    const rows = this.#db.prepare('SELECT id, ttl_ms, expires_at_ms FROM leases').all();
    return rows.map((row) => ({ id: String(row['id']), ttlMs: Number(row['ttl_ms']), expiresAtMs: Number(row['expires_at_ms']) }));
  }

  window(): { compacted: number; start: number } {
    const rows = this.#db.prepare('SELECT name, value FROM state').all();
    const value = (name: string): number => Number(rows.find((row) => row['name'] === name)?.['value']);
    return { compacted: value('compacted_revision'), start: value('window_start') };
  }

  setWindow(window: { compacted: number; start: number }): void {
    this.#setState.get(window.compacted, 'compacted_revision');
    this.#setState.get(window.start, 'window_start');
  }

  /** The rows from one on: their revision, and whether no key points at them. */
  *rowsFrom(start: number): Generator<{ seq: number; revision: number; obsolete: boolean }> {
    const statement = this.#db.prepare(
      `SELECT h.seq AS seq, h.revision AS revision, c.seq IS NULL AS obsolete FROM history h
       LEFT JOIN current c ON c.key = h.key AND c.seq = h.seq WHERE h.seq >= ? ORDER BY h.seq`,
    );
    for (const row of statement.iterate(start)) {
      yield { seq: Number(row['seq']), revision: Number(row['revision']), obsolete: row['obsolete'] === 1 };
    }
  }
}

/** The least key above this one; keys hold no NUL themselves. */
function successor(key: string): string {
  return `${key}\0`;
}

function get(statement: StatementSync, ...parameters: Column[]): Column[] | undefined {
  return statement.get(...parameters) as Column[] | undefined;
}

function all(statement: StatementSync, ...parameters: Column[]): Column[][] {
  return statement.all(...parameters) as unknown as Column[][];
}

/** SQLite's binding gives back NULL for an empty value. */
function toValue(column: Column | undefined): Uint8Array {
  return column instanceof Uint8Array ? column : new Uint8Array(0);
}

function toEntry(row: Column[]): KeyValue {
  return {
    key: row[0] as string,
    value: toValue(row[1]),
    createRevision: row[2] as number,
    modRevision: row[3] as number,
    version: row[4] as number,
    ...(typeof row[5] === 'string' && { lease: row[5] }),
  };
}

function toEvent(row: Column[]): WatchEvent {
  const [revision, key, , createRevision, version] = row as [number, string, Column, number, number];
  if (version === 0) return { type: 'delete', key, revision };
  const entry = toEntry([key, row[2] ?? null, createRevision, revision, version, row[5] ?? null]);
  return { type: 'put', key, entry, revision };
}
