import { EvercertError } from '@evercert/shared/errors';
import { layout } from '../state/layout.ts';
import type { Store } from './types.ts';

/** Stands in a store that is not to be used. */
export interface StoreMark {
  /** `arriving`: it is being filled from the other one. `moved`: everything is in the other one now. */
  state: 'arriving' | 'moved';
  /** Of the move; the same in both stores. */
  id: string;
  /** The other store, for people. */
  other: string;
  atMs: number;
}

export interface FoundMark extends StoreMark {
  modRevision: number;
}

export async function readMark(store: Store): Promise<FoundMark | undefined> {
  const entry = await store.get(layout.storeMark);
  if (entry === undefined) return undefined;
  return { ...(JSON.parse(Buffer.from(entry.value).toString()) as StoreMark), modRevision: entry.modRevision };
}

export function encodeMark(mark: StoreMark): Buffer {
  return Buffer.from(JSON.stringify({ v: 1, ...mark }));
}

/** FailedPrecondition: the store was moved away, or is not complete yet. */
export async function refuseMarked(store: Store, where: string): Promise<void> {
  const mark = await readMark(store);
  if (mark === undefined) return;
  const at = new Date(mark.atMs).toISOString();
  throw new EvercertError(
    'FailedPrecondition',
    mark.state === 'arriving'
      ? `${where} is being filled from ${mark.other} (begun at ${at}) and not complete: run 'evercert-coordinator store migrate' again to its end, or 'evercert-coordinator restore' where it is a backup`
      : `what was in ${where} was moved to ${mark.other} at ${at}: configure that store. To use this one all the same, and lose what was written to the other since, run 'evercert-coordinator store unmark'`,
    { metadata: { state: mark.state, other: mark.other } },
  );
}
