import { setImmediate as nextTurn } from 'node:timers/promises';
import { invalid } from './limits.ts';
import type { WatchEvent, WatchOptions } from './types.ts';
import { type ChangeLog, Watcher } from './watcher.ts';

/** Hands committed changes to the watchers of this process. Watchers are found by the prefix they watch, so that many of them cost little. */
export class WatchHub {
  readonly #log: ChangeLog;
  readonly #queueEvents: number;
  /** By length of the prefix, then by prefix. */
  readonly #watchers = new Map<number, Map<string, Set<Watcher>>>();

  constructor(log: ChangeLog, options: { queueEvents: number }) {
    this.#log = log;
    this.#queueEvents = options.queueEvents;
  }

  /** False: nobody watches, and the events need not be made. */
  get active(): boolean {
    return this.#watchers.size > 0;
  }

  watch(options: WatchOptions): AsyncIterable<WatchEvent[]> {
    const { prefix, fromRevision } = options;
    if (fromRevision !== undefined && (!Number.isSafeInteger(fromRevision) || fromRevision < 1)) {
      throw invalid(`fromRevision is a whole number from 1, not ${fromRevision}`);
    }
    const watcher = new Watcher(this.#log, prefix, fromRevision ?? this.#log.revision + 1, this.#queueEvents);
    if (options.signal.aborted) watcher.end();
    else this.#add(watcher, options.signal);
    return this.#iterate(watcher);
  }

  /** The changes of one committed revision. */
  publish(changes: WatchEvent[]): void {
    const found = new Map<Watcher, WatchEvent[]>();
    for (const event of changes) {
      for (const [length, byPrefix] of this.#watchers) {
        if (length > event.key.length) continue;
        for (const watcher of byPrefix.get(event.key.slice(0, length)) ?? []) {
          const events = found.get(watcher);
          if (events) events.push(event);
          else found.set(watcher, [event]);
        }
      }
    }
    for (const [watcher, events] of found) watcher.offer(events);
  }

  /** Ends every watch with the error. */
  close(error: Error): void {
    const all = [...this.#watchers.values()].flatMap((byPrefix) => [...byPrefix.values()].flatMap((set) => [...set]));
    for (const watcher of all) watcher.end(error);
  }

  #add(watcher: Watcher, signal: AbortSignal): void {
    const byPrefix = getOrAdd(this.#watchers, watcher.prefix.length, () => new Map<string, Set<Watcher>>());
    const set = getOrAdd(byPrefix, watcher.prefix, () => new Set<Watcher>());
    set.add(watcher);
    const onAbort = (): void => watcher.end();
    signal.addEventListener('abort', onAbort, { once: true });
    watcher.onEnd = () => {
      signal.removeEventListener('abort', onAbort);
      set.delete(watcher);
      if (set.size === 0) byPrefix.delete(watcher.prefix);
      if (byPrefix.size === 0) this.#watchers.delete(watcher.prefix.length);
    };
  }

  async *#iterate(watcher: Watcher): AsyncGenerator<WatchEvent[], void, void> {
    try {
      while (!watcher.ended) {
        const changes = watcher.take();
        if (changes) yield changes;
        else if (watcher.behind) await nextTurn();
        else await watcher.changed();
      }
      if (watcher.error) throw watcher.error;
    } finally {
      watcher.end();
    }
  }
}

function getOrAdd<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
