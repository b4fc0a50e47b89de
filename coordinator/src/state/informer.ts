import { type Clock, systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Store, WatchEvent } from '../store/index.ts';
import { decodeRecord } from './records.ts';

export interface Cached<T> {
  record: T;
  modRevision: number;
}

export type Change<T> = { type: 'put'; key: string; record: T; previous?: T } | { type: 'delete'; key: string; previous: T };

/**
 * A copy in memory of all records under a prefix, kept current by a watch (what Kubernetes calls an informer). Decisions read it; what they write is guarded by comparisons
 * in the store, so that a copy that is a moment behind does no harm.
 */
export class Informer<T extends object> {
  readonly prefix: string;
  readonly #store: Store;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #decode: (key: string, value: Uint8Array) => T;
  readonly #entries = new Map<string, Cached<T>>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #stop = new AbortController();
  #revision = 0;
  #running: Promise<void> | undefined;

  /** @param decode what is kept of a value; by default the record that it holds. */
  constructor(
    store: Store,
    prefix: string,
    logger: Logger,
    clock: Clock = systemClock,
    decode: (key: string, value: Uint8Array) => T = decodeRecord,
  ) {
    this.#store = store;
    this.prefix = prefix;
    this.#logger = logger;
    this.#clock = clock;
    this.#decode = decode;
  }

  /** Reads everything once, then follows. Resolves when the first read is complete. */
  async start(): Promise<void> {
    await this.#list();
    this.#running = this.#follow();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  get(key: string): Cached<T> | undefined {
    return this.#entries.get(key);
  }

  /** All records whose key starts with the prefix, in the keys' order. */
  list(prefix: string = this.prefix): T[] {
    const found = [...this.#entries].filter(([key]) => key.startsWith(prefix));
    return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry.record);
  }

  /** The same with their keys, in no order. */
  entries(prefix: string = this.prefix): { key: string; record: T }[] {
    return [...this.#entries].flatMap(([key, { record }]) => (key.startsWith(prefix) ? [{ key, record }] : []));
  }

  /** Calls back after each change; returns a function that ends it. */
  subscribe(listener: (change: Change<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Puts a committed write of this process in at once, without waiting for the watch. */
  accept(key: string, record: T, modRevision: number): void {
    // The watch is past it: what it brought is this, or newer; or another has deleted it since.
    if (modRevision > this.#revision) this.#put(key, record, modRevision);
  }

  /** The same for a committed deletion. */
  drop(key: string, revision: number): void {
    this.#apply({ type: 'delete', key, revision });
  }

  async #list(): Promise<void> {
    const { entries, revision } = await this.#store.range({ prefix: this.prefix });
    const present = new Set(entries.map(({ key }) => key));
    for (const key of this.#entries.keys()) if (!present.has(key)) this.#apply({ type: 'delete', key, revision });
    for (const entry of entries) this.#apply({ type: 'put', key: entry.key, entry, revision: entry.modRevision });
    this.#revision = Math.max(this.#revision, revision);
  }

  async #follow(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const batch of this.#store.watch({ prefix: this.prefix, fromRevision: this.#revision + 1, signal })) {
          for (const event of batch) this.#apply(event);
          this.#revision = Math.max(this.#revision, batch.at(-1)?.revision ?? 0);
        }
      } catch (error) {
        if (signal.aborted) return;
        this.#logger.warn('the watch on the store broke off; reading everything again', { prefix: this.prefix, error: String(error) });
        await this.#relist();
      }
    }
  }

  async #relist(): Promise<void> {
    try {
      await this.#clock.sleep(100, this.#stop.signal);
      await this.#list();
    } catch (error) {
      if (!(error instanceof EvercertError && error.code === 'Cancelled')) {
        this.#logger.error('cannot read the store', { prefix: this.prefix, error: String(error) });
      }
    }
  }

  #apply(event: WatchEvent): void {
    const known = this.#entries.get(event.key);
    if (event.type === 'delete') {
      if (!known || known.modRevision > event.revision) return;
      this.#entries.delete(event.key);
      this.#notify({ type: 'delete', key: event.key, previous: known.record });
      return;
    }
    // What this process has written itself it knows already.
    if (!event.entry || (known && known.modRevision >= event.entry.modRevision)) return;
    this.#put(event.key, this.#decode(event.key, event.entry.value), event.entry.modRevision);
  }

  #put(key: string, record: T, modRevision: number): void {
    const known = this.#entries.get(key);
    if (known && known.modRevision >= modRevision) return;
    this.#entries.set(key, { record, modRevision });
    this.#notify({ type: 'put', key, record, ...(known && { previous: known.record }) });
  }

  #notify(change: Change<T>): void {
    for (const listener of this.#listeners) listener(change);
  }
}
