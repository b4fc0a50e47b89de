import { parseLine } from '@evercert/shared/audit';
import { layout } from '../state/layout.ts';
import type { Store } from '../store/index.ts';
import { decodeBlockHead, decodeLines } from './blocks.ts';
import { type FoundEvent, foundOf } from './event-feed.ts';
import { throughRevision } from './position.ts';

const pageKeys = 500;
const blocksAtOnce = 8;
/** By so much may the clocks of coordinators differ. */
const skewMs = 10 * 60_000;

/**
 * Events of a store that was restored or filled from another which its log does not have yet: revisions tell nothing there, so that the log itself is read, from its end back to
 * the time of the oldest event that is looked for. In the order of their times. Whatever comes after the revision that is returned is not looked at.
 */
export async function findUnsealed(store: Store): Promise<{ events: FoundEvent[]; revision: number }> {
  const { revision } = await store.range({ prefix: layout.events, limit: 1 });
  const left = await allEvents(store, revision);
  let oldestMs = oldest(left);
  for (let after: string | undefined; left.size > 0; ) {
    const { entries, more } = await store.range({
      prefix: layout.auditBlocks,
      reverse: true,
      limit: blocksAtOnce,
      ...(after && { after }),
    });
    for (const block of entries) {
      // Nothing is sealed before it happens.
      if (decodeBlockHead(block).sealedAtMs < oldestMs - skewMs) return finish(store, left, revision);
      for (const key of keysOf(await decodeLines(block))) left.delete(key);
    }
    if (!more) break;
    oldestMs = oldest(left);
    after = entries.at(-1)?.key;
  }
  return finish(store, left, revision);
}

async function allEvents(store: Store, revision: number): Promise<Set<string>> {
  const keys = new Set<string>();
  for (let after = ''; ; ) {
    const { entries, more } = await store.range({ prefix: layout.events, limit: pageKeys, ...(after && { after }) });
    for (const { key, createRevision } of entries) if (createRevision <= revision) keys.add(key);
    if (!more) return keys;
    after = entries.at(-1)?.key ?? '';
  }
}

function keysOf(lines: string): string[] {
  return lines.split('\n').flatMap((text) => {
    const line = text === '' ? '' : parseLine(text);
    return typeof line === 'string' || line.type !== 'entry'
      ? []
      : [layout.event(line.event.cluster ?? layout.controlScope, line.event.id)];
  });
}

/** An event's id begins with its time. */
function timeOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}

function oldest(keys: ReadonlySet<string>): number {
  let least = Number.POSITIVE_INFINITY;
  for (const key of keys) {
    const ms = Number.parseInt(timeOf(key), 10);
    if (ms < least) least = ms;
  }
  return least;
}

async function finish(store: Store, keys: ReadonlySet<string>, revision: number): Promise<{ events: FoundEvent[]; revision: number }> {
  const events: FoundEvent[] = [];
  const inOrder = [...keys].sort((a, b) => (timeOf(a) < timeOf(b) ? -1 : 1));
  for (const key of inOrder) {
    const entry = await store.get(key);
    if (entry) events.push({ ...foundOf(entry), position: throughRevision(0) });
  }
  return { events, revision };
}
