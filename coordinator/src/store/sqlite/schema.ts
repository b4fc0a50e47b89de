import type { DatabaseSync } from 'node:sqlite';
import { EvercertError } from '@evercert/shared/errors';

/** Marks the file as Evercert's (`PRAGMA application_id`): "EvCt". */
const applicationId = 0x45764374;

/**
 * The schema's history; entry N leads from version N to N + 1. Entries are never changed once released, only added.
 *
 * As in etcd, a value is written once, into `history`, and `current` points at the newest one of each key. A deletion is a row of version 0.
 * Rows that nothing points at serve watches alone, and go when the window of remembered revisions has passed them.
 *
 * `current` lags behind: it reflects the rows before state `indexed_row`. What came later is in `recent.current`, in memory, and is moved over in bulk, since keys are
 * scattered and to rewrite a page of the index for each costs more than all the rest of a transaction. After a restart it is made again from `history`.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE history (
     seq INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key TEXT NOT NULL, create_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT, value BLOB
   ) STRICT;
   CREATE TABLE current (
     key TEXT PRIMARY KEY, seq INTEGER NOT NULL, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX current_by_lease ON current (lease) WHERE lease IS NOT NULL;
   CREATE TABLE leases (id TEXT PRIMARY KEY, ttl_ms INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
   INSERT INTO state VALUES ('compacted_revision', 0), ('window_start', 1), ('indexed_row', 1);`,
];

const recentSchema = `
  ATTACH ':memory:' AS recent;
  CREATE TABLE recent.current (
    key TEXT PRIMARY KEY, seq INTEGER NOT NULL, create_revision INTEGER NOT NULL, mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX recent.current_by_lease ON current (lease) WHERE lease IS NOT NULL;`;

/** Moves what `current` lacks over from `history`, and makes the empty `recent.current`. */
export function catchUp(db: DatabaseSync): void {
  const missing = `history WHERE seq >= (SELECT value FROM state WHERE name = 'indexed_row')`;
  db.exec(`BEGIN IMMEDIATE;
    INSERT OR REPLACE INTO current SELECT key, seq, create_revision, revision, version, lease FROM ${missing} ORDER BY seq;
    DELETE FROM current WHERE version = 0 AND key IN (SELECT key FROM ${missing});
    UPDATE state SET value = (SELECT coalesce(max(seq) + 1, 1) FROM history) WHERE name = 'indexed_row';
    COMMIT;
    ${recentSchema}`);
}

/**
 * Brings the file to the newest schema, each step in a transaction of its own. Returns the version that it had; 0: it was empty.
 * FailedPrecondition: the file is another program's, or a newer Evercert's.
 */
export function migrate(db: DatabaseSync, file: string, steps: readonly string[] = migrations): number {
  const found = pragma(db, 'user_version');
  const tables = Number(Object.values(db.prepare('SELECT count(*) FROM sqlite_schema').get() ?? {})[0]);
  if (pragma(db, 'application_id') !== applicationId && (found !== 0 || tables !== 0)) {
    throw new EvercertError('FailedPrecondition', `${file} is the database of another program; expected a store of Evercert or no file`, {
      metadata: { file },
    });
  }
  if (found > steps.length) {
    throw new EvercertError(
      'FailedPrecondition',
      `${file} was written by a newer Evercert (schema ${found}, this one knows up to ${steps.length}); install that version or restore an older backup`,
      { metadata: { file } },
    );
  }
  for (let version = found; version < steps.length; version++) {
    db.exec(`BEGIN IMMEDIATE; ${steps[version]}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${version + 1}; COMMIT`);
  }
  return found;
}

function pragma(db: DatabaseSync, name: string): number {
  return Number(db.prepare(`PRAGMA ${name}`).get()?.[name]);
}
