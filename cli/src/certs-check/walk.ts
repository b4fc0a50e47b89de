import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { basename, join, sep } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf } from '@evercert/shared/files';
import { checkLimits, type PathProblem, type WalkedFile } from './types.ts';

/** Evercert's own versions of the files beside it. */
const internalsFolder = '.evercert';
const pkiExtension = /\.(crt|cer|cert|pem|key)$/i;

/** The name promises a certificate or a key. */
export function isPkiName(path: string): boolean {
  return pkiExtension.test(path);
}

export interface Walk {
  /** Each real file once, by the path that is best to show, in order. */
  files: WalkedFile[];
  problems: PathProblem[];
}

interface Candidate extends WalkedFile {
  depth: number;
  isLink: boolean;
}

interface State {
  /** Real path of the checked folder. */
  root: string;
  candidates: Map<string, Candidate[]>;
  problems: PathProblem[];
  seenFolders: Set<string>;
  files: number;
  full: boolean;
}

/**
 * Walks a folder (or takes a single file) within `checkLimits`. Symlinks to files are followed, wherever they lead; symlinks to folders only within the folder.
 * InvalidArgument: there is no such folder, or it cannot be read.
 */
export async function walkFolder(folder: string): Promise<Walk> {
  try {
    const root = await realpath(folder);
    const info = await stat(root);
    if (!info.isDirectory()) {
      return { files: [{ path: basename(folder), realPath: root, mode: info.mode & 0o7777, size: info.size }], problems: [] };
    }
    const state: State = { root, candidates: new Map(), problems: [], seenFolders: new Set([root]), files: 0, full: false };
    await readdir(root);
    await walk(state, '', 0);
    return { files: [...state.candidates.values()].map(bestOf).sort((a, b) => a.path.localeCompare(b.path)), problems: state.problems };
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? 'there is no such folder' : error instanceof Error ? error.message : String(error);
    throw new EvercertError('InvalidArgument', `cannot check ${folder}: ${why}`, { cause: error });
  }
}

/** The path of a file that was reached by several: the shortest way, and there the symlink, whose name is the one that is used (kubelet-client-current.pem). */
function bestOf(candidates: readonly Candidate[]): WalkedFile {
  const order = (a: Candidate, b: Candidate): number =>
    a.depth - b.depth || Number(b.isLink) - Number(a.isLink) || a.path.localeCompare(b.path);
  const { path, realPath, mode, size } = [...candidates].sort(order)[0]!;
  return { path, realPath, mode, size };
}

async function walk(state: State, folder: string, depth: number): Promise<void> {
  for (const entry of await entriesOf(state, folder)) {
    if (state.full) return;
    await visit(state, join(folder, entry.name), entry, depth);
  }
}

async function entriesOf(state: State, folder: string): Promise<Dirent[]> {
  try {
    return (await readdir(join(state.root, folder), { withFileTypes: true })).sort((a, b) => a.name.localeCompare(b.name));
  } catch (error) {
    state.problems.push({ path: folder, code: 'Unreadable', message: `the folder cannot be read: ${textOf(error)}` });
    return [];
  }
}

async function visit(state: State, path: string, entry: Dirent, depth: number): Promise<void> {
  const isLink = entry.isSymbolicLink();
  if (entry.name === internalsFolder) return;
  try {
    const realPath = await realpath(join(state.root, path));
    const info = await stat(realPath);
    if (info.isDirectory()) await enter(state, path, realPath, depth);
    else if (info.isFile()) add(state, { path, realPath, mode: info.mode & 0o7777, size: info.size, depth, isLink });
    else if (isPkiName(path))
      state.problems.push({
        path,
        code: 'NotAFile',
        message: 'expected a regular file: remove it, or have the right file put in its place',
      });
  } catch (error) {
    const dangling = isLink && ['ENOENT', 'ELOOP', 'ENOTDIR'].includes(errnoOf(error));
    if (dangling && isPkiName(path)) state.problems.push({ path, code: 'BrokenLink', message: 'the symlink leads nowhere' });
    // A file that went away during the walk is not there; all else is said.
    else if (!dangling && errnoOf(error) !== 'ENOENT') state.problems.push({ path, code: 'Unreadable', message: textOf(error) });
  }
}

async function enter(state: State, path: string, realPath: string, depth: number): Promise<void> {
  if (isPkiName(path)) state.problems.push({ path, code: 'NotAFile', message: 'a folder is in the place of a file' });
  const isInside = realPath === state.root || realPath.startsWith(state.root.endsWith(sep) ? state.root : state.root + sep);
  if (!isInside || state.seenFolders.has(realPath)) return;
  if (depth >= checkLimits.depth || state.seenFolders.size >= checkLimits.folders) {
    stop(
      state,
      path,
      `folders deeper than ${checkLimits.depth} or more than ${checkLimits.folders} are not looked into: check this folder on its own`,
    );
    return;
  }
  state.seenFolders.add(realPath);
  await walk(state, path, depth + 1);
}

function add(state: State, candidate: Candidate): void {
  if (state.files >= checkLimits.files) {
    state.full = true;
    stop(state, candidate.path, `stopped here after ${checkLimits.files} files: check a smaller folder`);
    return;
  }
  state.files += 1;
  const known = state.candidates.get(candidate.realPath);
  if (known) known.push(candidate);
  else state.candidates.set(candidate.realPath, [candidate]);
}

function stop(state: State, path: string, message: string): void {
  state.problems.push({ path, code: 'LimitReached', message });
}

function textOf(error: unknown): string {
  return errnoOf(error) === 'EACCES'
    ? 'permission denied: run the check as a user that may read it'
    : error instanceof Error
      ? error.message
      : String(error);
}
