import { chmod, lstat, mkdir, realpath, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, syncDirectory, toFileError } from '@evercert/shared/files';
import type { FileFault } from './types.ts';

/** The folder beside the declared files that holds their versions; no declared path may lie in it. */
export const versionsFolder = '.evercert';

const nameRule = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Leaves room for the affixes of temporary files within the usual 255 bytes. */
const maxBaseNameBytes = 200;

/** The name of what is declared becomes that of a folder or file, so it must be an RFC 1123 label. InvalidArgument otherwise. */
export function assertName(name: string): void {
  if (isName(name)) return;
  throw new EvercertError(
    'InvalidArgument',
    `${JSON.stringify(name.slice(0, 80))} cannot be the name of a certificate, bundle, key pair or list: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit`,
  );
}

export function isName(name: string): boolean {
  return nameRule.test(name);
}

/** The file that a declared path stands for on this machine: declared paths begin at `rootDir`. */
export function underRoot(rootDir: string, path: string): string {
  return join(rootDir, path);
}

export interface PathPolicyOptions {
  /** `/`, or a folder that stands for it. */
  rootDir: string;
  /** Folders, as declared (before rootDir), in which files may be. */
  allowedPaths: readonly string[];
}

/** Decides where files may be. Texts are checked first, then the real folders, so that a symlinked folder cannot lead out. */
export class PathPolicy {
  readonly #rootDir: string;
  readonly #allowed: readonly string[];

  constructor(options: PathPolicyOptions) {
    this.#rootDir = options.rootDir;
    this.#allowed = options.allowedPaths.map((path) => normalize(path).replace(/\/+$/, '') || '/');
  }

  real(path: string): string {
    return underRoot(this.#rootDir, path);
  }

  /** The real folder behind a declared one; its own text when it does not exist. */
  async realFolder(folder: string): Promise<string> {
    try {
      return await realpath(this.real(folder));
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return this.real(folder);
      throw toFileError(error, 'look at', folder);
    }
  }

  /** Checks a declared path's text. PathNotAllowed says what is wrong with it. */
  assertAllowed(path: string): void {
    const refuse = (why: string): never => {
      const allowed = this.#allowed.join(', ') || 'none';
      throw new EvercertError('PathNotAllowed', `the path ${JSON.stringify(path)} ${why}; files may be in: ${allowed}`, {
        metadata: { path },
      });
    };
    if (!isAbsolute(path) || path.includes('\0')) refuse('is not absolute');
    if (normalize(path) !== path || path.endsWith('/')) refuse('is not plain (no "..", ".", "//" or "/" at its end)');
    if (path.split(sep).includes(versionsFolder)) refuse(`lies in a folder named ${versionsFolder}, which is kept for versions`);
    if (Buffer.byteLength(path.slice(path.lastIndexOf('/') + 1)) > maxBaseNameBytes)
      refuse(`has a name of more than ${maxBaseNameBytes} bytes`);
    if (this.#around(path).length === 0) refuse('is outside the allowed folders');
  }

  /** True when one allowed folder holds both paths. */
  together(a: string, b: string): boolean {
    return this.#around(a).some((folder) => isBelow(b, folder));
  }

  /** What is wrong with the folder of a declared path, without changing anything. */
  async inspectParent(path: string): Promise<FileFault | undefined> {
    const folder = dirname(path);
    try {
      const real = await realpath(this.real(folder));
      if (!(await lstat(real)).isDirectory()) return { path, reason: 'ParentMissing', message: `${folder} is not a folder` };
      if (await this.#inside(real)) return undefined;
      return { path, reason: 'SymlinkOutside', message: `${folder} leads out of the allowed folders` };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return { path, reason: 'ParentMissing', message: `the folder ${folder} does not exist` };
      if (errnoOf(error) === 'ENOTDIR') return { path, reason: 'ParentMissing', message: `a file is in the place of the folder ${folder}` };
      return { path, reason: 'Unreadable', message: toFileError(error, 'look at', folder).message };
    }
  }

  /**
   * Makes the folder of a declared path (mode 0755) where it is missing, and returns its real path.
   * Errors: PathNotAllowed (it leads out of the allowed folders), FileConflict (a file is in its place), DiskFull, FileSystem.
   */
  async ensureParent(path: string): Promise<string> {
    const folder = dirname(path);
    const [allowed] = this.#around(path);
    if (allowed === undefined) throw new EvercertError('PathNotAllowed', `${path} is outside the allowed folders`, { metadata: { path } });
    try {
      await makeFolders(this.real(allowed));
      await this.#assertInside(await realpath(await nearestExisting(this.real(folder))), folder);
      await makeFolders(this.real(folder));
      const real = await realpath(this.real(folder));
      await this.#assertInside(real, folder);
      return real;
    } catch (error) {
      if (errnoOf(error) === 'ENOTDIR' || errnoOf(error) === 'EEXIST')
        throw new EvercertError('FileConflict', `a file is in the place of the folder ${folder}; move it away`, {
          cause: error,
          metadata: { path },
        });
      throw toFileError(error, 'make the folder', folder);
    }
  }

  /** The real file behind a symlink at a declared path, if it lies in the allowed folders. */
  async insideTarget(path: string): Promise<string | undefined> {
    try {
      const target = await realpath(this.real(path));
      return (await this.#inside(dirname(target))) ? target : undefined;
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES'].includes(errnoOf(error))) return undefined;
      throw toFileError(error, 'look at', path);
    }
  }

  /** Allowed folders that hold the path, the innermost first. */
  #around(path: string): string[] {
    return this.#allowed.filter((folder) => isBelow(path, folder)).sort((a, b) => b.length - a.length);
  }

  async #inside(real: string): Promise<boolean> {
    for (const folder of this.#allowed) {
      const allowed = await realpath(this.real(folder)).catch((error: unknown) => {
        if (errnoOf(error) === 'ENOENT') return undefined;
        throw error;
      });
      if (allowed !== undefined && (real === allowed || isBelow(real, allowed))) return true;
    }
    return false;
  }

  async #assertInside(real: string, folder: string): Promise<void> {
    if (await this.#inside(real)) return;
    throw new EvercertError(
      'PathNotAllowed',
      `the folder ${folder} leads out of the allowed folders: replace the symlink on the way by a real folder`,
      {
        metadata: { path: folder },
      },
    );
  }
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder === '/' ? '/' : `${folder}/`) && path !== folder;
}

async function nearestExisting(path: string): Promise<string> {
  try {
    await lstat(path);
    return path;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || path === dirname(path)) throw error;
    return nearestExisting(dirname(path));
  }
}

/** Like `mkdir -p`, durable, with mode 0755 whatever the umask: other users' processes read certificates below. */
async function makeFolders(path: string): Promise<void> {
  const existing = await nearestExisting(path);
  if (existing === path) {
    if ((await stat(path)).isDirectory()) return;
    throw new EvercertError('FileConflict', `a file is in the place of the folder ${path}; move it away`, { metadata: { path } });
  }
  await makeFolders(dirname(path));
  await makeFolder(path).catch(async (error: unknown) => {
    if (!(await madeMeanwhile(error, path))) throw error;
  });
}

/** True when `makeFolder` failed only because another certificate's installation made the same folder at the same time. */
export async function madeMeanwhile(error: unknown, path: string): Promise<boolean> {
  return error instanceof EvercertError && error.metadata['errno'] === 'EEXIST' && (await lstat(path)).isDirectory();
}

/** Makes one folder, durable, with exactly this mode; one that another made meanwhile will do. Errors: DiskFull, FileSystem. */
export async function makeFolder(path: string, mode = 0o755): Promise<void> {
  try {
    await mkdir(path, { mode }).catch(async (error: unknown) => {
      // Several certificates share folders, and each makes what it misses.
      if (errnoOf(error) !== 'EEXIST' || !(await lstat(path)).isDirectory()) throw error;
    });
    await chmod(path, mode);
  } catch (error) {
    throw toFileError(error, 'make the folder', path);
  }
  await syncDirectory(dirname(path));
}
