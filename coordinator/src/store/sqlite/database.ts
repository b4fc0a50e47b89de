import { closeSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { EvercertError } from '@evercert/shared/errors';
import { isBusy, toStoreError } from './errors.ts';
import { catchUp, migrate } from './schema.ts';

export type OpenDatabase = (file: string) => DatabaseSync;

const inMemory = ':memory:';
/** Values have some kilobytes: larger pages than SQLite's 4 KiB save a third of a transaction's CPU. */
const pageBytes = 16 * 1024;
const cacheKibibytes = 32 * 1024;

/**
 * Opens the file for this process alone, checks it and brings it to the newest schema.
 * FailedPrecondition: another coordinator has it open, another program's or a newer file. DataLoss: damaged. StoreFailure, DiskFull: cannot be opened.
 */
export function openDatabase(file: string, open: OpenDatabase = (path) => new DatabaseSync(path, { timeout: 0 })): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    if (file !== inMemory) createPrivate(file);
    db = open(file);
    configure(db, file);
    migrate(db, file);
    check(db, file);
    catchUp(db);
    return db;
  } catch (error) {
    db?.close();
    if (isBusy(error)) {
      throw new EvercertError(
        'FailedPrecondition',
        `another coordinator uses this data folder: ${file} is locked; stop it, or use another folder`,
        {
          cause: error,
          metadata: { file },
        },
      );
    }
    throw toStoreError(error, 'open its file', file);
  }
}

/** SQLite makes files as the umask has it; the store is nobody else's to read. Its journal gets the same mode. */
function createPrivate(file: string): void {
  try {
    // Never opens an existing file: closing it would drop the locks that this process holds on it (POSIX locks belong to the process).
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function configure(db: DatabaseSync, file: string): void {
  // First of all: with the first access the lock is taken, held until the end, and the journal's index needs no shared memory file.
  db.exec('PRAGMA locking_mode = EXCLUSIVE');
  db.exec(
    `PRAGMA page_size = ${pageBytes}; PRAGMA cache_size = -${cacheKibibytes}; PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF`,
  );
  const mode = String(db.prepare('PRAGMA journal_mode = WAL').get()?.['journal_mode']);
  if (mode !== 'wal' && file !== inMemory) {
    throw new EvercertError(
      'StoreFailure',
      `the file system of ${file} does not take SQLite's write-ahead log (got ${mode}); use a local disk`,
    );
  }
}

function check(db: DatabaseSync, file: string): void {
  const answer = String(db.prepare('PRAGMA quick_check(1)').get()?.['quick_check']);
  if (answer === 'ok') return;
  throw new EvercertError('DataLoss', `the store's file ${file} is damaged (${answer}); restore a backup`, { metadata: { file } });
}
