import { realpath, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { errnoOf } from '@evercert/shared/files';
import { readContents } from './contents.ts';
import { type Contents, checkLimits, type Inventory, type PairReference, type PathProblem, type WalkedFile } from './types.ts';
import { walkFolder } from './walk.ts';

/** Walks a folder and reads all that it holds, with the files that its kubeconfigs refer to; their absolute paths begin at `rootDir`. */
export async function takeInventory(folder: string, rootDir: string): Promise<Inventory> {
  const { files, problems } = await walkFolder(folder);
  const known = new Map(files.map((file) => [file.realPath, file]));
  const inventory: Inventory = {
    certificates: [],
    keys: [],
    publicKeys: [],
    pairs: new Map(),
    superseded: supersededAmong(files),
    problems: [...problems],
  };
  const references: PairReference[] = [];
  for (const file of files) {
    references.push(...gather(inventory, await readContents(file)));
    if (inventory.certificates.length > checkLimits.certificates) {
      const message = `stopped here after ${checkLimits.certificates} certificates: check a smaller folder`;
      inventory.problems.push({ path: file.path, code: 'LimitReached', message });
      return inventory;
    }
  }
  const pairs = new Map<string, string>();
  for (const { kubeconfig, ...reference } of references) {
    const place = (path: string): string => (isAbsolute(path) ? join(rootDir, path) : resolve(dirname(kubeconfig.realPath), path));
    const certificate = await follow(place(reference.certificate), kubeconfig.path, known, inventory);
    const key = reference.key ? await follow(place(reference.key), kubeconfig.path, known, inventory) : undefined;
    if (certificate && key) pairs.set(certificate.path, key.path);
  }
  return { ...inventory, pairs };
}

function gather(inventory: Inventory, contents: Contents): PairReference[] {
  inventory.certificates.push(...contents.certificates);
  inventory.keys.push(...contents.keys);
  inventory.publicKeys.push(...contents.publicKeys);
  inventory.problems.push(...contents.problems);
  return contents.references;
}

/** The file that a kubeconfig refers to; it is read if the walk has not met it, by its absolute path. */
async function follow(
  path: string,
  kubeconfig: string,
  known: Map<string, WalkedFile>,
  inventory: Inventory,
): Promise<WalkedFile | undefined> {
  try {
    const realPath = await realpath(path);
    const met = known.get(realPath);
    if (met) return met;
    const info = await stat(realPath);
    const file = { path, realPath, mode: info.mode & 0o7777, size: info.size };
    known.set(realPath, file);
    if (info.isFile()) gather(inventory, await readContents(file));
    else inventory.problems.push(missing(kubeconfig, `it refers to ${path}, which is no file`));
    return file;
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'which does not exist' : `which cannot be read: ${(error as Error).message}`;
    inventory.problems.push(missing(kubeconfig, `it refers to ${path}, ${why}`));
    return undefined;
  }
}

function missing(path: string, message: string): PathProblem {
  return { path, code: 'MissingReference', message };
}

const datedName = /^(.+)-\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2}\.pem$/;

/** kubelet's way: NAME-current.pem is a symlink to the newest NAME-YYYY-MM-DD-HH-MM-SS.pem; the older ones stay behind and expire, as they should. */
function supersededAmong(files: readonly WalkedFile[]): Map<string, string> {
  const paths = new Set(files.map((file) => file.path));
  const found = new Map<string, string>();
  for (const { path } of files) {
    const [, name] = datedName.exec(basename(path)) ?? [];
    const current = name === undefined ? undefined : join(dirname(path), `${name}-current.pem`);
    if (current !== undefined && paths.has(current)) found.set(path, current);
  }
  return found;
}
