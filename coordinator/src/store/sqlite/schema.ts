import type { DatabaseSync } from 'node:sqlite';
import { EvercertError } from '@evercert/shared/errors';

/** Marks the file as Evercert's (`PRAGMA application_id`): "EvCt". */
const applicationId = 0x45764374;

/**
 * The schema's history; entry N leads from version N to N + 1. Entries are never changed once released, only added.
 *
 * As in etcd, a value is written once, into `history`, and `current` points at the newest one of each key. A deletion is a row of version 0.
 * Rows that `current` does not point at serve watches alone, and go when the window of remembered revisions has passed them.
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
   INSERT INTO state VALUES ('compacted_revision', 0), ('window_start', 1);`,
];

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
