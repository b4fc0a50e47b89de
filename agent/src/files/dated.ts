import { link } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import {
  createFileDurable,
  draftSymlink,
  removeIfThere,
  renameDurable,
  replaceSymlinkDurable,
  syncDirectory,
  temporaryPath,
  toFileError,
} from '@evercert/shared/files';
import { compareFile } from './compare.ts';
import type { RenderedFile } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import type { PlacedFile, Placement, PlacementContext } from './placement.ts';
import { step } from './points.ts';
import { linkText, lookAt } from './tree.ts';
import type { FileFault } from './types.ts';

/** A clash of names takes the next free second; so many are tried. */
const maxClashes = 60;

/**
 * kubelet's way to keep its certificates (client-go, util/certificate/certificate_store.go): `NAME-YYYY-MM-DD-HH-MM-SS.pem` holds certificate and key, and the
 * declared path, `NAME-current.pem`, is a symlink to it. One file holds both, so that one rename of the symlink switches them.
 */
export class DatedPlacement implements Placement {
  readonly #file: PlacedFile;
  readonly #context: PlacementContext;
  readonly #real: string;
  #before: string | undefined;
  #made: string | undefined;
  /** The next symlink, under a temporary name. */
  #draft: string | undefined;

  constructor(file: PlacedFile, context: PlacementContext) {
    this.#file = file;
    this.#context = context;
    this.#real = context.paths.real(file.path);
  }

  async prepare(): Promise<void> {
    await this.#context.paths.ensureParent(this.#file.path);
    this.#before = await linkText(this.#real);
    if (this.#context.reuse && (await inspectDated(this.#context.paths, this.#file)).length === 0) return;
    await step('dated-file', () => this.#write());
    if (this.#made !== undefined) this.#draft = await draftSymlink(this.#real, this.#made);
  }

  async activate(): Promise<void> {
    const draft = this.#draft;
    if (draft !== undefined) await step('dated-switch', () => renameDurable(draft, this.#real));
  }

  async rollback(): Promise<void> {
    if (this.#made === undefined) return;
    if (this.#draft !== undefined) await removeIfThere(this.#draft);
    if ((await linkText(this.#real)) === this.#made) {
      if (this.#before === undefined) await removeIfThere(this.#real);
      else await replaceSymlinkDurable(this.#real, this.#before);
    }
    await removeIfThere(join(dirname(this.#real), this.#made));
  }

  /** Keeps the file in use and the one before it; of the rest, only those that were made here go. */
  async finish(): Promise<void> {
    const folder = dirname(this.#real);
    const { path } = this.#file;
    const names = this.#context.datedNames(path);
    const keep = new Set([await linkText(this.#real), ...names.slice(-2)]);
    for (const name of names.filter((name) => !keep.has(name))) await removeIfThere(join(folder, name));
    await this.#context.recordDated(
      path,
      names.filter((name) => keep.has(name)),
    );
  }

  async #write(): Promise<void> {
    const folder = dirname(this.#real);
    const { path, content } = this.#file;
    const temporary = temporaryPath(this.#real);
    await createFileDurable(temporary, content, this.#file);
    try {
      for (let second = 0; second < maxClashes; second++) {
        const name = datedName(path, this.#context.nowMs() + second * 1000);
        if ((await lookAt(join(folder, name))) !== undefined) continue;
        // Recorded first: a file that is not known as ours would stay for ever after a crash.
        await this.#context.recordDated(path, [...this.#context.datedNames(path), name]);
        // Unlike a rename, a link never replaces a file that somebody else made in this very moment.
        await link(temporary, join(folder, name));
        this.#made = name;
        break;
      }
    } catch (error) {
      throw toFileError(error, 'write', join(folder, basename(path)));
    } finally {
      await removeIfThere(temporary);
    }
    await syncDirectory(folder);
  }
}

/** What is wrong with a dated file and the symlink to it. Reads only. */
export async function inspectDated(paths: PathPolicy, file: RenderedFile): Promise<FileFault[]> {
  const { path } = file;
  const parent = await paths.inspectParent(path);
  if (parent !== undefined) return [parent];
  const real = paths.real(path);
  const found = await lookAt(real);
  if (found === undefined) return [{ path, reason: 'Missing', message: `${path} does not exist` }];
  const name = await linkText(real);
  if (name === undefined)
    return [{ path, reason: found.isFile() ? 'Foreign' : 'NotAFile', message: `${path} is not a symlink to a dated file` }];
  if (!isDatedName(path, name)) {
    const outside = (await paths.insideTarget(path)) === undefined;
    return [
      {
        path,
        reason: outside ? 'SymlinkOutside' : 'Foreign',
        message: `${path} is a symlink to ${name}, which is no dated file beside it`,
      },
    ];
  }
  return compareFile(path, join(dirname(real), name), file);
}

/** `kubelet-client-current.pem` at a time: `kubelet-client-2026-11-24-20-45-07.pem`, UTC. */
export function datedName(path: string, atMs: number): string {
  const { prefix, extension } = parts(path);
  return `${prefix}-${new Date(atMs).toISOString().slice(0, 19).replace(/[T:]/g, '-')}${extension}`;
}

function isDatedName(path: string, name: string): boolean {
  const { prefix, extension } = parts(path);
  const date = name.slice(prefix.length, name.length - extension.length);
  return name.startsWith(prefix) && name.endsWith(extension) && /^-\d{4}(-\d{2}){5}$/.test(date);
}

function parts(path: string): { prefix: string; extension: string } {
  const extension = extname(path);
  return { prefix: basename(path, extension).replace(/-current$/, ''), extension };
}
