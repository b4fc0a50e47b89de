import { EvercertError } from '../errors/index.ts';

/** The errno name of a failed system call (`ENOENT`…), also of one that `toFileError` has turned into an EvercertError; '' for anything else. */
export function errnoOf(error: unknown): string {
  if (error instanceof EvercertError) return error.cause === undefined ? '' : errnoOf(error.cause);
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

const advice: Record<string, string> = {
  EROFS: 'the file system is mounted read-only: check the disk for errors and mount it writable again',
  EACCES: 'permission was denied: check owner and mode of the folder and the rights of this process',
  EPERM: 'the operation is not permitted: check the rights of this process and immutable attributes (lsattr)',
  EIO: 'the disk answered with an input/output error: check its health',
  ENOENT: 'a folder on the way does not exist: check the path',
  ENOTDIR: 'a file is in the place of a folder on the way: check the path',
  EMFILE: 'this process has too many open files: raise its limit (LimitNOFILE)',
  ENAMETOOLONG: 'the name is too long for the file system: choose a shorter one',
};

/**
 * Turns a failed system call into an error that names the path, what was tried and what to do. DiskFull for ENOSPC and EDQUOT, FileConflict for a folder
 * in the place of a file, FileSystem for all others. An EvercertError passes through.
 */
export function toFileError(error: unknown, action: string, path: string): EvercertError {
  if (error instanceof EvercertError) return error;
  const code = errnoOf(error);
  const details = { cause: error, metadata: { path, errno: code } };
  if (code === 'ENOSPC')
    return new EvercertError('DiskFull', `cannot ${action} ${path}: the disk is full; free space or inodes on that file system`, details);
  if (code === 'EDQUOT')
    return new EvercertError('DiskFull', `cannot ${action} ${path}: the disk quota is used up; raise it or free space`, details);
  if (code === 'EISDIR')
    return new EvercertError('FileConflict', `cannot ${action} ${path}: a folder is in its place; move it away`, details);
  const hint = advice[code] ?? (error instanceof Error ? error.message : String(error));
  return new EvercertError('FileSystem', `cannot ${action} ${path}: ${hint}${code ? ` (${code})` : ''}`, details);
}
