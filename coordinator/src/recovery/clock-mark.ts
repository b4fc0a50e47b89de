import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type ClockMarkRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';

/** How far the wall clock may be behind the latest time that was seen; corrections by NTP are smaller. */
export const toleratedMs = 2 * 60_000;
const raiseEveryMs = 60_000;

/** Sets the mark to the present time: it was the later time that was wrong. Returns what it was, if there was one. */
export async function resetClockMark(store: Store, clock: Clock): Promise<number | undefined> {
  const entry = await store.get(layout.clockMark);
  await store.transact([], [{ type: 'put', key: layout.clockMark, value: encodeRecord<ClockMarkRecord>({ latestMs: clock.nowMs() }) }]);
  return entry && decodeRecord<ClockMarkRecord>(entry.key, entry.value).latestMs;
}

/**
 * The latest wall-clock time that this coordinator, or another one, has seen, kept in the store. A clock that was moved back must not open a repair window that has closed, nor make
 * an expired identity young again: while the clock is behind the mark, nothing is recovered.
 */
export class ClockMark {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #informer: Informer<ClockMarkRecord>;
  #markMs = 0;
  #timer: Timer | undefined;
  #stopped = false;
  #writing: Promise<void> = Promise.resolve();

  constructor({ store, clock, logger }: { store: Store; clock: Clock; logger: Logger }) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    this.#informer = new Informer(store, layout.clockMark, logger, clock);
    this.#informer.subscribe((change) => {
      if (change.type === 'put') this.#markMs = Math.max(this.#markMs, change.record.latestMs);
    });
  }

  /** Reads the mark, follows it, raises it, and goes on raising it every minute. */
  async start(): Promise<void> {
    await this.#informer.start();
    if (this.behindMs() > toleratedMs)
      this.#logger.error('The clock is behind the latest time that was seen here; no recovery until that is put right', this.#facts());
    await this.#raise();
    this.#schedule();
  }

  /** Raises it once more: what was seen in the last minute is not forgotten. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#writing;
    await this.#raise();
    await this.#informer.stop();
  }

  /** The wall clock, or the latest time seen where the clock is behind it: never goes back. */
  nowMs(): number {
    this.#markMs = Math.max(this.#markMs, this.#clock.nowMs());
    return this.#markMs;
  }

  /** How far the clock is behind; 0 while it is not. */
  behindMs(): number {
    return Math.max(0, this.#markMs - this.#clock.nowMs());
  }

  /** FailedPrecondition: the clock was moved back. */
  check(): void {
    if (this.behindMs() <= toleratedMs) return;
    const { clock, latest } = this.#facts();
    throw new EvercertError(
      'FailedPrecondition',
      `the coordinator's clock shows ${clock}, but it has shown ${latest} before: no identity is recovered until the clock is right; if it was the later time that was wrong, stop the coordinator, run 'evercert-coordinator reset-clock-mark' and start it`,
    );
  }

  /** Raises the mark in the store in the transaction of what it stands for. */
  raiseOperation(): Operation {
    return { type: 'put', key: layout.clockMark, value: encodeRecord<ClockMarkRecord>({ latestMs: this.nowMs() }) };
  }

  #facts(): { clock: string; latest: string } {
    return { clock: new Date(this.#clock.nowMs()).toISOString(), latest: new Date(this.#markMs).toISOString() };
  }

  #schedule(): void {
    this.#timer = this.#clock.after(raiseEveryMs, () => {
      if (this.#stopped) return;
      this.#writing = this.#raise().finally(() => this.#schedule());
    });
  }

  async #raise(): Promise<void> {
    // One of several coordinators is enough.
    const known = this.#informer.get(layout.clockMark)?.record.latestMs ?? 0;
    if (this.#store.shared && this.nowMs() - known < raiseEveryMs / 2) return;
    try {
      await this.#store.transact([], [this.raiseOperation()]);
    } catch (error) {
      this.#logger.warn('the mark of the clock cannot be written', { error: String(error) });
    }
  }
}
