/** Writers and watchers over several clients of one store, and the judge of what they saw: no acknowledged write lost, no event lost or doubled, no revision that goes back. */
import assert from 'node:assert/strict';
import type { Store, WatchEvent } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';

interface Write {
  key: string;
  /** Absent: it was not acknowledged. */
  revision?: number;
  /** Of a write without acknowledgement: what the store said of it. */
  outcome?: 'unknown' | 'not-applied';
}

interface Watcher {
  /** In the order of their coming. */
  events: WatchEvent[];
  /** What the watcher knows to be there: from lists and events, as an informer does it. */
  known: Map<string, number>;
  /** Revisions up to which a list stood in for events. */
  gaps: { from: number; to: number }[];
  revision: number;
  relists: number;
}

const prefix = 'load/';

export class StoreLoad {
  readonly writes: Write[] = [];
  readonly watchers: Watcher[] = [];
  readonly problems: string[] = [];
  /** Increments of the shared counter that were acknowledged, and those of which nobody knows. */
  increments = { acknowledged: 0, unknown: 0 };
  /** Longest time between two acknowledged writes of all writers together, since `restartClock`. Milliseconds. */
  longestPauseMs = 0;
  #lastAckMs = systemClock.monotonicMs();
  readonly #stores: Store[];
  readonly #stop = new AbortController();
  readonly #watching = new AbortController();
  readonly #writing: Promise<void>[] = [];
  readonly #followed: Promise<void>[] = [];

  constructor(stores: Store[]) {
    this.#stores = stores;
  }

  async start(): Promise<void> {
    for (const store of this.#stores) {
      const { revision } = await store.range({ prefix });
      const watcher: Watcher = { events: [], known: new Map(), gaps: [], revision, relists: 0 };
      this.watchers.push(watcher);
      this.#followed.push(this.#watch(store, watcher));
    }
    for (const [index, store] of this.#stores.entries()) {
      this.#writing.push(this.#count(store, index));
      for (const writer of [0, 1]) this.#writing.push(this.#write(store, `${index}-${writer}`));
    }
  }

  restartClock(): void {
    this.longestPauseMs = 0;
    this.#lastAckMs = systemClock.monotonicMs();
  }

  get acknowledged(): number {
    return this.writes.filter(({ revision }) => revision !== undefined).length;
  }

  /** Resolves once so many more writes were acknowledged. */
  async more(count: number, timeoutMs = 30_000): Promise<void> {
    const target = this.acknowledged + count;
    const end = systemClock.monotonicMs() + timeoutMs;
    while (this.acknowledged < target) {
      assert.ok(systemClock.monotonicMs() < end, `no ${count} writes were acknowledged within ${timeoutMs / 1000} s`);
      await systemClock.sleep(50);
    }
  }

  /** Ends all of it, whatever comes of it. */
  abandon(): void {
    this.#stop.abort();
    this.#watching.abort();
  }

  /** Ends the writers, lets the watchers come to the end, and judges. */
  async stopAndVerify(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#writing);
    const { entries, revision } = await this.#stores[0]!.range({ prefix });
    await this.#caughtUp(entries.map(({ modRevision }) => modRevision).reduce((a, b) => Math.max(a, b), 0));
    this.#watching.abort();
    await Promise.all(this.#followed);
    const present = new Map(entries.map((entry) => [entry.key, entry.modRevision]));
    assert.deepEqual(this.problems, []);
    this.#verifyWrites(present);
    for (const watcher of this.watchers) this.#verifyWatcher(watcher, present, revision);
    const counter = Number(Buffer.from(entries.find(({ key }) => key === `${prefix}counter`)?.value ?? []).toString() || '0');
    const { acknowledged, unknown } = this.increments;
    assert.ok(
      counter >= acknowledged && counter <= acknowledged + unknown,
      `the counter is ${counter}, ${acknowledged} increments were acknowledged`,
    );
  }

  #verifyWrites(present: Map<string, number>): void {
    for (const { key, revision, outcome } of this.writes) {
      if (revision !== undefined) assert.equal(present.get(key), revision, `the acknowledged write ${key} is lost`);
      if (outcome === 'not-applied') assert.equal(present.get(key), undefined, `${key} was written though the store said that it was not`);
    }
  }

  #verifyWatcher({ events, known, gaps }: Watcher, present: Map<string, number>, end: number): void {
    for (const [index, event] of events.entries()) {
      const before = events[index - 1];
      assert.ok(
        before === undefined || event.revision >= before.revision,
        `an event of revision ${event.revision} came after one of ${before?.revision}`,
      );
    }
    const seen = events.map(({ key, revision }) => `${revision} ${key}`);
    assert.equal(new Set(seen).size, seen.length, 'an event came twice');
    const inGap = (revision: number): boolean => gaps.some(({ from, to }) => revision > from && revision <= to);
    const all = new Set(seen);
    for (const [key, revision] of present) {
      if (revision <= end && !inGap(revision)) assert.ok(all.has(`${revision} ${key}`), `the event of ${key} at ${revision} is lost`);
    }
    assert.deepEqual([...known].sort(), [...present].sort(), 'what a watcher knows is not what is there');
  }

  async #caughtUp(revision: number): Promise<void> {
    const end = systemClock.monotonicMs() + 30_000;
    while (this.watchers.some((watcher) => watcher.revision < revision)) {
      assert.ok(
        systemClock.monotonicMs() < end,
        `a watcher is at ${Math.min(...this.watchers.map((each) => each.revision))}, the store at ${revision}`,
      );
      await systemClock.sleep(50);
    }
  }

  async #write(store: Store, writer: string): Promise<void> {
    let last = 0;
    for (let sequence = 0; !this.#stop.signal.aborted; sequence++) {
      const key = `${prefix}${writer}/${String(sequence).padStart(6, '0')}`;
      const write: Write = { key };
      this.writes.push(write);
      try {
        const { succeeded, revision } = await store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value: Buffer.from(key) }]);
        if (!succeeded) this.problems.push(`${key} was there before it was written`);
        if (revision <= last) this.problems.push(`the revision went from ${last} to ${revision}`);
        last = revision;
        write.revision = revision;
        this.#acknowledge();
        if (sequence % 10 === 0) await this.#readBack(key, revision);
      } catch (error) {
        write.outcome = this.#outcome(error, key);
        await systemClock.sleep(100);
      }
      await systemClock.sleep(5);
    }
  }

  /** Through another client: what was acknowledged is there for everybody. */
  async #readBack(key: string, revision: number): Promise<void> {
    const store = this.#stores[revision % this.#stores.length]!;
    try {
      if ((await store.get(key))?.modRevision !== revision) this.problems.push(`${key} was acknowledged at ${revision} and is not there`);
    } catch (error) {
      this.#outcome(error, key);
    }
  }

  async #count(store: Store, index: number): Promise<void> {
    const key = `${prefix}counter`;
    while (!this.#stop.signal.aborted) {
      try {
        const entry = await store.get(key);
        const value = Buffer.from(String(Number(Buffer.from(entry?.value ?? []).toString() || '0') + 1));
        const compare = { key, modRevision: entry?.modRevision ?? 0 };
        if ((await store.transact([compare], [{ type: 'put', key, value }])).succeeded) this.increments.acknowledged += 1;
      } catch (error) {
        if (this.#outcome(error, key) === 'unknown') this.increments.unknown += 1;
      }
      await systemClock.sleep(20 + index);
    }
  }

  async #watch(store: Store, watcher: Watcher): Promise<void> {
    const { signal } = this.#watching;
    while (!signal.aborted) {
      try {
        for await (const events of store.watch({ prefix, fromRevision: watcher.revision + 1, signal })) {
          if (new Set(events.map(({ revision }) => revision)).size !== 1) this.problems.push('events of several revisions came together');
          for (const event of events) {
            watcher.events.push(event);
            if (event.type === 'put') watcher.known.set(event.key, event.revision);
            else watcher.known.delete(event.key);
          }
          watcher.revision = events.at(-1)!.revision;
        }
      } catch (error) {
        if (!(error instanceof EvercertError && error.code === 'FailedPrecondition'))
          this.problems.push(`a watch failed: ${String(error)}`);
        await this.#relist(store, watcher);
      }
    }
  }

  async #relist(store: Store, watcher: Watcher): Promise<void> {
    watcher.relists += 1;
    try {
      const { entries, revision } = await store.range({ prefix });
      watcher.gaps.push({ from: watcher.revision, to: revision });
      watcher.known.clear();
      for (const entry of entries) watcher.known.set(entry.key, entry.modRevision);
      watcher.revision = revision;
    } catch (error) {
      this.#outcome(error, 'a list');
      await systemClock.sleep(100);
    }
  }

  #outcome(error: unknown, what: string): 'unknown' | 'not-applied' {
    if (!(error instanceof EvercertError) || (error.code !== 'StoreFailure' && error.code !== 'DiskFull')) {
      this.problems.push(`${what} failed in a way that the store does not promise: ${String(error)}`);
    }
    return error instanceof EvercertError && error.metadata['outcome'] !== 'unknown' ? 'not-applied' : 'unknown';
  }

  #acknowledge(): void {
    const now = systemClock.monotonicMs();
    this.longestPauseMs = Math.max(this.longestPauseMs, now - this.#lastAckMs);
    this.#lastAckMs = now;
  }
}
