import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Store } from '../store/index.ts';

export interface CoordinatorLeaseOptions {
  store: Pick<Store, 'shared' | 'grantLease' | 'keepLeaseAlive' | 'revokeLease'>;
  clock: Clock;
  logger: Logger;
  ttlMs: number;
}

/** Renewed so many times within its life, */
const renewals = 4;
/** and taken for over so much before the store can end it: clocks differ in speed, and what was begun has to end. */
const marginShare = 0.15;
/** A renewal that gets no answer must not keep the next from being tried. */
const maxAtOnce = 3;

/**
 * The lease of this process at the store, on which everything hangs that is to be gone when the process is: its membership, its leadership, the sessions of its nodes. It counts as held only
 * while the store cannot have ended it, by the monotonic clock from before the last renewal that succeeded was sent: also a process that stood still knows that at once. A store of its own
 * knows no other process: nothing hangs on a lease there, and it counts as held always.
 */
export class CoordinatorLease {
  readonly #options: CoordinatorLeaseOptions;
  readonly #listeners = new Set<() => void>();
  #id: string | undefined;
  #heldUntilMs = Number.NEGATIVE_INFINITY;
  /** Wall clock of the first attempt that failed since the last that did not. */
  #failing: { why: string; sinceMs: number } | undefined;
  #atOnce = 0;
  #timer: Timer | undefined;
  #lapse: Timer | undefined;
  #ended = false;

  constructor(options: CoordinatorLeaseOptions) {
    this.#options = options;
  }

  /** What keys are to hang on; undefined: there is none for now, or none is needed. */
  get id(): string | undefined {
    return this.#id;
  }

  /** The store cannot have ended it. */
  isHeld(): boolean {
    return !this.#options.store.shared || (this.#id !== undefined && this.#options.clock.monotonicMs() < this.#heldUntilMs);
  }

  /** Why it cannot be renewed now, and since when by the wall clock; undefined: it can. */
  problem(): { why: string; sinceMs: number } | undefined {
    return this.#failing;
  }

  /** Calls back when there is another one, and when it is not held any more or is again. Returns a function that ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks for one and keeps it; where there is none to be had, it goes on trying. */
  async start(): Promise<void> {
    if (!this.#options.store.shared) return;
    await this.#attempt();
    this.#schedule();
  }

  /** Keeps it no longer, and has the store delete what hangs on it. */
  async end(): Promise<void> {
    this.#ended = true;
    this.#timer?.cancel();
    this.#lapse?.cancel();
    const id = this.#id;
    this.#id = undefined;
    if (id === undefined) return;
    await this.#options.store.revokeLease(id).catch((error: unknown) => {
      this.#options.logger.debug('the lease of this coordinator ends by itself', { error: describeError(error) });
    });
  }

  #schedule(): void {
    if (this.#ended) return;
    this.#timer = this.#options.clock.after(this.#options.ttlMs / renewals, () => {
      if (this.#atOnce < maxAtOnce) void this.#attempt();
      this.#schedule();
    });
  }

  async #attempt(): Promise<void> {
    const { store, clock, logger, ttlMs } = this.#options;
    const startedMs = clock.monotonicMs();
    const id = this.#id;
    this.#atOnce += 1;
    try {
      if (id === undefined) this.#take(await store.grantLease(ttlMs / 1000), startedMs);
      else {
        await store.keepLeaseAlive(id);
        if (this.#id === id) this.#extend(startedMs);
      }
    } catch (error) {
      if (this.#ended) return;
      if (error instanceof EvercertError && error.code === 'NotFound' && id !== undefined) this.#lose(id);
      else {
        this.#failing ??= { why: describeError(error), sinceMs: clock.nowMs() };
        logger.warn('cannot renew the lease of this coordinator; trying again', { error: describeError(error) });
      }
    } finally {
      this.#atOnce -= 1;
    }
  }

  /** An answer that comes when there is one already, or none is wanted any more, brings one that ends by itself. */
  #take(id: string, startedMs: number): void {
    if (this.#ended || this.#id !== undefined) return;
    this.#id = id;
    this.#heldUntilMs = Number.NEGATIVE_INFINITY;
    this.#extend(startedMs);
  }

  #extend(startedMs: number): void {
    const { clock, ttlMs } = this.#options;
    const was = this.isHeld();
    this.#failing = undefined;
    this.#heldUntilMs = Math.max(this.#heldUntilMs, startedMs + ttlMs * (1 - marginShare));
    this.#lapse?.cancel();
    this.#lapse = clock.after(Math.max(0, this.#heldUntilMs - clock.monotonicMs()) + 1, () => this.#notify());
    if (!was) this.#notify();
  }

  #lose(id: string): void {
    if (this.#id !== id) return;
    this.#options.logger.warn('the lease of this coordinator has run out: asking for another');
    this.#id = undefined;
    this.#failing ??= { why: 'the lease of this coordinator has run out', sinceMs: this.#options.clock.nowMs() };
    this.#notify();
    void this.#attempt();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
