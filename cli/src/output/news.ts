import type { Clock, Timer } from '@evercert/shared/clock';

/** A node renews a certificate after the other: what its times have come to is shown once. */
const quietMs = 5000;

/** What a row tells of an item, as text that is compared. */
export interface RowState {
  /** A row at once when it changes. */
  steady: string;
  /** Times of the past and the future, whose changes come in numbers: a row for all of some seconds. */
  times: string;
}

interface Kept<T> {
  shown: RowState;
  /** Not shown yet. */
  waiting: { item: T; state: RowState; timer: Timer } | undefined;
}

/** Decides when a watch has a row for an item. The last state of each is always shown: at once, some seconds later, or when the watch ends. */
export class News<T> {
  readonly #clock: Clock;
  readonly #show: (item: T) => void;
  readonly #kept = new Map<string, Kept<T>>();

  /** `show` prints a row that was held back. */
  constructor(clock: Clock, show: (item: T) => void) {
    this.#clock = clock;
    this.#show = show;
  }

  /** True: it is shown now. */
  take(key: string, item: T, state: RowState): boolean {
    const kept = this.#kept.get(key);
    if (kept?.shown.steady === state.steady) {
      this.#wait(kept, item, state);
      return false;
    }
    kept?.waiting?.timer.cancel();
    this.#kept.set(key, { shown: state, waiting: undefined });
    return true;
  }

  /** The item is no more; what was held back of it is not shown. */
  forget(key: string): void {
    this.#kept.get(key)?.waiting?.timer.cancel();
    this.#kept.delete(key);
  }

  /** Shows what was held back. */
  end(): void {
    for (const kept of this.#kept.values()) this.#showWaiting(kept);
  }

  #wait(kept: Kept<T>, item: T, state: RowState): void {
    if (kept.waiting) kept.waiting = { ...kept.waiting, item, state };
    else if (kept.shown.times !== state.times)
      kept.waiting = { item, state, timer: this.#clock.after(quietMs, () => this.#showWaiting(kept)) };
  }

  #showWaiting(kept: Kept<T>): void {
    const { waiting, shown } = kept;
    if (!waiting) return;
    waiting.timer.cancel();
    kept.waiting = undefined;
    if (waiting.state.times === shown.times) return;
    kept.shown = waiting.state;
    this.#show(waiting.item);
  }
}
