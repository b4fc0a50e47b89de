import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { formatRfc3339 } from '@evercert/shared/manifest';
import { type ClockMark, toleratedMs as clockToleratedMs } from '../recovery/clock-mark.ts';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { withLeap } from './leaps.ts';
import { tidyOutages } from './outages.ts';
import type { AvailabilityFacts, ClockLeap, Outage } from './types.ts';

const tickEveryMs = 1000;
/** A look that comes so much later than the last one, by either clock, tells that this process did not run, or that the clock was set. */
const gapMs = 5000;
const markEveryMs = 10_000;
/** A write that takes longer counts as failed until it is done. */
const writeWithinMs = 10_000;
/** Of a store's error, in what people are shown. */
const maxProblem = 300;

export interface AvailabilityOptions {
  store: Pick<Store, 'get' | 'transact'>;
  clock: Clock;
  logger: Logger;
  /** Knows whether the wall clock was moved back. */
  mark: Pick<ClockMark, 'behindMs'>;
  /** Why a store that other coordinators write to, too, is not reached, and since when; undefined: it is. */
  unreached?: () => { why: string; sinceMs: number } | undefined;
  /** Outages up to this length, such as a restart's, are counted, but `healthySinceMs` stays what it was. 15 s by default. */
  toleratedMs?: number;
  /** A look that comes so much later than the last one tells that this process did not run. 5 s by default. */
  standstillMs?: number;
}

/** What is kept at layout.availability. */
export interface AvailabilityRecord {
  /** The wall clock when it was written: the coordinator was there. */
  markMs: number;
  /** Absent: it was not well. */
  healthySinceMs?: number;
  outages: Outage[];
  /** Absent: none was noticed. */
  leaps?: ClockLeap[];
}

/**
 * Knows how well the coordinator is and was. It looks at both clocks every second, and writes a mark about every ten: a process that was stopped, a machine that slept, a clock that was set, a
 * store that takes no writes, and the time between two runs, are all outages, in which no worker can be blamed for not having been renewed. Of several coordinators the leader keeps the record;
 * that another takes its place is no outage, for the time in which that one has served all along.
 */
export class Availability {
  readonly #options: AvailabilityOptions;
  readonly #toleratedMs: number;
  readonly #listeners = new Set<() => void>();
  #outages: Outage[] = [];
  #leaps: ClockLeap[] = [];
  #healthySinceMs: number | undefined;
  #ill: { why: string; sinceMs: number } | undefined;
  /** Since the first write that failed. */
  #storeProblem: { why: string; sinceMs: number } | undefined;
  #seen = { wallMs: 0, monotonicMs: 0 };
  #markedMonotonicMs = 0;
  #write: { startedWallMs: number; startedMonotonicMs: number; done: Promise<void> } | undefined;
  #timer: Timer | undefined;
  #started = false;
  #store: AvailabilityOptions['store'];
  /** Since when this process looks without keeping the record. */
  #followedSinceMs: number | undefined;

  constructor(options: AvailabilityOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#toleratedMs = options.toleratedMs ?? 15_000;
  }

  /** Begins to look, and keeps no record yet: this coordinator serves, and another leads. */
  follow(): void {
    const { clock } = this.#options;
    this.#seen = { wallMs: clock.nowMs(), monotonicMs: clock.monotonicMs() };
    this.#followedSinceMs = clock.nowMs();
    this.#outages = [];
    this.#leaps = [];
    this.#schedule();
  }

  /** Does not look any more. */
  end(): void {
    this.#followedSinceMs = undefined;
    this.#timer?.cancel();
  }

  /**
   * Reads what was known, counts the time since then in which this process did not serve as an outage, and begins to keep the record.
   *
   * @param store that it is kept in; by default the one of the options.
   */
  async start(store = this.#options.store): Promise<void> {
    const { clock } = this.#options;
    this.#store = store;
    const record = await this.#read();
    const nowMs = clock.nowMs();
    if (this.#followedSinceMs === undefined) this.#seen = { wallMs: nowMs, monotonicMs: clock.monotonicMs() };
    else this.#observe();
    // Before the last mark the leader was well, or has said how it was.
    const own = this.#outages.filter(({ untilMs }) => record === undefined || untilMs > record.markMs);
    const leaps = this.#leaps;
    this.#outages = record?.outages ?? [];
    this.#leaps = leaps.reduce(withLeap, record?.leaps ?? []);
    this.#healthySinceMs = record?.healthySinceMs;
    this.#countAbsence(record?.markMs, nowMs);
    for (const { fromMs, untilMs, why } of own) this.#wasAway(Math.max(fromMs, record?.markMs ?? fromMs), untilMs, why);
    this.#healthySinceMs ??= nowMs;
    this.#started = true;
    this.#observe();
    this.#mark();
    await this.#write?.done;
    if (this.#followedSinceMs === undefined) this.#schedule();
  }

  /** Writes a last mark: the outage begins now, unless another takes over that was there. */
  async stop(): Promise<void> {
    if (this.#followedSinceMs === undefined) this.#timer?.cancel();
    this.#observe();
    this.#started = false;
    await this.#write?.done;
    this.#mark();
    await this.#write?.done;
    if (this.#followedSinceMs === undefined) return;
    // What was told so far is in the record.
    this.#followedSinceMs = this.#options.clock.nowMs();
    this.#outages = [];
    this.#leaps = [];
    this.#storeProblem = undefined;
  }

  /** As it is at this moment: it does not wait for the next look. */
  facts(): AvailabilityFacts {
    if (!this.#started) return { healthySinceMs: undefined, problem: 'it has not begun, or is stopping', outages: this.#outages };
    this.#observe();
    return {
      healthySinceMs: this.#ill ? undefined : this.#healthySinceMs,
      problem: this.#ill?.why ?? '',
      outages: this.#allOutages(),
      ...(this.#leaps.length > 0 && { leaps: this.#leaps }),
    };
  }

  /** Calls back when it has become well or ill, or an outage was noticed. Returns a function that ends it. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Clocks of coordinators differ a little; this one's that is far behind shows time that another has shown before. */
  #countAbsence(markMs: number | undefined, nowMs: number): void {
    const servedSinceMs = this.#followedSinceMs ?? nowMs;
    if (markMs === undefined) this.#wasAway(0, servedSinceMs, 'nothing is known of the time before');
    else if (this.#followedSinceMs === undefined || markMs < servedSinceMs)
      this.#wasAway(markMs, servedSinceMs, 'the coordinator did not run');
    else if (markMs - nowMs > gapMs) this.#wasAway(markMs, nowMs, 'its clock is behind that of the coordinator that led before');
  }

  async #read(): Promise<AvailabilityRecord | undefined> {
    const entry = await this.#store.get(layout.availability);
    if (!entry) return undefined;
    try {
      return decodeRecord<AvailabilityRecord>(entry.key, entry.value);
    } catch (error) {
      this.#options.logger.error('what was known of earlier outages is lost: it counts as having been away', { error: String(error) });
      return undefined;
    }
  }

  #schedule(): void {
    this.#timer = this.#options.clock.after(tickEveryMs, () => {
      if (!this.#started && this.#followedSinceMs === undefined) return;
      this.#observe();
      const sinceMs = this.#options.clock.monotonicMs() - this.#markedMonotonicMs;
      if (this.#started && (sinceMs >= markEveryMs || this.#storeProblem)) this.#mark();
      this.#schedule();
    });
  }

  /** Compares both clocks with the last look, and notes what is wrong now. */
  #observe(): void {
    const { clock } = this.#options;
    const wallMs = clock.nowMs();
    const monotonicMs = clock.monotonicMs();
    const passed = { wallMs: wallMs - this.#seen.wallMs, monotonicMs: monotonicMs - this.#seen.monotonicMs };
    const before = this.#seen.wallMs;
    this.#seen = { wallMs, monotonicMs };
    const byMs = passed.wallMs - passed.monotonicMs;
    if (Math.abs(byMs) > gapMs) this.#leaps = withLeap(this.#leaps, { atMs: before, byMs });
    if (passed.monotonicMs > (this.#options.standstillMs ?? gapMs))
      this.#wasAway(before, wallMs, `the coordinator's process stood still for ${seconds(passed.monotonicMs)}`);
    else if (passed.wallMs - passed.monotonicMs > gapMs)
      this.#wasAway(before, wallMs, `the clock went forward by ${seconds(passed.wallMs - passed.monotonicMs)}, or the machine slept`);
    else if (passed.monotonicMs - passed.wallMs > gapMs)
      this.#wasAway(before, wallMs, `the clock was set back by ${seconds(passed.monotonicMs - passed.wallMs)}`);
    this.#judge(wallMs);
  }

  /** Notes what it is ill with just now, or that it is not any more. */
  #judge(wallMs: number): void {
    const { logger } = this.#options;
    const problem = this.#problem(wallMs);
    if (problem && this.#ill) this.#ill.why = problem.why;
    else if (problem) {
      this.#ill = { why: problem.why, sinceMs: Math.min(problem.sinceMs, wallMs) };
      logger.warn('The coordinator is not well; no worker is replaced meanwhile', { problem: problem.why });
      this.#notify();
    } else if (this.#ill) {
      const { sinceMs, why } = this.#ill;
      this.#ill = undefined;
      logger.info('The coordinator is well again', { since: formatRfc3339(wallMs), problem: why });
      this.#wasAway(sinceMs, wallMs, why);
      this.#notify();
    }
  }

  #problem(wallMs: number): { why: string; sinceMs: number } | undefined {
    const { clock, mark } = this.#options;
    const behindMs = mark.behindMs();
    if (behindMs > clockToleratedMs)
      return { why: `its clock is ${seconds(behindMs)} behind the latest time that it has shown`, sinceMs: wallMs };
    if (this.#write && !this.#storeProblem && clock.monotonicMs() - this.#write.startedMonotonicMs > writeWithinMs)
      this.#storeProblem = { why: `its store has not taken a write for ${seconds(writeWithinMs)}`, sinceMs: this.#write.startedWallMs };
    const unreached = this.#options.unreached?.();
    if (unreached && wallMs - unreached.sinceMs > writeWithinMs)
      return { ...unreached, why: `its store is not reached: ${unreached.why}`.slice(0, maxProblem) };
    return this.#storeProblem;
  }

  /** With the one that goes on. */
  #allOutages(): Outage[] {
    const present = this.#ill && { fromMs: this.#ill.sinceMs, untilMs: this.#seen.wallMs, why: this.#ill.why };
    return present && present.fromMs < present.untilMs ? tidyOutages([...this.#outages, present], present.untilMs) : this.#outages;
  }

  /** Times of the wall clock in either order: a clock that was set back shows the time between a second time. */
  #wasAway(fromMs: number, untilMs: number, why: string): void {
    const back = untilMs < fromMs;
    const lengthMs = Math.abs(untilMs - fromMs);
    if (lengthMs === 0) return;
    const outage = { fromMs: Math.min(fromMs, untilMs), untilMs: Math.max(fromMs, untilMs), why };
    this.#outages = tidyOutages([...this.#outages, outage], untilMs);
    if (back || lengthMs > this.#toleratedMs || (this.#healthySinceMs ?? untilMs) > untilMs) this.#healthySinceMs = untilMs;
    this.#markedMonotonicMs = Number.NEGATIVE_INFINITY;
    this.#notify();
  }

  /** One write at a time. */
  #mark(): void {
    if (this.#write) return;
    const { clock } = this.#options;
    const startedWallMs = clock.nowMs();
    this.#markedMonotonicMs = clock.monotonicMs();
    const since = this.#ill ? undefined : this.#healthySinceMs;
    const record: AvailabilityRecord = {
      markMs: startedWallMs,
      ...(since !== undefined && { healthySinceMs: since }),
      outages: this.#allOutages(),
      ...(this.#leaps.length > 0 && { leaps: this.#leaps }),
    };
    const done = this.#store.transact([], [{ type: 'put', key: layout.availability, value: encodeRecord(record) }]).then(
      () => this.#wrote(undefined),
      (error: unknown) =>
        this.#wrote({ why: `its store does not take writes: ${String(error)}`.slice(0, maxProblem), sinceMs: startedWallMs }),
    );
    this.#write = { startedWallMs, startedMonotonicMs: this.#markedMonotonicMs, done };
  }

  #wrote(problem: { why: string; sinceMs: number } | undefined): void {
    this.#write = undefined;
    this.#storeProblem = problem && { ...problem, sinceMs: this.#storeProblem?.sinceMs ?? problem.sinceMs };
    if (this.#started) this.#observe();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`;
}
