import { dirname } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import type { RenderedFile } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import { lookAt } from './tree.ts';

/** `symlink`: one rename switches all files of a certificate. `rename`: for components that refuse symlinks; ordered renames, completed after a crash. */
export type PairStrategy = 'symlink' | 'rename';

/** A file that is to be placed; its content is known by then. */
export type PlacedFile = RenderedFile & { content: Buffer };

/**
 * A way to put files at their declared paths. `prepare` writes all that is new without changing what a reader of the paths sees, `activate` switches by renames
 * alone, `rollback` goes back to what was seen before, `finish` clears what is not needed any more.
 */
export interface Placement {
  prepare(): Promise<void>;
  activate(): Promise<void>;
  rollback(): Promise<void>;
  finish(): Promise<void>;
}

export interface PlacementContext {
  /** Of the certificate. */
  name: string;
  /** For new versions. */
  label: string;
  paths: PathPolicy;
  /** True: what is right already stays as it is. */
  reuse: boolean;
  nowMs: () => number;
  /** Dated files that were made for a declared path, oldest first. */
  datedNames: (path: string) => string[];
  recordDated: (path: string, names: string[]) => Promise<void>;
}

/** Files that are switched together, and the declared folder that holds their versions. */
export interface FileGroup<F> {
  home: string;
  files: F[];
}

/**
 * Groups files for the symlink strategy: all that share an allowed folder with the first go together; a pem pair always does, so that one rename
 * switches both its files. What is left forms further groups in the same way.
 */
export function groupFiles<F extends { path: string; output: object }>(files: readonly F[], paths: PathPolicy): FileGroup<F>[] {
  const [first] = files;
  if (first === undefined) return [];
  const belongs = (file: F): boolean => file.output === first.output || paths.together(first.path, file.path);
  const rest = groupFiles(
    files.filter((file) => !belongs(file)),
    paths,
  );
  return [{ home: dirname(first.path), files: files.filter(belongs) }, ...rest];
}

/** A folder in the place of a file is never touched: FileConflict names it. */
export async function assertNoFolderInTheWay(files: readonly { path: string }[], paths: PathPolicy): Promise<void> {
  for (const { path } of files) {
    if ((await lookAt(paths.real(path)))?.isDirectory())
      throw new EvercertError(
        'FileConflict',
        `a folder is in the place of the file ${path}; move it away, the file is then written by itself`,
        {
          metadata: { path },
        },
      );
  }
}
