import { type Clock, sleepOn, type Timer } from '@evercert/shared/clock';
import type { Scheduled, VirtualTime } from './time.ts';

/** The wall clock of a machine: so far ahead of true time. */
export interface WallClock {
  offsetMs: number;
}

interface WallTimer {
  dueMs: number;
  scheduled: Scheduled;
  callback: () => void;
}

/** The clock that one process of the coordinator lives by: its wall clock may be stepped, its monotonic clock begins with the process, and its timers end with it. */
export class ProcessClock implements Clock {
  readonly #time: VirtualTime;
  readonly #wall: WallClock;
  readonly #bornMs: number;
  readonly #wallTimers = new Set<WallTimer>();
  #alive = true;

  constructor(time: VirtualTime, wall: WallClock) {
    this.#time = time;
    this.#wall = wall;
    this.#bornMs = time.nowMs;
  }

  nowMs(): number {
    return this.#time.nowMs + this.#wall.offsetMs;
  }

  monotonicMs(): number {
    return this.#time.nowMs - this.#bornMs;
  }

  at(wallMs: number, callback: () => void): Timer {
    const timer: WallTimer = { dueMs: wallMs, callback, scheduled: this.#schedule(wallMs, () => this.#fire(timer)) };
    this.#wallTimers.add(timer);
    return {
      cancel: () => {
        timer.scheduled.cancelled = true;
        this.#wallTimers.delete(timer);
      },
    };
  }

  after(durationMs: number, callback: () => void): Timer {
    const scheduled = this.#time.after(durationMs, () => {
      if (this.#alive) callback();
    });
    return {
      cancel: () => {
        scheduled.cancelled = true;
      },
    };
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, durationMs, signal);
  }

  /** The wall clock was stepped: what waits for a time of it waits anew. */
  stepped(): void {
    for (const timer of this.#wallTimers) {
      timer.scheduled.cancelled = true;
      timer.scheduled = this.#schedule(timer.dueMs, () => this.#fire(timer));
    }
  }

  /** The process ends without a word: no timer of it ever calls back. */
  kill(): void {
    this.#alive = false;
    for (const timer of this.#wallTimers) timer.scheduled.cancelled = true;
    this.#wallTimers.clear();
  }

  #schedule(wallMs: number, run: () => void): Scheduled {
    return this.#time.at(wallMs - this.#wall.offsetMs, run);
  }

  #fire(timer: WallTimer): void {
    this.#wallTimers.delete(timer);
    if (this.#alive) timer.callback();
  }
}
