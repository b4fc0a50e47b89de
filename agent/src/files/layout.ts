import { hash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { removeIfThere, sweepTemporaries, syncDirectory } from '@evercert/shared/files';
import type { DeclaredFile } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import { groupFiles, type PairStrategy, type PlacedFile } from './placement.ts';
import { isOwnLink, pruneVersions, removeVersions, versionsPath } from './symlinks.ts';
import { linkText, readRegular } from './tree.ts';

/** What has been put at declared paths, so that it can be taken away again. A path may be there twice while it changes. */
export interface LayoutRecord {
  schema: 1;
  /** Declared paths, with the SHA-256 of what was written where it is a regular file. */
  files: { path: string; sha256?: string }[];
  /** Declared folders that hold a folder of versions. */
  homes: string[];
  /** Dated files by the declared path that points to one of them, oldest first. */
  dated: { path: string; names: string[] }[];
}

export const emptyLayout: LayoutRecord = { schema: 1, files: [], homes: [], dated: [] };

/** The record of these files, once they are in place. */
export function layoutOf(files: readonly PlacedFile[], strategy: PairStrategy, paths: PathPolicy): LayoutRecord {
  const plain = files.filter((file) => !file.dated);
  return {
    schema: 1,
    files: plain.map(({ path, content }) => (strategy === 'symlink' ? { path } : { path, sha256: hash('sha256', content) })),
    homes: strategy === 'symlink' ? groupFiles(plain, paths).map((group) => group.home) : [],
    dated: files.filter((file) => file.dated).map(({ path }) => ({ path, names: [] })),
  };
}

/** Both records in one, for the time in which either may be what is on the disk. */
export function joinLayouts(before: LayoutRecord, after: LayoutRecord): LayoutRecord {
  const files = new Map([...before.files, ...after.files].map((file) => [JSON.stringify(file), file]));
  const dated = new Map([...after.dated, ...before.dated].map((entry) => [entry.path, entry]));
  return { schema: 1, files: [...files.values()], homes: [...new Set([...before.homes, ...after.homes])], dated: [...dated.values()] };
}

export function datedNamesOf(layout: LayoutRecord, path: string): string[] {
  return layout.dated.find((entry) => entry.path === path)?.names ?? [];
}

export function withDatedNames(layout: LayoutRecord, path: string, names: string[]): LayoutRecord {
  return { ...layout, dated: [...layout.dated.filter((entry) => entry.path !== path), { path, names }] };
}

/** Declared paths of a record that the files at hand do not declare any more. */
export function undeclaredPaths(layout: LayoutRecord, files: readonly DeclaredFile[]): string[] {
  const declared = new Set(files.map((file) => file.path));
  const recorded = new Set([...layout.files, ...layout.dated].map((entry) => entry.path));
  return [...recorded].filter((path) => !declared.has(path));
}

/**
 * Takes away what the record says was put at these paths, if it still is that: own symlinks, files with the recorded content, dated files. What somebody else
 * put there stays. Returns the declared paths that went.
 */
export async function takeAway(layout: LayoutRecord, name: string, wanted: readonly string[], paths: PathPolicy): Promise<string[]> {
  const gone: string[] = [];
  for (const path of wanted) {
    if ((await paths.inspectParent(path)) !== undefined) continue;
    const real = paths.real(path);
    const names = datedNamesOf(layout, path);
    const link = await linkText(real);
    const own = link === undefined ? await isRecorded(layout, path, real) : names.includes(link) || (await isOwnLink(paths, name, path));
    if (own && (await removeIfThere(real))) gone.push(path);
    for (const dated of names) await removeIfThere(join(dirname(real), dated));
    await syncDirectory(dirname(real));
  }
  return gone;
}

async function isRecorded(layout: LayoutRecord, path: string, real: string): Promise<boolean> {
  const content = (await readRegular(real))?.content;
  const digest = content === undefined ? undefined : hash('sha256', content);
  return layout.files.some((file) => file.path === path && file.sha256 !== undefined && file.sha256 === digest);
}

/** Removes the versions in folders that no group uses any more. */
export async function leaveHomes(homes: readonly string[], name: string, paths: PathPolicy): Promise<void> {
  for (const home of homes) {
    // Where a folder on the way is a symlink out, nothing below it is ours.
    if ((await paths.inspectParent(join(home, 'x'))) === undefined) await removeVersions(versionsPath(paths, home, name));
  }
}

/** Removes what a crash left beside the recorded files: temporary files and versions that are not in use. Returns the paths that went. */
export async function sweepLayout(layout: LayoutRecord, name: string, paths: PathPolicy): Promise<string[]> {
  const swept: string[] = [];
  for (const folder of new Set([...layout.files, ...layout.dated].map(({ path }) => dirname(path)))) {
    if ((await paths.inspectParent(join(folder, 'x'))) === undefined) swept.push(...(await sweepTemporaries(paths.real(folder))));
  }
  for (const home of layout.homes) {
    if ((await paths.inspectParent(join(home, 'x'))) === undefined) swept.push(...(await pruneVersions(versionsPath(paths, home, name))));
  }
  return swept;
}
