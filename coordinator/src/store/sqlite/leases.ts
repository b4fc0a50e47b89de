import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { LeaseRow } from './tables.ts';

interface Lease {
  ttlMs: number;
  /** By the monotonic clock, so that a step of the wall clock ends no lease. The wall clock counts only across a restart. */
  deadlineMs: number;
}

/** The live leases and the one timer that waits for the first to run out. What a batch changes here, it can undo. */
export class Leases {
  readonly #clock: Clock;
  readonly #leases = new Map<string, Lease>();
  readonly #onExpiry: () => void;
  #timer: Timer | undefined;
  #timerDueMs = Number.POSITIVE_INFINITY;

  /** `onExpiry` is called when a lease has run out; the owner then ends those that `expired` names, and calls `schedule`. */
  constructor(clock: Clock, rows: readonly LeaseRow[], onExpiry: () => void) {
    this.#clock = clock;
    this.#onExpiry = onExpiry;
    for (const { id, ttlMs, expiresAtMs } of rows) {
      const leftMs = Math.min(Math.max(0, expiresAtMs - clock.nowMs()), ttlMs);
      this.#leases.set(id, { ttlMs, deadlineMs: clock.monotonicMs() + leftMs });
    }
  }

  /** NotFound: there is no such lease, or it has run out. */
  require(id: string): Lease {
    const lease = this.#leases.get(id);
    if (lease && lease.deadlineMs > this.#clock.monotonicMs()) return lease;
    throw new EvercertError('NotFound', `the lease ${id} has run out or was revoked; take a new one`, { metadata: { lease: id } });
  }

  /** Grants or renews a lease to its whole time to live; returns what to persist. */
  set(id: string, ttlMs: number, undo: (() => void)[]): LeaseRow {
    this.#remember(id, undo);
    this.#leases.set(id, { ttlMs, deadlineMs: this.#clock.monotonicMs() + ttlMs });
    return { id, ttlMs, expiresAtMs: Math.ceil(this.#clock.nowMs() + ttlMs) };
  }

  delete(id: string, undo: (() => void)[]): void {
    this.#remember(id, undo);
    this.#leases.delete(id);
  }

  expired(): string[] {
    const now = this.#clock.monotonicMs();
    return [...this.#leases].filter(([, lease]) => lease.deadlineMs <= now).map(([id]) => id);
  }

  /** Sets the timer for the first lease to run out, not sooner than `notBeforeMs` from now. A timer that is due earlier already stays. */
  schedule(notBeforeMs = 0): void {
    const now = this.#clock.monotonicMs();
    let first = Number.POSITIVE_INFINITY;
    for (const { deadlineMs } of this.#leases.values()) first = Math.min(first, deadlineMs);
    const due = Math.max(first, now + notBeforeMs);
    if (due >= this.#timerDueMs || due === Number.POSITIVE_INFINITY) return;
    this.#timer?.cancel();
    this.#timerDueMs = due;
    this.#timer = this.#clock.after(due - now, () => {
      this.#timer = undefined;
      this.#timerDueMs = Number.POSITIVE_INFINITY;
      this.#onExpiry();
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #remember(id: string, undo: (() => void)[]): void {
    const before = this.#leases.get(id);
    undo.push(() => {
      if (before) this.#leases.set(id, before);
      else this.#leases.delete(id);
    });
  }
}
