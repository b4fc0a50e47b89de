import type { Clock, Timer } from '@evercert/shared/clock';
import type { ProcessClock } from './process-clock.ts';
import type { VirtualTime } from './time.ts';

/** So long after something has happened, time passes at its own pace. */
const livelyMs = 30_000;

/**
 * For what looks at its clock every second, although nothing happens for days: its timers come every six hours, but at their own pace for a while before and after each thing that it could
 * notice. Both clocks stay what they are.
 */
export class PacedClock implements Clock {
  static readonly restMs = 6 * 3600_000;
  readonly #clock: ProcessClock;
  readonly #time: VirtualTime;
  readonly #waiting = new Map<number, { timer: Timer; callback: () => void }>();
  #next = 0;
  #livelyUntilMs: number;

  constructor(clock: ProcessClock, time: VirtualTime) {
    this.#clock = clock;
    this.#time = time;
    this.#livelyUntilMs = time.nowMs + livelyMs;
  }

  nowMs(): number {
    return this.#clock.nowMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  at(wallMs: number, callback: () => void): Timer {
    return this.#clock.at(wallMs, callback);
  }

  after(durationMs: number, callback: () => void): Timer {
    const id = this.#next;
    this.#next += 1;
    const fire = (): void => {
      this.#waiting.delete(id);
      callback();
    };
    const timer = this.#clock.after(this.#time.nowMs < this.#livelyUntilMs ? durationMs : PacedClock.restMs, fire);
    this.#waiting.set(id, { timer, callback: fire });
    return { cancel: () => this.#cancel(id) };
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return this.#clock.sleep(durationMs, signal);
  }

  /** Something happens that could be noticed: whoever waits looks now, and at its own pace for a while. */
  stir(): void {
    this.#livelyUntilMs = this.#time.nowMs + livelyMs;
    for (const [id, { callback }] of [...this.#waiting]) {
      this.#cancel(id);
      callback();
    }
  }

  #cancel(id: number): void {
    this.#waiting.get(id)?.timer.cancel();
    this.#waiting.delete(id);
  }
}
