import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { errnoOf, toFileError } from '@evercert/shared/files';
import { versionsFolder } from './paths.ts';
import { linkText } from './tree.ts';

/** One folder to watch, and which entries of it concern which paths. */
export class WatchedFolder {
  readonly real: string;
  readonly #byName = new Map<string, Set<string>>();

  constructor(real: string) {
    this.real = real;
  }

  concerns(name: string, path: string): void {
    this.#byName.set(name, (this.#byName.get(name) ?? new Set()).add(path));
  }

  pathsOf(name: string): ReadonlySet<string> | undefined {
    return this.#byName.get(name);
  }

  all(): ReadonlySet<string> {
    return new Set([...this.#byName.values()].flatMap((paths) => [...paths]));
  }
}

/**
 * The folders to watch for these paths as the disk is now, by a key that changes when a folder is deleted and made again: for each path its folder, the one
 * above (a folder that is moved away says nothing itself), and the folders of the version that a symlink leads to. In place of a missing folder stands its
 * nearest existing ancestor.
 */
export async function watchedFolders(paths: readonly string[]): Promise<Map<string, WatchedFolder>> {
  const folders = new Map<string, WatchedFolder>();
  const concern = async (folder: string, name: string, path: string): Promise<void> => {
    const found = await identify(folder);
    if (found === undefined) {
      if (folder !== dirname(folder)) await concern(dirname(folder), basename(folder), path);
      return;
    }
    const entry = folders.get(found.key) ?? new WatchedFolder(found.real);
    folders.set(found.key, entry);
    entry.concerns(name, path);
  };
  for (const path of paths) {
    const folder = dirname(path);
    await concern(folder, basename(path), path);
    if (folder !== dirname(folder)) await concern(dirname(folder), basename(folder), path);
    for (const [inner, name] of await versionEntries(path)) await concern(inner, name, path);
  }
  return folders;
}

/** Folders and entries on the way of a symlink through `.evercert/NAME/current/FILE`, or to a dated file beside it. */
async function versionEntries(path: string): Promise<[folder: string, name: string][]> {
  const target = await linkText(path);
  if (target === undefined) return [];
  if (!target.includes('/')) return [[dirname(path), target]];
  const [file, current, name, root] = target.split('/').reverse();
  if (file === undefined || current !== 'current' || name === undefined || root !== versionsFolder) return [];
  const home = resolve(dirname(path), dirname(dirname(dirname(dirname(target)))));
  const versions = join(home, versionsFolder, name);
  const version = await linkText(join(versions, current));
  const entries: [string, string][] = [
    [home, versionsFolder],
    [join(home, versionsFolder), name],
    [versions, current],
  ];
  return version === undefined || version.includes('/') ? entries : [...entries, [versions, version], [join(versions, version), file]];
}

async function identify(folder: string): Promise<{ key: string; real: string } | undefined> {
  try {
    const real = await realpath(folder);
    const found = await stat(real);
    return found.isDirectory() ? { key: `${real}\0${found.dev}:${found.ino}`, real } : undefined;
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES'].includes(errnoOf(error))) return undefined;
    throw toFileError(error, 'look at', folder);
  }
}
