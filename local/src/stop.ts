import type { Clock } from '@evercert/shared/clock';

const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** npm and a terminal may each deliver the same Ctrl-C: a second signal within this time is not a second wish. */
const sameWishMs = 1000;

/**
 * Turns the first SIGINT, SIGTERM or SIGHUP into an abort, after which all is stopped in order. Another one later means "now": `onImpatience` kills, and this process
 * ends with 130.
 */
export class StopRequests {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #onImpatience: () => void;
  #firstMs: number | undefined;

  constructor(clock: Clock, onImpatience: () => void) {
    this.#clock = clock;
    this.#onImpatience = onImpatience;
    for (const signal of signals) process.on(signal, this.#onSignal);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  release(): void {
    for (const signal of signals) process.off(signal, this.#onSignal);
  }

  readonly #onSignal = (): void => {
    const nowMs = this.#clock.monotonicMs();
    if (this.#firstMs === undefined) {
      this.#firstMs = nowMs;
      this.#abort.abort();
    } else if (nowMs - this.#firstMs >= sameWishMs) {
      this.#onImpatience();
      process.exit(130);
    }
  };
}
