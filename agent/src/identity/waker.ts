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

  /** Resolves after a duration, when woken (then with true), or when the signal aborts. */
  wait(durationMs: number, signal: AbortSignal): Promise<boolean> {
    return this.#start(signal, (done) => this.#clock.after(durationMs, done));
  }

  /** Resolves once the wall clock reads `wallMs`, when woken, or when the signal aborts. */
  waitUntil(wallMs: number, signal: AbortSignal): Promise<boolean> {
    return this.#start(signal, (done) => this.#clock.at(wallMs, done));
  }

  #start(signal: AbortSignal, begin: (done: () => void) => Timer): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const end = (woken: boolean): void => {
        timer.cancel();
        signal.removeEventListener('abort', aborted);
        this.#wake = () => {};
        resolve(woken);
      };
      const aborted = (): void => end(false);
      const timer = begin(() => end(false));
      this.#wake = () => end(true);
      signal.addEventListener('abort', aborted, { once: true });
    });
  }
}
