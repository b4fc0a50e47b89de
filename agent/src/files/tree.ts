import { constants, type Stats } from 'node:fs';
import { chmod, type FileHandle, lstat, open, readdir, readlink, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, syncDirectory, toFileError } from '@evercert/shared/files';
import { madeMeanwhile, makeFolder } from './paths.ts';

/** Larger files are none of ours. */
const maxFileBytes = 1024 * 1024;

/** What `lstat` says, or undefined when nothing is there. */
export async function lookAt(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw toFileError(error, 'look at', path);
  }
}

export interface ReadFile {
  content: Buffer;
  uid: number;
  gid: number;
  mode: number;
}

/** Reads a regular file with its attributes; undefined when nothing, a symlink, something else or more than 1 MiB is there. Errors: FileSystem. */
export async function readRegular(path: string): Promise<ReadFile | undefined> {
  let file: FileHandle | undefined;
  try {
    // O_NONBLOCK: opening a FIFO must not wait for a writer.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile() || stats.size > maxFileBytes) return undefined;
    return { content: await file.readFile(), uid: stats.uid, gid: stats.gid, mode: stats.mode & 0o7777 };
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errnoOf(error))) return undefined;
    throw toFileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}

export async function readBounded(path: string): Promise<Buffer | undefined> {
  return (await readRegular(path))?.content;
}

/**
 * Reads a small file that somebody else keeps, such as a password's or a pid file, through symlinks. What is no regular file (a device without an end, a FIFO without a
 * writer) or larger is not read. Errors: FailedPrecondition, FileSystem.
 */
export async function readSmallFile(path: string, maxBytes: number): Promise<Buffer> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await file.stat();
    if (!stats.isFile() || stats.size > maxBytes)
      throw new EvercertError('FailedPrecondition', `${path} is no regular file of at most ${maxBytes} bytes`, { metadata: { path } });
    return await file.readFile();
  } catch (error) {
    throw error instanceof EvercertError ? error : toFileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}

/** Text of a symlink; undefined for anything else. */
export async function linkText(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EINVAL'].includes(errnoOf(error))) return undefined;
    throw toFileError(error, 'read the symlink', path);
  }
}

/** Entries of a folder in order; none when it is not there. */
export async function listFolder(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw toFileError(error, 'list', path);
  }
}

/** Removes whatever is at `path`, folders with all that is in them, never what a symlink points to. Returns whether anything was there. */
export async function removeTree(path: string): Promise<boolean> {
  if ((await lookAt(path)) === undefined) return false;
  await rm(path, { recursive: true, force: true }).catch((error: unknown) => {
    throw toFileError(error, 'remove', path);
  });
  return true;
}

/** Removes a folder that has nothing in it; another certificate may be putting something there right now. */
export async function removeIfEmpty(path: string): Promise<void> {
  await rmdir(path).catch((error: unknown) => {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].includes(errnoOf(error))) throw toFileError(error, 'remove', path);
  });
}

/** Makes a folder's entries durable, unless another certificate's removal has just taken the empty folder away. */
export async function syncIfThere(path: string): Promise<void> {
  await syncDirectory(path).catch((error: unknown) => {
    if (!(error instanceof EvercertError && error.metadata['errno'] === 'ENOENT')) throw error;
  });
}

/** Makes sure that a real folder is at `path`; a file or symlink in its place, which only somebody else can have put there, goes. */
export async function ensureOwnFolder(path: string, mode: number): Promise<void> {
  const found = await lookAt(path);
  if (found?.isDirectory()) {
    if ((found.mode & 0o7777) === mode) return;
    await chmod(path, mode).catch((error: unknown) => {
      throw toFileError(error, 'set the mode of', path);
    });
    return;
  }
  if (found !== undefined) await removeTree(path);
  await makeFolder(path, mode).catch(async (error: unknown) => {
    if (!(await madeMeanwhile(error, path))) throw error;
  });
}

export function ensurePrivateFolder(path: string): Promise<void> {
  return ensureOwnFolder(path, 0o700);
}

/** `label`, or `label-2`, `label-3`… whichever is not in the folder yet. */
export async function freeName(folder: string, label: string): Promise<string> {
  const taken = new Set(await listFolder(folder));
  for (let i = 1; i <= 1000; i++) {
    const name = i === 1 ? label : `${label}-${i}`;
    if (!taken.has(name)) return name;
  }
  throw new EvercertError('FileConflict', `${folder} holds a thousand versions named ${label}; clear it`, { metadata: { path: folder } });
}

/** Sets 0700 on folders and 0600 on files below `path` where they differ. Returns whether any did. */
export async function tightenTree(path: string): Promise<boolean> {
  const found = await lookAt(path);
  if (found === undefined || found.isSymbolicLink()) return false;
  const wanted = found.isDirectory() ? 0o700 : 0o600;
  let changed = (found.mode & 0o7777) !== wanted;
  if (changed) {
    await chmod(path, wanted).catch((error: unknown) => {
      throw toFileError(error, 'set the mode of', path);
    });
  }
  if (found.isDirectory()) for (const name of await listFolder(path)) changed = (await tightenTree(join(path, name))) || changed;
  return changed;
}
