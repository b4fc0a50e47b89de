import type { Clock, Timer } from '@evercert/shared/clock';

const signals: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];
/** npm and a terminal may each deliver the same Ctrl-C: a second signal within this time is not a second wish. */
const sameWishMs = 1000;
const parentLookMs = 1000;

export interface StopOptions {
  clock: Clock;
  /** Another signal later than the first means "now": this kills, and the process ends with 130. */
  onImpatience: () => void;
  /** The end of the parent process is a wish to stop too: where it is a wrapper that passes signals on, nobody else could stop this process any more. */
  endWithParent: boolean;
}

/** Turns the first SIGINT, SIGTERM or SIGHUP into an abort, after which all is stopped in order. */
export class StopRequests {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #onImpatience: () => void;
  #firstMs: number | undefined;
  #parentLook: Timer | undefined;

  constructor({ clock, onImpatience, endWithParent }: StopOptions) {
    this.#clock = clock;
    this.#onImpatience = onImpatience;
    for (const signal of signals) process.on(signal, this.#onSignal);
    if (endWithParent) this.#watchParent(process.ppid);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  release(): void {
    for (const signal of signals) process.off(signal, this.#onSignal);
    this.#parentLook?.cancel();
  }

  #watchParent(parent: number): void {
    this.#parentLook = this.#clock.after(parentLookMs, () => {
      if (process.ppid === parent) this.#watchParent(parent);
      else this.#abort.abort();
    });
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
