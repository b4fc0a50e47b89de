import { randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { relinkOperations } from '../audit/index.ts';
import { layout } from '../state/layout.ts';
import { encodeMark, type FoundMark, readMark, type Store, type StoreMark } from '../store/index.ts';
import { type Contents, differences, readContents } from './contents.ts';
import { copyContents } from './copy.ts';

/** One of the two stores. */
export interface Side {
  store: Store;
  /** For people: "SQLite /var/lib/evercert/store.db". */
  name: string;
}

export interface MigrationOptions {
  from: Side;
  to: Side;
  clock: Clock;
  random: () => number;
  signal: AbortSignal;
  /** Look and tell only. */
  dryRun: boolean;
  onProgress: (entries: number) => void;
  randomBytes?: (size: number) => Buffer;
}

export interface Migration {
  contents: Contents;
  /** Entries that had to be written or deleted at the target; fewer than there are when an earlier run had brought some. */
  written: number;
  resumed: boolean;
}

/**
 * Moves everything from one store to another. At any moment at most one of the two can be used: the target is marked as incomplete before its first entry comes, and the source as
 * moved before that mark goes. A run that was ended in between, at whatever instruction, is completed by the next one.
 *
 * FailedPrecondition: a coordinator runs on the source; the target holds something else; the source was moved elsewhere. Conflict: somebody wrote meanwhile.
 * DataLoss: what arrived is not what was sent.
 */
export async function migrate(options: MigrationOptions): Promise<Migration> {
  const { from, to, clock, signal, dryRun } = options;
  await refuseRunning(from);
  const [fromMark, toMark] = [await readMark(from.store), await readMark(to.store)];
  const resumed = checkMarks(from, fromMark, to, toMark);
  const contents = await readContents(from.store, signal);
  if (contents.entries === 0) throw refused(`${from.name} holds nothing: is it the right one?`);
  if (toMark === undefined) await refuseFilled(to, from, fromMark);
  if (dryRun) return { contents, written: 0, resumed };

  const mark: StoreMark = { state: 'arriving', id: resumed ? toMark!.id : newId(options), other: from.name, atMs: clock.nowMs() };
  const guard = await claim(to, mark, toMark, resumed);
  faultPoint('store-migration-claimed');
  const work = { what: 'the migration', faultPoint: 'store-migration-copied' };
  const written = await copyContents({ ...options, from: from.store, to: to.store, guard, work });
  await verify(contents, from, to, signal);
  faultPoint('store-migration-verified');
  await markMoved(from, fromMark, { ...mark, state: 'moved', other: to.name });
  faultPoint('store-migration-moved');
  await finish(to, guard, { from: from.name, to: to.name, contents, atMs: clock.nowMs() });
  faultPoint('store-migration-finished');
  return { contents, written, resumed };
}

/** SQLite's file admits one process anyway. */
async function refuseRunning({ store, name }: Side): Promise<void> {
  if (!store.shared) return;
  const leader = await store.get(layout.leader);
  const { entries } = await store.range({ prefix: layout.coordinators, limit: 10 });
  if (leader === undefined && entries.length === 0) return;
  const ids = entries.map(({ key }) => key.slice(layout.coordinators.length)).join(', ');
  throw refused(
    `a coordinator runs on ${name} (${ids || 'the leader'}): stop all of them; one that was killed is forgotten within seconds`,
  );
}

/** Returns whether an earlier run is to be completed. */
function checkMarks(from: Side, fromMark: FoundMark | undefined, to: Side, toMark: FoundMark | undefined): boolean {
  if (fromMark?.state === 'arriving') {
    throw refused(`${from.name} is itself being filled from ${fromMark.other} and not complete: complete that first`);
  }
  if (fromMark?.state === 'moved') {
    if (toMark?.state === 'arriving' && toMark.id === fromMark.id) return true;
    throw refused(
      `what was in ${from.name} was moved to ${fromMark.other} at ${new Date(fromMark.atMs).toISOString()}: there is nothing left to do, or move on from there`,
    );
  }
  if (toMark?.state !== 'arriving') return false;
  if (toMark.other === from.name) return true;
  throw refused(`${to.name} is being filled from ${toMark.other}: complete that, or take everything under ${layout.root} away there`);
}

async function refuseFilled(to: Side, from: Side, fromMark: FoundMark | undefined): Promise<void> {
  const { entries } = await to.store.range({ prefix: layout.root, limit: 1 });
  if (entries.length === 0) return;
  const hint = fromMark === undefined ? '' : ` (it may be what ${from.name} was moved to)`;
  throw refused(
    `${to.name} holds something else, as ${entries[0]!.key}${hint}: nothing was touched. Name an empty store; what it was moved away from may be used again`,
  );
}

/** Marks the target as ours. What was moved away from it is overwritten. */
async function claim(
  to: Side,
  mark: StoreMark,
  found: FoundMark | undefined,
  resumed: boolean,
): Promise<{ key: string; modRevision: number }> {
  const key = layout.storeMark;
  if (resumed) return { key, modRevision: found!.modRevision };
  const { succeeded, revision } = await to.store.transact(
    [{ key, modRevision: found?.modRevision ?? 0 }],
    [{ type: 'put', key, value: encodeMark(mark) }],
  );
  if (!succeeded) throw new EvercertError('Conflict', `somebody else fills ${to.name} at the same time: end that, and run this again`);
  return { key, modRevision: revision };
}

async function verify(contents: Contents, from: Side, to: Side, signal: AbortSignal): Promise<void> {
  await refuseRunning(from);
  const before = differences(contents, await readContents(from.store, signal));
  if (before.length > 0) {
    throw new EvercertError(
      'Conflict',
      `${from.name} was written to meanwhile (${before.join('; ')}): stop all coordinators and run this again`,
    );
  }
  const wrong = differences(contents, await readContents(to.store, signal));
  if (wrong.length === 0) return;
  throw new EvercertError(
    'DataLoss',
    `what arrived in ${to.name} is not what was sent: ${wrong.join('; ')}. The source is as it was; run this again`,
  );
}

async function markMoved(from: Side, found: FoundMark | undefined, mark: StoreMark): Promise<void> {
  if (found !== undefined) return;
  const key = layout.storeMark;
  await from.store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value: encodeMark(mark) }]);
}

async function finish(
  to: Side,
  guard: { key: string; modRevision: number },
  move: { from: string; to: string; contents: Contents; atMs: number },
): Promise<void> {
  const { from, contents, atMs } = move;
  const { succeeded } = await to.store.transact(
    [guard],
    [
      { type: 'delete', key: layout.storeMark },
      ...relinkOperations({
        reason: 'StoreMigrated',
        atMs,
        actor: 'operator',
        message: `the store was moved from ${from} to ${move.to}`,
        details: { entries: String(contents.entries), digest: contents.digest },
      }),
    ],
  );
  if (!succeeded) throw new EvercertError('Conflict', `somebody else writes to ${to.name}: run this again`);
}

function newId({ randomBytes: random = randomBytes }: MigrationOptions): string {
  return random(8).toString('hex');
}

function refused(message: string): EvercertError {
  return new EvercertError('FailedPrecondition', message);
}
