import type { Clock } from '@evercert/shared/clock';
import { exportedReason, maxBlockEntries } from './draft.ts';
import type { FoundEvent } from './event-feed.ts';

/** Events that came and are not sealed yet. So many wait in memory; then the feed waits. */
const maxWaiting = 20_000;

/** Takes events from the feed as they come, so that the store's watch is never kept waiting by a seal. */
export class Inbox {
  readonly #clock: Clock;
  readonly #events: FoundEvent[] = [];
  #sinceMs = 0;
  #isAwaited = false;
  #failure: unknown;
  #over = false;
  #wake = Promise.withResolvers<void>();
  #room = Promise.withResolvers<void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs until the feed ends. */
  async fill(feed: AsyncIterable<FoundEvent[]>): Promise<void> {
    try {
      for await (const found of feed) {
        const first = this.#events.length === 0;
        if (first) this.#sinceMs = this.#clock.monotonicMs();
        this.#events.push(...found);
        const awaited = found.some(({ record }) => record.reason === exportedReason);
        if (awaited) this.#isAwaited = true;
        if (first || awaited || this.#events.length >= maxBlockEntries) this.#wake.resolve();
        while (this.#events.length >= maxWaiting) await this.#room.promise;
      }
    } catch (error) {
      this.#failure = error;
    } finally {
      this.#over = true;
      this.#wake.resolve();
    }
  }

  get size(): number {
    return this.#events.length;
  }

  /** When the oldest came, by the monotonic clock. */
  get sinceMs(): number {
    return this.#sinceMs;
  }

  /** True: nothing more comes. Throws what the feed failed with, once everything before is taken. */
  get over(): boolean {
    if (this.#failure !== undefined && this.#events.length === 0) throw this.#failure;
    return this.#over;
  }

  /** Somebody waits for an event that is here to be sealed. */
  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  peek(index: number): FoundEvent | undefined {
    return this.#events[index];
  }

  /** Takes the oldest away. */
  drop(count: number): void {
    this.#events.splice(0, count);
    if (this.#events.length === 0) this.#isAwaited = false;
    this.#sinceMs = this.#clock.monotonicMs();
    this.#room.resolve();
    this.#room = Promise.withResolvers<void>();
  }

  /** Resolves when the first event came, one that is awaited, or enough for a block; or the feed is over. */
  async changed(): Promise<void> {
    await this.#wake.promise;
    if (!this.#over) this.#wake = Promise.withResolvers<void>();
  }
}
