import assert from 'node:assert/strict';
import type { Compare, KeyValue, Operation, RangeOptions, Store, TransactionResult, WatchEvent } from '@evercert/coordinator/store';
import fc from 'fast-check';

/** The store as plain code: what every driver is compared with. Revisions count from the one that the store had at the start. */
export class StoreModel {
  readonly entries = new Map<string, KeyValue>();
  readonly changes: WatchEvent[][] = [];
  revision: number;

  constructor(revision: number) {
    this.revision = revision;
  }

  transact(compares: Compare[], operations: Operation[]): TransactionResult {
    for (const { key, modRevision } of compares) {
      if ((this.entries.get(key)?.modRevision ?? 0) !== modRevision) return { succeeded: false, revision: this.revision };
    }
    const revision = this.revision + 1;
    const events: WatchEvent[] = [];
    const remove = (key: string): void => {
      if (this.entries.delete(key)) events.push({ type: 'delete', key, revision });
    };
    for (const operation of operations) {
      if (operation.type === 'put') events.push(this.#put(operation.key, operation.value, revision));
      else if (operation.type === 'delete') remove(operation.key);
      else for (const key of this.#keys((key) => key.startsWith(operation.prefix))) remove(key);
    }
    if (events.length > 0) {
      this.revision = revision;
      this.changes.push(events);
    }
    return { succeeded: true, revision: this.revision };
  }

  range({ prefix, after, limit = 0, reverse = false }: RangeOptions): { keys: string[]; more: boolean } {
    const order = reverse ? -1 : 1;
    const keys = this.#keys((key) => key.startsWith(prefix) && (after === undefined || compareBytes(key, after) * order > 0));
    if (reverse) keys.reverse();
    const cut = limit > 0 && keys.length > limit;
    return { keys: cut ? keys.slice(0, limit) : keys, more: cut };
  }

  #put(key: string, value: Uint8Array, revision: number): WatchEvent {
    const old = this.entries.get(key);
    const entry = { key, value, createRevision: old?.createRevision ?? revision, modRevision: revision, version: (old?.version ?? 0) + 1 };
    this.entries.set(key, entry);
    return { type: 'put', key, entry, revision };
  }

  #keys(wanted: (key: string) => boolean): string[] {
    return [...this.entries.keys()].filter(wanted).sort(compareBytes);
  }
}

export function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** A step of a random history. A comparison is made to hold (`true`) or not when the step is run, from what the model then knows. */
export type Step =
  | { type: 'transact'; compares: { key: string; holds: boolean }[]; operations: Operation[] }
  | { type: 'range'; options: RangeOptions };

// Few keys, so that steps meet; with neighbours, prefixes of each other, and characters whose order differs between UTF-8 and UTF-16.
const names = ['a', 'a/1', 'a/2', 'a/2/x', 'a0', 'b', 'b/é', 'b/\u{ff5e}', 'b/\u{10348}', 'c'];

/** Steps under one prefix. */
export function steps(root: string): fc.Arbitrary<Step> {
  const key = fc.constantFrom(...names).map((name) => root + name);
  const prefix = fc.constantFrom('', 'a', 'a/', 'b/', 'zz').map((name) => root + name);
  const value = fc.uint8Array({ maxLength: 20 });
  const operation: fc.Arbitrary<Operation> = fc.oneof(
    { weight: 5, arbitrary: fc.record({ type: fc.constant('put' as const), key, value }) },
    { weight: 2, arbitrary: fc.record({ type: fc.constant('delete' as const), key }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant('deletePrefix' as const), prefix }) },
  );
  const compare = fc.record({ key, holds: fc.constantFrom(true, true, true, false) });
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        type: fc.constant('transact' as const),
        compares: fc.array(compare, { maxLength: 3 }),
        operations: fc.array(operation, { maxLength: 5 }).map(withoutOverlaps),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant('range' as const),
        options: fc.record({ prefix, after: key, limit: fc.nat(4), reverse: fc.boolean() }, { requiredKeys: ['prefix'] }),
      }),
    },
  );
}

/** Leaves out operations that would write a key a second time. */
function withoutOverlaps(operations: Operation[]): Operation[] {
  const kept: Operation[] = [];
  for (const operation of operations) if (!kept.some((other) => overlap(other, operation))) kept.push(operation);
  return kept;
}

function overlap(a: Operation, b: Operation): boolean {
  if (a.type !== 'put' && b.type !== 'put') return false;
  if (a.type === 'deletePrefix') return b.type !== 'deletePrefix' && b.key.startsWith(a.prefix);
  return b.type === 'deletePrefix' ? a.key.startsWith(b.prefix) : a.key === b.key;
}

/** Runs one step on both and compares the answers. All that is asked of the store is asked before the first await, so steps may run side by side. */
export async function runStep(store: Store, model: StoreModel, step: Step): Promise<void> {
  if (step.type === 'range') {
    const answer = store.range(step.options);
    const { keys, more } = model.range(step.options);
    const expected = keys.map((key) => model.entries.get(key));
    const { entries, more: actualMore, revision } = await answer;
    assert.deepEqual({ entries: entries.map(plain), more: actualMore }, { entries: expected.map(plain), more });
    assert.equal(revision, model.revision);
    return;
  }
  const compares = step.compares.map(({ key, holds }) => {
    const modRevision = model.entries.get(key)?.modRevision ?? 0;
    return { key, modRevision: holds ? modRevision : modRevision + 1 };
  });
  const answer = store.transact(compares, step.operations);
  const expected = model.transact(compares, step.operations);
  assert.deepEqual(await answer, expected);
}

/** The same whether a value came as a Buffer or a Uint8Array. */
export function plain(entry: KeyValue | undefined): unknown {
  return entry && { ...entry, value: Buffer.from(entry.value).toString('hex') };
}

export function plainEvents(groups: WatchEvent[][]): unknown[] {
  return groups.map((events) =>
    events.map((event) => ({ ...event, entry: plain(event.entry) })).sort((a, b) => compareBytes(a.key, b.key)),
  );
}
