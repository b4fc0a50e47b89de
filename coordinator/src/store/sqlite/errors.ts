import { EvercertError } from '@evercert/shared/errors';

/** Primary result codes, https://www.sqlite.org/rescode.html. */
const busy = 5;
const ioError = 10;
const corrupt = 11;
const full = 13;
const notADatabase = 26;
/** Extended codes of a failed fsync, of a file and of its folder. */
const fsyncFailed = [1034, 1290];

interface SqliteError extends Error {
  errcode: number;
}

function isSqliteError(error: unknown): error is SqliteError {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number';
}

/** True after a failed fsync: the kernel may have dropped what was written, so nothing that is in memory can be trusted any more. */
export function isSyncFailure(error: unknown): boolean {
  return isSqliteError(error) && fsyncFailed.includes(error.errcode);
}

/** True when another process holds the lock on the file. */
export function isBusy(error: unknown): boolean {
  return isSqliteError(error) && (error.errcode & 0xff) === busy;
}

/** DiskFull, DataLoss (the file is damaged) or StoreFailure; an EvercertError stays as it is. `doing` reads as in "cannot commit". */
export function toStoreError(error: unknown, doing: string, file: string): EvercertError {
  if (error instanceof EvercertError) return error;
  const details = { cause: error, metadata: { file } };
  const primary = isSqliteError(error) ? error.errcode & 0xff : undefined;
  if (primary === full) {
    return new EvercertError(
      'DiskFull',
      `the store cannot ${doing}: no space is left on the disk of ${file}; nothing was written, free some space`,
      details,
    );
  }
  if (primary === corrupt || primary === notADatabase) {
    return new EvercertError(
      'DataLoss',
      `the store's file ${file} is damaged or no SQLite database; stop the coordinator and restore a backup`,
      details,
    );
  }
  const text = error instanceof Error ? error.message : String(error);
  const hint = primary === ioError ? 'look at the kernel log and the disk' : 'see the cause';
  return new EvercertError('StoreFailure', `the store cannot ${doing}: ${text} (${file}); ${hint}`, details);
}
