import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { CoordinatorLease } from '../leadership/index.ts';
import { Informer } from '../state/informer.ts';
import { layout, partsAfter } from '../state/layout.ts';
import { encodeRecord, type SessionRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';

export interface SessionsOptions {
  store: Store;
  lease: Pick<CoordinatorLease, 'id' | 'isHeld' | 'subscribe'>;
  /** Of this coordinator. */
  id: string;
  clock: Clock;
  logger: Logger;
  /** Nothing heard on a stream for so long is told to the others. */
  quietAfterMs: number;
}

/** Changes that come together are written together: a herd that returns is some dozens of transactions. */
const flushAfterMs = 100;
const flushBatch = 100;
const retryMs = 1000;
/** A look that comes so much later than it should tells that this process stood still: that its streams were silent is its own fault. */
const standstillMs = 5000;

/** A stream at this coordinator. */
interface Own {
  record: SessionRecord;
  /** Of the write that told it; undefined: not written yet. */
  revision?: number;
}

/** A session that is not here. */
export interface SessionElsewhere {
  record: SessionRecord;
  /** When it was heard of, as it is now, by the monotonic clock. */
  heardMonotonicMs: number;
}

/**
 * Which coordinator each node's stream is at. Every coordinator tells of its own, on its lease, and follows those of the others; the newest stream of a node counts. A coordinator that has its store
 * for itself keeps them in memory alone.
 */
export class Sessions {
  readonly informer: Informer<SessionRecord>;
  readonly #options: SessionsOptions;
  readonly #own = new Map<string, Own>();
  readonly #heard = new Map<string, number>();
  readonly #counts = new Map<string, number>();
  readonly #dirty = new Set<string>();
  readonly #listeners = new Set<(cluster: string, node: string, ended: boolean) => void>();
  readonly #takenOver = new Set<(cluster: string, node: string) => void>();
  readonly #stops: (() => void)[] = [];
  #silentMs: (cluster: string, node: string) => number | undefined = () => undefined;
  #flushTimer: Timer | undefined;
  #lookTimer: Timer | undefined;
  #lookedMs = 0;
  #flushing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.informer = new Informer(options.store, layout.sessions, options.logger, options.clock);
  }

  async start(): Promise<void> {
    if (!this.#options.store.shared) return;
    this.#stops.push(
      this.informer.subscribe((change) => {
        this.#count(change.previous, -1);
        if (change.type === 'put') this.#count(change.record, 1);
        this.#changed(change.key, change.type === 'delete');
      }),
      this.#options.lease.subscribe(() => this.#leaseChanged()),
    );
    await this.informer.start();
  }

  /** `silentMs`: how long nothing was heard on a stream here. From now on silence is told. */
  look(silentMs: (cluster: string, node: string) => number | undefined): void {
    if (!this.#options.store.shared) return;
    this.#silentMs = silentMs;
    this.#lookedMs = this.#options.clock.monotonicMs();
    this.#scheduleLook();
  }

  /** What is told of the streams here ends with the lease. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#flushTimer?.cancel();
    this.#lookTimer?.cancel();
    for (const stop of this.#stops.splice(0)) stop();
    await this.#flushing;
    if (this.#options.store.shared) await this.informer.stop();
  }

  attached(cluster: string, node: string): void {
    const record = { cluster, node, coordinator: this.#options.id, sinceMs: this.#options.clock.nowMs() };
    const key = layout.session(cluster, node);
    this.#own.set(key, { record });
    this.#markDirty(key);
  }

  detached(cluster: string, node: string): void {
    const key = layout.session(cluster, node);
    if (this.#own.delete(key)) this.#markDirty(key);
  }

  /** Its stream is at this coordinator. */
  isHere(cluster: string, node: string): boolean {
    return this.#own.has(layout.session(cluster, node));
  }

  /** Its stream is at some coordinator. */
  isConnected(cluster: string, node: string): boolean {
    const key = layout.session(cluster, node);
    return this.#own.has(key) || this.informer.get(key) !== undefined;
  }

  /** The session of a node whose stream is at another coordinator. */
  elsewhere(cluster: string, node: string): SessionElsewhere | undefined {
    const key = layout.session(cluster, node);
    const record = this.#own.has(key) ? undefined : this.informer.get(key)?.record;
    if (!record || record.coordinator === this.#options.id) return undefined;
    return { record, heardMonotonicMs: this.#heard.get(key) ?? this.#options.clock.monotonicMs() };
  }

  /** How many nodes have their streams at a coordinator. */
  nodesAt(coordinator: string): number {
    return coordinator === this.#options.id ? this.#own.size : (this.#counts.get(coordinator) ?? 0);
  }

  /** Calls back when a session at another coordinator has begun, ended, or is told of otherwise. Returns a function that ends it. */
  subscribe(listener: (cluster: string, node: string, ended: boolean) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls back when a node has a newer stream at another coordinator: the one here is of no use any more. */
  onTakenOver(listener: (cluster: string, node: string) => void): void {
    this.#takenOver.add(listener);
  }

  #count(record: SessionRecord | undefined, by: number): void {
    if (!record) return;
    const count = (this.#counts.get(record.coordinator) ?? 0) + by;
    if (count > 0) this.#counts.set(record.coordinator, count);
    else this.#counts.delete(record.coordinator);
  }

  #changed(key: string, ended: boolean): void {
    const [cluster = '', node = ''] = partsAfter(layout.sessions, key);
    if (ended) this.#heard.delete(key);
    else this.#heard.set(key, this.#options.clock.monotonicMs());
    const own = this.#own.get(key);
    if (!own) {
      for (const listener of this.#listeners) listener(cluster, node, ended);
    } else if (ended) this.#markDirty(key);
    else this.#yieldTo(key, own);
  }

  /** What was written after the stream here was told of is newer than it. */
  #yieldTo(key: string, own: Own): boolean {
    const now = this.informer.get(key);
    if (!now || now.record.coordinator === this.#options.id || own.revision === undefined || now.modRevision <= own.revision) return false;
    const { cluster, node } = own.record;
    this.#own.delete(key);
    for (const listener of this.#takenOver) listener(cluster, node);
    return true;
  }

  /** All that hung on the old lease is gone, or will be. */
  #leaseChanged(): void {
    const { lease } = this.#options;
    if (!lease.isHeld()) return;
    for (const [key, own] of this.#own) if (!this.#yieldTo(key, own)) this.#markDirty(key);
  }

  #markDirty(key: string): void {
    if (!this.#options.store.shared || this.#stopped) return;
    this.#dirty.add(key);
    this.#scheduleFlush(flushAfterMs);
  }

  #scheduleFlush(ms: number): void {
    if (this.#stopped || this.#flushTimer !== undefined || this.#flushing !== undefined) return;
    this.#flushTimer = this.#options.clock.after(ms, () => {
      this.#flushTimer = undefined;
      this.#flushing = this.#flush().then((again) => {
        this.#flushing = undefined;
        if (this.#dirty.size > 0) this.#scheduleFlush(again ? flushAfterMs : retryMs);
      });
    });
  }

  /** False: it failed. */
  async #flush(): Promise<boolean> {
    const { lease, logger } = this.#options;
    try {
      while (this.#dirty.size > 0 && !this.#stopped) {
        // There is nothing to hang them on; another lease brings all of them back.
        if (!lease.isHeld() || lease.id === undefined) return false;
        const batch = [...this.#dirty].slice(0, flushBatch);
        await this.#write(batch, lease.id);
      }
      return true;
    } catch (error) {
      logger.warn('cannot tell the other coordinators which nodes are here; trying again', { error: describeError(error) });
      return false;
    }
  }

  /** Sessions that have begun are put whatever was there; those that have ended are deleted where nobody else has put one since. */
  async #write(keys: readonly string[], lease: string): Promise<void> {
    const { store, id } = this.#options;
    const compares: Compare[] = [];
    const operations: Operation[] = [];
    const put = new Map<string, Own>();
    for (const key of keys) {
      const own = this.#own.get(key);
      const there = this.informer.get(key);
      if (own) {
        put.set(key, own);
        operations.push({ type: 'put', key, value: encodeRecord(own.record), lease });
      } else if (there?.record.coordinator === id) {
        compares.push({ key, modRevision: there.modRevision });
        operations.push({ type: 'delete', key });
      }
    }
    for (const key of keys) this.#dirty.delete(key);
    if (operations.length === 0) return;
    const { succeeded, revision } = await store.transact(compares, operations).catch((error: unknown) => {
      for (const key of keys) this.#dirty.add(key);
      throw error;
    });
    if (!succeeded) {
      // One of them was taken over meanwhile: the others have to be told all the same.
      if (keys.length === 1) return;
      const half = Math.ceil(keys.length / 2);
      await this.#write(keys.slice(0, half), lease);
      return this.#write(keys.slice(half), lease);
    }
    for (const [key, own] of put) {
      own.revision = revision;
      this.informer.accept(key, own.record, revision);
    }
    for (const { key } of compares) this.informer.drop(key, revision);
  }

  #scheduleLook(): void {
    const { clock, quietAfterMs } = this.#options;
    const everyMs = Math.max(1000, quietAfterMs / 4);
    this.#lookTimer = clock.after(everyMs, () => {
      const lateMs = clock.monotonicMs() - this.#lookedMs - everyMs;
      this.#lookedMs = clock.monotonicMs();
      if (lateMs < standstillMs) this.#tellSilent();
      if (!this.#stopped) this.#scheduleLook();
    });
  }

  /** Its stream is open and its agent may be frozen, or its machine gone without a word. */
  #tellSilent(): void {
    for (const [key, own] of this.#own) {
      const { cluster, node, silentForMs: told } = own.record;
      const silentForMs = this.#silentMs(cluster, node) ?? 0;
      const isSilent = silentForMs > this.#options.quietAfterMs;
      if (isSilent === (told !== undefined)) continue;
      const { silentForMs: _told, ...rest } = own.record;
      own.record = isSilent ? { ...rest, silentForMs } : rest;
      this.#markDirty(key);
    }
  }
}
