import { EvercertError } from '@evercert/shared/errors';
import { layout } from '../state/layout.ts';
import { decodeRecord, type EventRecord } from '../state/records.ts';
import type { KeyValue, Store } from '../store/index.ts';
import { comparePositions, positionOf, throughRevision } from './position.ts';
import type { EventPosition } from './records.ts';

/** An event and where the log stands once it is sealed. */
export interface FoundEvent {
  record: EventRecord;
  /** At which it was written. */
  revision: number;
  /** Everything up to here is sealed with it. */
  position: EventPosition;
}

const pageKeys = 500;

/**
 * Events after a place, each once, in the order in which the store got them; ends with the signal. What the store's history has forgotten is found by reading the events themselves:
 * each knows the revision at which it came. An event that is written once more does not come again. Errors: those of the store.
 */
export async function* followEvents(store: Store, from: EventPosition, signal: AbortSignal): AsyncGenerator<FoundEvent[]> {
  let at = from;
  while (!signal.aborted) {
    try {
      for await (const changes of store.watch({ prefix: layout.events, fromRevision: Math.max(1, at.revision), signal })) {
        const created = changes.flatMap(({ entry, revision }) => (entry && entry.createRevision === revision ? [entry] : []));
        const found = created.map(foundOf).filter(({ position }) => comparePositions(position, at) > 0);
        found.sort((a, b) => comparePositions(a.position, b.position));
        at = found.at(-1)?.position ?? at;
        if (found.length > 0) yield found;
      }
    } catch (error) {
      if (signal.aborted || !(error instanceof EvercertError && error.code === 'FailedPrecondition')) throw error;
      const { events, revision } = await listEvents(store, at);
      for await (const found of readEvents(store, events, signal)) yield found;
      at = throughRevision(revision);
    }
  }
}

/** Which events there are after a place, in their order, and the revision up to which that is complete. */
async function listEvents(store: Store, from: EventPosition): Promise<{ events: EventPosition[]; revision: number }> {
  const events: EventPosition[] = [];
  const { revision } = await store.range({ prefix: layout.events, limit: 1 });
  for (let after = ''; ; ) {
    const { entries, more } = await store.range({ prefix: layout.events, limit: pageKeys, ...(after && { after }) });
    for (const entry of entries) {
      const position = positionOf(entry);
      if (position.revision <= revision && comparePositions(position, from) > 0) events.push(position);
    }
    if (!more) break;
    after = entries.at(-1)?.key ?? '';
  }
  return { events: events.sort(comparePositions), revision };
}

/** One that is gone by now was taken away by hand: nobody else removes an event that is not sealed. */
async function* readEvents(store: Store, events: readonly EventPosition[], signal: AbortSignal): AsyncGenerator<FoundEvent[]> {
  for (const { key } of events) {
    if (signal.aborted) return;
    const entry = await store.get(key);
    if (entry) yield [foundOf(entry)];
  }
}

export function foundOf(entry: KeyValue): FoundEvent {
  const { v: _version, ...record } = decodeRecord<EventRecord & { v?: number }>(entry.key, entry.value);
  return { record, revision: entry.createRevision, position: positionOf(entry) };
}
