import type { Clock } from '@evercert/shared/clock';
import type { FoundEvent } from './event-feed.ts';

/** Events that came and are not sealed yet. So many wait in memory; then the feed waits. */
const maxWaiting = 20_000;

/** Takes events from the feed as they come, so that the store's watch is never kept waiting by a seal. */
export class Inbox {
  readonly #clock: Clock;
  readonly #events: FoundEvent[] = [];
  #sinceMs = 0;
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
        if (this.#events.length === 0) this.#sinceMs = this.#clock.monotonicMs();
        this.#events.push(...found);
        this.#wake.resolve();
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

  peek(index: number): FoundEvent | undefined {
    return this.#events[index];
  }

  /** Takes the oldest away. */
  drop(count: number): void {
    this.#events.splice(0, count);
    this.#sinceMs = this.#clock.monotonicMs();
    this.#room.resolve();
    this.#room = Promise.withResolvers<void>();
  }

  /** Resolves when something came since the last call, or the feed is over. */
  async changed(): Promise<void> {
    await this.#wake.promise;
    if (!this.#over) this.#wake = Promise.withResolvers<void>();
  }
}
