import { hash } from 'node:crypto';
import { basename, dirname, join, relative } from 'node:path';
import {
  createFileDurable,
  draftSymlink,
  removeIfThere,
  renameDurable,
  replaceSymlinkDurable,
  syncDirectory,
  toFileError,
} from '@evercert/shared/files';
import { compareFile } from './compare.ts';
import type { RenderedFile } from './outputs.ts';
import { makeFolder, type PathPolicy, versionsFolder } from './paths.ts';
import type { FileGroup, PlacedFile, Placement, PlacementContext } from './placement.ts';
import { step } from './points.ts';
import {
  ensureOwnFolder,
  freeName,
  linkText,
  listFolder,
  lookAt,
  type ReadFile,
  readRegular,
  removeIfEmpty,
  removeTree,
  syncIfThere,
} from './tree.ts';
import type { FileFault } from './types.ts';

/** Real path of the folder that holds one certificate's versions. */
export function versionsPath(paths: PathPolicy, home: string, name: string): string {
  return join(paths.real(home), versionsFolder, name);
}

/** A file's name inside a version; those of other folders carry a hash of theirs, so that two files of one name do not meet. */
function versionedName(home: string, path: string): string {
  return dirname(path) === home ? basename(path) : `${hash('sha256', path).slice(0, 8)}-${basename(path)}`;
}

/**
 * The symlink strategy, as Kubernetes' AtomicWriter does it (pkg/volume/util/atomic_writer.go): `HOME/.evercert/NAME/VERSION/` holds the files,
 * `HOME/.evercert/NAME/current` points to one version, and each declared path points through `current`. One rename of `current` switches them all.
 *
 * Paths that are not such symlinks yet are adopted first: what is readable there now, whatever it is, becomes a version of its own and `current` points to it;
 * then each path becomes a symlink. At each of those steps every path shows what it showed before, so that no mixture of old and new is ever seen.
 */
export class SymlinkPlacement implements Placement {
  readonly #group: FileGroup<PlacedFile>;
  readonly #context: PlacementContext;
  readonly #folder: string;
  /** Version that was in use at the beginning. */
  #before: string | undefined;
  #version: string | undefined;
  /** The next `current`, under a temporary name. */
  #draft: string | undefined;
  /** The folders were looked at and may be written to. */
  #entered = false;
  #linked: string[] = [];

  constructor(group: FileGroup<PlacedFile>, context: PlacementContext) {
    this.#group = group;
    this.#context = context;
    this.#folder = versionsPath(context.paths, group.home, context.name);
  }

  async prepare(): Promise<void> {
    const { files, home } = this.#group;
    const { paths, reuse } = this.#context;
    await paths.ensureParent(join(home, 'x'));
    for (const file of files) await paths.ensureParent(file.path);
    this.#entered = true;
    await ensureOwnFolder(dirname(this.#folder), 0o755);
    await ensureOwnFolder(this.#folder, 0o755);
    if (await notALink(join(this.#folder, 'current'))) await removeTree(join(this.#folder, 'current'));
    this.#before = await currentVersion(this.#folder);
    const intact =
      reuse && this.#before !== undefined && (await inspectVersion(home, this.#folder, this.#before, this.#group)).length === 0;
    this.#version = intact ? this.#before : await this.#build(this.#context.label, this.#contents());
    await this.#adopt(await brokenLinks(this.#context, this.#group));
    if ((await currentVersion(this.#folder)) !== this.#version)
      this.#draft = await draftSymlink(join(this.#folder, 'current'), this.#version as string);
  }

  async activate(): Promise<void> {
    const draft = this.#draft;
    if (draft !== undefined) await step('switch', () => renameDurable(draft, join(this.#folder, 'current')));
  }

  async rollback(): Promise<void> {
    if (!this.#entered) return;
    const now = await currentVersion(this.#folder);
    if (this.#before !== undefined && this.#before !== now) await this.#pointTo(this.#before);
    if (this.#before !== undefined) return this.finish();
    for (const path of this.#linked) await removeIfThere(this.#context.paths.real(path));
    await removeVersions(this.#folder);
  }

  async finish(): Promise<void> {
    await step('prune', () => pruneVersions(this.#folder));
  }

  async #adopt(broken: string[]): Promise<void> {
    if (broken.length === 0) return;
    const { files, home } = this.#group;
    const shown = new Map<string, ReadFile>();
    for (const { path } of files) {
      const file = await readShown(this.#context.paths, path);
      if (file !== undefined) shown.set(path, file);
    }
    if (broken.some((path) => shown.has(path))) {
      const captured = files.flatMap((file) => {
        const now = shown.get(file.path);
        // Never wider than it was, and never wider than it is to be.
        return now === undefined ? [] : [{ name: versionedName(home, file.path), ...now, mode: now.mode & file.mode }];
      });
      this.#before = await step('capture-folder', () => this.#build(`${this.#context.label}-before`, captured));
      const before = this.#before;
      await step('capture-switch', () => this.#pointTo(before));
    }
    const missing = this.#before === undefined;
    for (const path of broken) {
      const target = await linkTarget(this.#context.paths, this.#context.name, home, path);
      await step('link', () => replaceSymlinkDurable(this.#context.paths.real(path), target));
      if (missing) this.#linked.push(path);
    }
  }

  #contents(): VersionFile[] {
    const { files, home } = this.#group;
    return files.map(({ path, content, uid, gid, mode }) => ({ name: versionedName(home, path), content, uid, gid, mode }));
  }

  /** Writes a whole version; it is durable when this resolves. A failure leaves nothing of it. */
  async #build(label: string, files: VersionFile[]): Promise<string> {
    const version = await freeName(this.#folder, label);
    const folder = join(this.#folder, version);
    try {
      await makeFolder(folder);
      for (const file of files) await step('version-file', () => createFileDurable(join(folder, file.name), file.content, file));
      await step('version-folder', () => syncDirectory(folder));
    } catch (error) {
      await removeTree(folder);
      throw toFileError(error, 'write the version', folder);
    }
    return version;
  }

  #pointTo(version: string): Promise<void> {
    return replaceSymlinkDurable(join(this.#folder, 'current'), version);
  }
}

interface VersionFile {
  name: string;
  content: Buffer;
  uid: number;
  gid: number;
  mode: number;
}

/** What is wrong with the files of one group. Reads only. */
export async function inspectSymlinks(
  context: Pick<PlacementContext, 'name' | 'paths'>,
  group: FileGroup<RenderedFile>,
): Promise<FileFault[]> {
  const folder = versionsPath(context.paths, group.home, context.name);
  const declared = join(group.home, versionsFolder, context.name);
  const faults = [await folderFault(dirname(declared), dirname(folder)), await folderFault(declared, folder)].filter(
    (fault) => fault !== undefined,
  );
  const version = faults.length > 0 ? undefined : await currentVersion(folder);
  for (const file of group.files) {
    const fault = (await context.paths.inspectParent(file.path)) ?? (await linkFault(context, group.home, file.path));
    if (fault !== undefined) faults.push(fault);
    else if (version === undefined) faults.push({ path: file.path, reason: 'Missing', message: `${file.path} leads to no version` });
  }
  if (version !== undefined && !faults.some((fault) => fault.reason === 'ParentMissing'))
    faults.push(...(await inspectVersion(declared, folder, version, group)));
  return faults;
}

async function inspectVersion(declared: string, folder: string, version: string, group: FileGroup<RenderedFile>): Promise<FileFault[]> {
  const fault = await folderFault(join(declared, version), join(folder, version));
  if (fault?.reason === 'Missing' || fault?.reason === 'Foreign')
    return group.files.map(({ path }) => ({ path, reason: 'Missing', message: `${path} leads to a version that is gone` }));
  const faults = fault === undefined ? [] : [fault];
  for (const file of group.files)
    faults.push(...(await compareFile(file.path, join(folder, version, versionedName(group.home, file.path)), file)));
  return faults;
}

/** Folders of versions are real folders that everybody may enter: the files in them have their own modes. */
async function folderFault(declared: string, real: string): Promise<FileFault | undefined> {
  const found = await lookAt(real);
  if (found === undefined) return { path: declared, reason: 'Missing', message: `${declared} does not exist` };
  if (!found.isDirectory()) return { path: declared, reason: 'Foreign', message: `${declared} is not a folder any more` };
  if ((found.mode & 0o7777) === 0o755) return undefined;
  return {
    path: declared,
    reason: 'WrongMode',
    message: `${declared} has mode ${(found.mode & 0o7777).toString(8).padStart(4, '0')} instead of 0755`,
  };
}

async function linkFault(context: Pick<PlacementContext, 'name' | 'paths'>, home: string, path: string): Promise<FileFault | undefined> {
  const found = await lookAt(context.paths.real(path));
  if (found === undefined) return { path, reason: 'Missing', message: `${path} does not exist` };
  if (found.isDirectory()) return { path, reason: 'NotAFile', message: `${path} is a folder` };
  if (!found.isSymbolicLink())
    return { path, reason: found.isFile() ? 'Foreign' : 'NotAFile', message: `${path} was replaced by something that was not installed` };
  const target = await linkText(context.paths.real(path));
  if (target === (await linkTarget(context.paths, context.name, home, path))) return undefined;
  const outside = (await context.paths.insideTarget(path)) === undefined;
  return { path, reason: outside ? 'SymlinkOutside' : 'Foreign', message: `${path} is a symlink to ${target}, which was not made here` };
}

async function brokenLinks(context: PlacementContext, group: FileGroup<PlacedFile>): Promise<string[]> {
  const broken: string[] = [];
  for (const { path } of group.files) if ((await linkFault(context, group.home, path)) !== undefined) broken.push(path);
  return broken;
}

/** Text of a declared path's symlink: relative, so that it holds wherever the folders are mounted. */
async function linkTarget(paths: PathPolicy, name: string, home: string, path: string): Promise<string> {
  const file = versionedName(home, path);
  const folder = dirname(path);
  const up = folder === home ? '' : relative(await paths.realFolder(folder), await paths.realFolder(home));
  return join(up, versionsFolder, name, 'current', file);
}

/** True if the symlink at a declared path leads into the versions of this certificate. */
export async function isOwnLink(paths: PathPolicy, name: string, path: string): Promise<boolean> {
  const target = await linkText(paths.real(path));
  return target?.split('/').slice(-4, -1).join('/') === `${versionsFolder}/${name}/current`;
}

/** What a reader of the path gets now: a regular file, or the one behind a symlink that stays within the allowed folders. */
export async function readShown(paths: PathPolicy, path: string): Promise<ReadFile | undefined> {
  const found = await lookAt(paths.real(path));
  if (found === undefined || !found.isSymbolicLink()) return found === undefined ? undefined : readRegular(paths.real(path));
  const target = await paths.insideTarget(path);
  return target === undefined ? undefined : readRegular(target);
}

/** The version that `current` points to, if it is a plain name. */
async function currentVersion(folder: string): Promise<string | undefined> {
  const target = await linkText(join(folder, 'current'));
  return target === undefined || target.includes('/') || target.startsWith('.') ? undefined : target;
}

async function notALink(path: string): Promise<boolean> {
  const found = await lookAt(path);
  return found !== undefined && !found.isSymbolicLink();
}

async function isFolder(path: string): Promise<boolean> {
  return (await lookAt(path))?.isDirectory() === true;
}

/** Removes every version but the one in use, and temporary symlinks. Returns the paths that went. */
export async function pruneVersions(folder: string): Promise<string[]> {
  // A planted symlink in the place of the folder would lead the removal elsewhere.
  if (!(await isFolder(folder)) || !(await isFolder(dirname(folder)))) return [];
  const keep = await currentVersion(folder);
  const removed: string[] = [];
  for (const name of await listFolder(folder)) {
    if (name === 'current' || name === keep) continue;
    if (await removeTree(join(folder, name))) removed.push(join(folder, name));
  }
  return removed;
}

/** Takes away all versions of a certificate, and the folder above when nothing else is in it. */
export async function removeVersions(folder: string): Promise<void> {
  if ((await lookAt(dirname(folder)))?.isDirectory() !== true) return;
  if (await removeTree(folder)) await syncIfThere(dirname(folder));
  await removeIfEmpty(dirname(folder));
}
