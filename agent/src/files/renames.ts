import { link } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  createFileDurable,
  errnoOf,
  removeIfThere,
  renameDurable,
  syncDirectory,
  temporaryPath,
  toFileError,
} from '@evercert/shared/files';
import { compareFile } from './compare.ts';
import type { RenderedFile } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import type { PlacedFile, Placement, PlacementContext } from './placement.ts';
import { step } from './points.ts';
import { lookAt } from './tree.ts';
import type { FileFault } from './types.ts';

interface Move {
  file: PlacedFile;
  real: string;
  temporary: string;
  /** A second name of the file that was there, to go back to. */
  kept?: string;
  /** The temporary file is complete. */
  ready: boolean;
}

/**
 * The rename strategy, for components that refuse symlinks: every new file waits, durable, under a temporary name beside its path; then they are renamed one
 * after the other, keys first. Between two renames a reader may meet a mixture for some milliseconds; a crash there is completed by `recover` from the journal.
 */
export class RenamePlacement implements Placement {
  readonly #files: PlacedFile[];
  readonly #context: PlacementContext;
  #moves: Move[] = [];

  constructor(files: PlacedFile[], context: PlacementContext) {
    this.#files = [...files].sort((a, b) => Number(b.secret) - Number(a.secret));
    this.#context = context;
  }

  async prepare(): Promise<void> {
    const { paths, reuse } = this.#context;
    for (const file of this.#files) {
      await paths.ensureParent(file.path);
      if (reuse && (await inspectPlain(paths, file)).length === 0) continue;
      const real = paths.real(file.path);
      const move: Move = { file, real, temporary: temporaryPath(real), ready: false };
      this.#moves.push(move);
      await step('rename-temporary', () => createFileDurable(move.temporary, file.content, file));
      move.ready = true;
    }
    for (const move of this.#moves) {
      const kept = temporaryPath(move.real);
      if (await step('rename-keep', () => linkIfThere(move.real, kept))) move.kept = kept;
    }
    await this.#syncFolders();
  }

  async activate(): Promise<void> {
    for (const move of this.#moves) {
      await step('rename', () => renameDurable(move.temporary, move.real));
    }
  }

  async rollback(): Promise<void> {
    for (const move of [...this.#moves].reverse()) {
      // Seen from the disk: a rename may have happened although making it durable failed.
      const moved = move.ready && (await lookAt(move.temporary)) === undefined;
      if (moved && move.kept !== undefined) await renameDurable(move.kept, move.real);
      else if (moved) await removeIfThere(move.real);
      await removeIfThere(move.temporary);
      if (move.kept !== undefined) await removeIfThere(move.kept);
    }
    await this.#syncFolders();
  }

  async finish(): Promise<void> {
    for (const { kept } of this.#moves) if (kept !== undefined) await step('prune', () => removeIfThere(kept));
  }

  async #syncFolders(): Promise<void> {
    for (const folder of new Set(this.#moves.map((move) => dirname(move.real)))) await syncDirectory(folder);
  }
}

/** What is wrong with a regular file at its declared path. Reads only. */
export async function inspectPlain(paths: PathPolicy, file: Omit<RenderedFile, 'dated' | 'output'>): Promise<FileFault[]> {
  const { path } = file;
  const parent = await paths.inspectParent(path);
  if (parent !== undefined) return [parent];
  if ((await lookAt(paths.real(path)))?.isSymbolicLink() && (await paths.insideTarget(path)) === undefined)
    return [{ path, reason: 'SymlinkOutside', message: `${path} is a symlink that leads nowhere, or out of the allowed folders` }];
  return compareFile(path, paths.real(path), file);
}

async function linkIfThere(path: string, name: string): Promise<boolean> {
  try {
    await link(path, name);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw toFileError(error, 'keep a second name of', path);
  }
}
