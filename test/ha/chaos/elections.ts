/** Watches who leads, in the store itself. */
import type { Store, WatchEvent } from '@evercert/coordinator/store';
import { pause } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';

const leaderKey = '/evercert/v1/leader';

export class Elections {
  /** When each leader was elected, by this machine's clock. */
  readonly at: { ms: number; address: string }[] = [];
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;

  constructor(store: Store) {
    this.#running = this.#watch(store);
  }

  /** Milliseconds from the moment to the election that followed it. */
  after(ms: number): number | undefined {
    const next = this.at.find((election) => election.ms > ms);
    return next && next.ms - ms;
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }

  async #watch(store: Store): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        for await (const events of store.watch({ prefix: leaderKey, signal })) this.#take(events);
      } catch {
        // The driver has lost its place while members came and went: from now on, then.
        await pause(systemClock, 100, signal);
      }
    }
  }

  #take(events: readonly WatchEvent[]): void {
    for (const { entry } of events) {
      if (!entry) continue;
      const { address } = JSON.parse(Buffer.from(entry.value).toString()) as { address: string };
      this.at.push({ ms: systemClock.nowMs(), address });
    }
  }
}
