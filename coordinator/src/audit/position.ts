import type { KeyValue } from '../store/index.ts';
import type { EventPosition } from './records.ts';

/** Where an event stands in the order of all events. One that was written again stays where it was. */
export function positionOf({ createRevision, key }: Pick<KeyValue, 'createRevision' | 'key'>): EventPosition {
  return { revision: createRevision, key };
}

/** All events up to a revision. */
export function throughRevision(revision: number): EventPosition {
  return { revision: revision + 1, key: '' };
}

export function comparePositions(a: EventPosition, b: EventPosition): number {
  return a.revision - b.revision || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}
