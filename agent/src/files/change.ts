import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { DatedPlacement, inspectDated } from './dated.ts';
import { datedNamesOf, joinLayouts, type LayoutRecord, layoutOf, leaveHomes, takeAway, undeclaredPaths, withDatedNames } from './layout.ts';
import type { RenderedFile } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import { groupFiles, type PairStrategy, type PlacedFile, type Placement, type PlacementContext } from './placement.ts';
import { step } from './points.ts';
import { inspectPlain, RenamePlacement } from './renames.ts';
import type { CertificateState } from './state.ts';
import { inspectSymlinks, SymlinkPlacement } from './symlinks.ts';
import type { FileFault } from './types.ts';

export interface ChangeOptions {
  name: string;
  state: CertificateState;
  files: PlacedFile[];
  paths: PathPolicy;
  strategy: PairStrategy;
  logger: Logger;
  nowMs: () => number;
  /** For new versions. */
  label: string;
  /** True: what is right already stays as it is. */
  reuse: boolean;
  /** Makes the pair the installed one, between the last write and the first switch; `uncommit` takes that back. */
  commit?: () => Promise<void>;
  uncommit?: () => Promise<void>;
}

/**
 * Puts files at their declared paths. All that can fail for want of space is done before the commit; after it there are only renames. A failure goes back
 * to what was there, and is thrown; if going back fails too, the journal stays and `recover` completes the change.
 */
export async function changeFiles(options: ChangeOptions): Promise<void> {
  const { name, state, files, paths, strategy } = options;
  const before = await state.layout();
  const after = layoutOf(files, strategy, paths);
  let layout = joinLayouts(before, after);
  const record = async (next: LayoutRecord): Promise<void> => {
    if (JSON.stringify(next) === JSON.stringify(await state.layout())) return;
    await step('record', () => state.writeLayout(next));
    layout = next;
  };
  await record(layout);
  const placements = placementsFor(files, strategy, {
    ...options,
    datedNames: (path) => datedNamesOf(layout, path),
    recordDated: (path, names) => record(withDatedNames(layout, path, names)),
  });
  await switchOver(placements, options);
  const old = undeclaredPaths(before, files);
  if (old.length > 0) await step('undeclare', () => takeAway(before, name, old, paths));
  for (const placement of placements) await placement.finish();
  await leaveHomes(
    before.homes.filter((home) => !after.homes.includes(home)),
    name,
    paths,
  );
  await record({ ...after, dated: after.dated.map(({ path }) => ({ path, names: datedNamesOf(layout, path) })) });
}

async function switchOver(placements: Placement[], options: ChangeOptions): Promise<void> {
  const { commit, uncommit } = options;
  const begun: Placement[] = [];
  let committed = false;
  try {
    for (const placement of placements) {
      begun.push(placement);
      await placement.prepare();
    }
    if (commit !== undefined) {
      committed = true;
      await step('commit', commit);
    }
    for (const placement of placements) await placement.activate();
  } catch (error) {
    await goBack(begun, committed ? uncommit : undefined, error, options);
    throw error;
  }
}

/** The first failure is what the caller needs to know; one on the way back only says that `recover` has work left. */
async function goBack(
  begun: Placement[],
  uncommit: (() => Promise<void>) | undefined,
  cause: unknown,
  options: ChangeOptions,
): Promise<void> {
  try {
    for (const placement of [...begun].reverse()) await placement.rollback();
    await uncommit?.();
  } catch (error) {
    options.logger.error('going back to the old files failed', { certificate: options.name, error: describeError(error) });
    throw new RollbackError(cause, error);
  }
}

/** Both the change and the way back failed: the journal must stay. */
export class RollbackError extends Error {
  readonly original: unknown;

  constructor(original: unknown, rollback: unknown) {
    super('the change failed, and going back failed too', { cause: rollback });
    this.original = original;
  }
}

function placementsFor(files: PlacedFile[], strategy: PairStrategy, context: PlacementContext): Placement[] {
  const plain = files.filter((file) => !file.dated);
  const main =
    strategy === 'symlink'
      ? groupFiles(plain, context.paths).map((group) => new SymlinkPlacement(group, context))
      : [new RenamePlacement(plain, context)];
  return [...main, ...files.filter((file) => file.dated).map((file) => new DatedPlacement(file, context))];
}

/** Compares every declared path with what should be there, and names those of the record that should be gone. Reads only. */
export async function inspectFiles(
  name: string,
  files: RenderedFile[],
  layout: LayoutRecord,
  strategy: PairStrategy,
  paths: PathPolicy,
): Promise<FileFault[]> {
  const faults: FileFault[] = [];
  const plain = files.filter((file) => !file.dated);
  if (strategy === 'symlink') for (const group of groupFiles(plain, paths)) faults.push(...(await inspectSymlinks({ name, paths }, group)));
  else for (const file of plain) faults.push(...(await inspectPlain(paths, file)));
  for (const file of files.filter((file) => file.dated)) faults.push(...(await inspectDated(paths, file)));
  for (const path of undeclaredPaths(layout, files)) faults.push({ path, reason: 'Foreign', message: `${path} is not declared any more` });
  return faults;
}

/** Files whose content is known. */
export function placed(files: RenderedFile[]): PlacedFile[] {
  return files.map((file) => {
    if (file.content === undefined) throw new EvercertError('Internal', `the content of ${file.path} was not made`);
    return { ...file, content: file.content };
  });
}
