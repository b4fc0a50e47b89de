import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, symlink, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, toFileError } from './errors.ts';

export interface DurableFileOptions {
  /** Permission bits; set on the open file, so the process's umask does not count. */
  mode: number;
  /** Absent: this process's user or group. */
  uid?: number;
  gid?: number;
}

const temporaryName = /^\..+\.([0-9a-z]+-[0-9a-z]+)-\d+\.evercert-tmp$/;
/** Tells this process's temporary files from those of one before it, even where the process number is the same (1 in every container). */
const processMark = `${process.pid.toString(36)}-${Math.floor(performance.timeOrigin).toString(36)}`;
let counter = 0;

/** A hidden name beside `path` that nobody else uses. Left behind by a crash, `sweepTemporaries` of the next process takes it away. */
export function temporaryPath(path: string): string {
  counter += 1;
  return join(dirname(path), `.${basename(path)}.${processMark}-${counter}.evercert-tmp`);
}

/**
 * Creates a file that must not exist yet, with its content, owner and mode durable. It is readable by its owner alone until owner and mode are set.
 * The folder's entry is not synced: see `syncDirectory`. Errors: DiskFull, FileSystem (also when the name is taken).
 */
export async function createFileDurable(path: string, data: string | Uint8Array, options: DurableFileOptions): Promise<void> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
    await file.writeFile(data);
    await setAttributes(file, options);
    await file.sync();
  } catch (error) {
    if (file !== undefined) await removeIfThere(path);
    throw toFileError(error, 'write', path);
  } finally {
    await file?.close();
  }
}

/** Sets owner and mode of an open file; only what differs is changed. */
export async function setAttributes(file: FileHandle, options: DurableFileOptions): Promise<void> {
  const present = await file.stat();
  const uid = options.uid ?? process.geteuid?.() ?? present.uid;
  const gid = options.gid ?? process.getegid?.() ?? present.gid;
  if (present.uid !== uid || present.gid !== gid) await file.chown(uid, gid);
  await file.chmod(options.mode);
}

/**
 * Replaces the file at `path` in one step: temporary file beside it, fsync, mode and owner, rename, fsync of the folder. A reader sees the old content or
 * the new, never a part; when it resolves, the new content survives a power cut. A symlink at `path` is replaced, not followed.
 * Errors: DiskFull, FileConflict (a folder is in the way), FileSystem.
 */
export async function writeFileDurable(path: string, data: string | Uint8Array, options: DurableFileOptions): Promise<void> {
  const temporary = temporaryPath(path);
  await createFileDurable(temporary, data, options);
  await renameDurable(temporary, path);
}

/**
 * Points the symlink at `path` to `target` in one step, durably. A file or another symlink there is replaced; a reader sees the old or the new.
 * Errors: DiskFull, FileConflict (a folder is in the way), FileSystem.
 */
export async function replaceSymlinkDurable(path: string, target: string): Promise<void> {
  await renameDurable(await draftSymlink(path, target), path);
}

/** Makes a symlink under a temporary name beside `path`, so that the later rename to `path` needs no space any more. Errors: DiskFull, FileSystem. */
export async function draftSymlink(path: string, target: string): Promise<string> {
  const temporary = temporaryPath(path);
  await symlink(target, temporary).catch((error: unknown) => {
    throw toFileError(error, 'link', path);
  });
  return temporary;
}

/** Renames a temporary file over `path`, durably; on failure the temporary file goes away. Errors: FileConflict (a folder is in the way), FileSystem. */
export async function renameDurable(temporary: string, path: string): Promise<void> {
  try {
    await rename(temporary, path);
  } catch (error) {
    await removeIfThere(temporary);
    throw toFileError(error, 'replace', path);
  }
  await syncDirectory(dirname(path));
}

/** Makes the entries of a folder (names made, renamed or removed in it) durable. Errors: DiskFull, FileSystem. */
export async function syncDirectory(path: string): Promise<void> {
  let folder: FileHandle | undefined;
  try {
    folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    await folder.sync();
  } catch (error) {
    throw toFileError(error, 'sync the folder', path);
  } finally {
    await folder?.close();
  }
}

/** Removes a file or symlink (never what it points to); nothing there is no error. */
export async function removeIfThere(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw toFileError(error, 'remove', path);
  }
}

/** Removes temporary files that an earlier process left in a folder; those of this one stay, they may be in use. Returns the paths that went. */
export async function sweepTemporaries(folder: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw toFileError(error, 'list', folder);
  }
  const swept: string[] = [];
  for (const name of names.filter((name) => temporaryName.test(name))) {
    const path = join(folder, name);
    if (temporaryName.exec(name)?.[1] === processMark) continue;
    if (await removeIfThere(path)) swept.push(path);
  }
  return swept;
}
