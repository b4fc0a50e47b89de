import { type Clock, sleepOn, type Timer } from '@evercert/shared/clock';
import type { ProcessClock } from './process-clock.ts';

const pollMs = 1000;
const longestPollMs = 60_000;
const napMs = 60_000;
const longestNapMs = 10 * 60_000;

/** For who looks again and again whether something has come, and is poked when it has: its looks become rarer while nothing does. */
export class StretchedClock implements Clock {
  readonly #clock: ProcessClock;
  readonly #touched: () => void;
  #looks = 0;

  constructor(clock: ProcessClock, touched: () => void) {
    this.#clock = clock;
    this.#touched = touched;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  at(wallMs: number, callback: () => void): Timer {
    return this.#clock.at(wallMs, this.#touching(callback));
  }

  after(durationMs: number, callback: () => void): Timer {
    return this.#clock.after(durationMs, this.#touching(callback));
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, this.#stretched(durationMs), signal);
  }

  /** Something came. */
  poked(): void {
    this.#looks = 0;
    this.#touched();
  }

  #stretched(ms: number): number {
    if (ms > pollMs && ms !== napMs) return ms;
    this.#looks += 1;
    return Math.min(ms === napMs ? longestNapMs : longestPollMs, ms * 2 ** Math.min(this.#looks, 20));
  }

  #touching(callback: () => void): () => void {
    return () => {
      this.#touched();
      callback();
    };
  }
}
