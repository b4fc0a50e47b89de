import type { Clock, Timer } from '@evercert/shared/clock';

/** A wait that can be cut short. */
export class Waker {
  readonly #clock: Clock;
  #wake: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Ends the wait that is going on, if any. */
  wake(): void {
    this.#wake();
  }

  /** Resolves after a duration, when woken, or when the signal aborts. */
  wait(durationMs: number, signal: AbortSignal): Promise<void> {
    return this.#start(signal, (done) => this.#clock.after(durationMs, done));
  }

  /** Resolves once the wall clock reads `wallMs`, when woken, or when the signal aborts. */
  waitUntil(wallMs: number, signal: AbortSignal): Promise<void> {
    return this.#start(signal, (done) => this.#clock.at(wallMs, done));
  }

  #start(signal: AbortSignal, begin: (done: () => void) => Timer): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener('abort', done);
        this.#wake = () => {};
        resolve();
      };
      const timer = begin(done);
      this.#wake = done;
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
