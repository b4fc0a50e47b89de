import { type Clock, sleepOn, type Timer } from './system.ts';

interface Entry {
  /** True: due by wall clock; false: by the monotonic clock. */
  wall: boolean;
  dueMs: number;
  callback: () => void;
}

/** A clock that stands still until a test moves it. `step` moves the wall clock alone, as an administrator or NTP does. */
export class FakeClock implements Clock {
  #wallMs: number;
  #monotonicMs = 0;
  readonly #entries = new Set<Entry>();

  constructor(startMs = Date.parse('2026-01-01T00:00:00Z')) {
    this.#wallMs = startMs;
  }

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  at(wallMs: number, callback: () => void): Timer {
    return this.#add({ wall: true, dueMs: wallMs, callback });
  }

  after(durationMs: number, callback: () => void): Timer {
    return this.#add({ wall: false, dueMs: this.#monotonicMs + durationMs, callback });
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, durationMs, signal);
  }

  /** Number of timers that wait. */
  get pending(): number {
    return this.#entries.size;
  }

  /** Lets time pass, firing what falls due in its order; awaits the promises that hang on each. */
  async advance(durationMs: number): Promise<void> {
    const end = this.#monotonicMs + durationMs;
    for (;;) {
      await settle();
      const next = this.#next();
      if (next === undefined || this.#leftMs(next) > end - this.#monotonicMs) break;
      this.#pass(Math.max(0, this.#leftMs(next)));
      this.#entries.delete(next);
      next.callback();
    }
    this.#pass(end - this.#monotonicMs);
    await settle();
  }

  /** Moves the wall clock alone by a signed amount. */
  async step(byMs: number): Promise<void> {
    this.#wallMs += byMs;
    await this.advance(0);
  }

  #add(entry: Entry): Timer {
    this.#entries.add(entry);
    return { cancel: () => void this.#entries.delete(entry) };
  }

  #leftMs(entry: Entry): number {
    return entry.dueMs - (entry.wall ? this.#wallMs : this.#monotonicMs);
  }

  #next(): Entry | undefined {
    return [...this.#entries].reduce<Entry | undefined>((best, e) => (!best || this.#leftMs(e) < this.#leftMs(best) ? e : best), undefined);
  }

  #pass(ms: number): void {
    this.#wallMs += ms;
    this.#monotonicMs += ms;
  }
}

/** Lets promise chains run to their next wait. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
