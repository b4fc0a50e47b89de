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
const metadata = 'seq, create_revision, mod_revision, version, lease';
const entryColumns = 'c.key, (SELECT h.value FROM history h WHERE h.seq = c.seq), c.create_revision, c.mod_revision, c.version, c.lease';
// `recent` holds what came after `main`, deletions too (as version 0): see the schema.
const notRecent = 'NOT EXISTS (SELECT 1 FROM recent.current r WHERE r.key = c.key)';
const rangeWhere = 'c.key >= ?1 AND c.key < ?2';
const inBoth = (select: string, where: string): string =>
  `${select} FROM recent.current c WHERE ${where} AND c.version > 0 UNION ALL ${select} FROM main.current c WHERE ${where} AND ${notRecent}`;

/** Every SQL statement of the store, prepared once. Knows nothing of revisions' meaning or of commits. */
export class Tables {
  readonly #db: DatabaseSync;
  readonly #recent: StatementSync;
  readonly #indexed: StatementSync;
  readonly #value: StatementSync;
  readonly #ascending: StatementSync;
  readonly #descending: StatementSync;
  readonly #keysInRange: StatementSync;
  readonly #keysOfLease: StatementSync;
  readonly #insertHistory: StatementSync;
  readonly #deleteHistory: StatementSync;
  readonly #setRecent: StatementSync;
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
    this.#recent = prepare(`SELECT ${metadata} FROM recent.current WHERE key = ?`);
    this.#indexed = prepare(`SELECT ${metadata} FROM main.current WHERE key = ?`);
    this.#value = prepare('SELECT value FROM history WHERE seq = ?');
    this.#ascending = prepare(`${inBoth(`SELECT ${entryColumns}`, rangeWhere)} ORDER BY 1 LIMIT ?3`);
    this.#descending = prepare(`${inBoth(`SELECT ${entryColumns}`, rangeWhere)} ORDER BY 1 DESC LIMIT ?3`);
    this.#keysInRange = prepare(`${inBoth('SELECT c.key', rangeWhere)} ORDER BY 1`);
    this.#keysOfLease = prepare(`${inBoth('SELECT c.key', 'c.lease = ?1')} ORDER BY 1`);
    this.#insertHistory = prepare('INSERT INTO history VALUES (?, ?, ?, ?, ?, ?, ?)');
    this.#deleteHistory = prepare('DELETE FROM history WHERE seq = ?');
    this.#setRecent = prepare('INSERT OR REPLACE INTO recent.current VALUES (?, ?, ?, ?, ?, ?)');
    this.#changes = prepare(
      `SELECT revision, key, value, create_revision, version, lease FROM history
       WHERE seq >= ? AND seq < ? AND key >= ? AND key < ? ORDER BY seq`,
    );
    this.#putLease = prepare('INSERT OR REPLACE INTO leases VALUES (?, ?, ?)');
    this.#deleteLease = prepare('DELETE FROM leases WHERE id = ?');
    this.#setState = prepare('UPDATE state SET value = ? WHERE name = ?');
  }

  current(key: string): CurrentRow | undefined {
    const row = get(this.#recent, key) ?? get(this.#indexed, key);
    if (row === undefined || row[3] === 0) return undefined;
    return {
      seq: row[0] as number,
      createRevision: row[1] as number,
      modRevision: row[2] as number,
      version: row[3] as number,
      lease: (row[4] as string | null) ?? undefined,
    };
  }

  entry(key: string): KeyValue | undefined {
    const row = this.current(key);
    if (row === undefined) return undefined;
    const value = get(this.#value, row.seq)?.[0] ?? null;
    return toEntry([key, value, row.createRevision, row.modRevision, row.version, row.lease ?? null]);
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
    this.#setRecent.get(key, row.seq, row.createRevision, row.modRevision, row.version, row.lease ?? null);
  }

  deleteCurrent(key: string): void {
    this.#setRecent.get(key, 0, 0, 0, 0, null);
  }

  /** Moves everything from memory into the file's index, which then reflects all rows before `nextRow`. */
  flushRecent(nextRow: number): void {
    this.#db.exec(`INSERT OR REPLACE INTO main.current SELECT * FROM recent.current WHERE version > 0 ORDER BY key;
      DELETE FROM main.current WHERE key IN (SELECT key FROM recent.current WHERE version = 0);
      DELETE FROM recent.current`);
    this.#setState.get(nextRow, 'indexed_row');
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
       LEFT JOIN main.current c ON c.key = h.key AND c.seq = h.seq WHERE h.seq >= ? ORDER BY h.seq`,
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
