import assert from 'node:assert/strict';
import { Availability, type AvailabilityFacts, type Outage, tidyOutages } from '@evercert/coordinator/replacement';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { type Clock, FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import fc from 'fast-check';

const second = 1000;
const minute = 60 * second;
const day = 86_400_000;

/** A clock that can pass over time in which nothing of this process ran. */
class SleepyClock extends FakeClock {
  #sleptMs = 0;
  override monotonicMs(): number {
    return super.monotonicMs() + this.#sleptMs;
  }
  /** Both clocks go on, no timer fires. */
  async sleepThrough(ms: number): Promise<void> {
    this.#sleptMs += ms;
    await this.step(ms);
  }
}

describe('what a coordinator knows of its own availability', () => {
  let store: Store;
  let clock: SleepyClock;
  let behindMs: number;
  let availability: Availability;
  /** undefined: the store takes writes. */
  let fault: (() => Promise<never>) | undefined;

  const open = (shared: Clock = clock): Availability =>
    new Availability({
      store: {
        get: (...args) => store.get(...args),
        transact: (...args) => (fault ? fault() : store.transact(...args)),
      },
      clock: shared,
      logger: silentLogger,
      mark: { behindMs: () => behindMs },
    });
  const restart = async (awayMs: number): Promise<void> => {
    await availability.stop();
    await clock.advance(awayMs);
    availability = open();
    await availability.start();
  };
  const facts = (): AvailabilityFacts => availability.facts();
  const last = (): Outage | undefined => facts().outages.at(-1);
  const lengthMs = ({ fromMs, untilMs }: Outage = { fromMs: 0, untilMs: 0, why: '' }): number => untilMs - fromMs;

  beforeEach(async () => {
    fault = undefined;
    behindMs = 0;
    clock = new SleepyClock();
    store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
    availability = open();
    await availability.start();
  });
  afterEach(async () => {
    fault = undefined;
    await availability.stop();
    await store.close();
  });

  it('is well from its first start on, and knows nothing of the time before', () => {
    assert.deepEqual(facts(), {
      healthySinceMs: clock.nowMs(),
      problem: '',
      outages: [{ fromMs: 0, untilMs: clock.nowMs(), why: 'nothing is known of the time before' }],
    });
  });

  it('stays well as time passes', async () => {
    const before = facts();
    await clock.advance(day / 24);
    assert.deepEqual(facts(), before);
  });

  it('is not well before it begins and after it has stopped', async () => {
    assert.equal(open().facts().healthySinceMs, undefined);
    await availability.stop();
    assert.equal(facts().healthySinceMs, undefined);
  });

  it('counts a short restart as an outage, and is well since the time before it', async () => {
    const { healthySinceMs } = facts();
    await clock.advance(minute);
    await restart(5 * second);
    assert.equal(facts().healthySinceMs, healthySinceMs);
    assert.deepEqual([lengthMs(last()), last()?.why], [5 * second, 'the coordinator did not run']);
  });

  it('is well only since its start after it was away for longer', async () => {
    await clock.advance(minute);
    const stoppedMs = clock.nowMs();
    await restart(20 * second);
    assert.equal(facts().healthySinceMs, clock.nowMs());
    assert.deepEqual(last(), { fromMs: stoppedMs, untilMs: clock.nowMs(), why: 'the coordinator did not run' });
    await restart(second);
    assert.equal(facts().healthySinceMs, clock.nowMs() - second, 'a short restart after it changes nothing');
  });

  it('counts from its last mark when it was killed', async () => {
    await clock.advance(minute + 7 * second);
    const killedMs = clock.nowMs();
    const other = new FakeClock(clock.nowMs() + 30 * second);
    const next = open(other);
    await next.start();
    const [outage] = next.facts().outages.slice(-1);
    assert.ok(outage && outage.fromMs <= killedMs && outage.fromMs >= killedMs - 10 * second);
    assert.equal(outage.untilMs, other.nowMs());
    await next.stop();
  });

  it('notices that its process stood still, the moment it is asked', async () => {
    await clock.advance(minute);
    const before = clock.nowMs();
    let told = 0;
    availability.subscribe(() => {
      told += 1;
    });
    const asleep = clock.sleepThrough(10 * minute);
    assert.equal(facts().healthySinceMs, clock.nowMs());
    assert.deepEqual([last()?.fromMs, last()?.untilMs], [before, clock.nowMs()]);
    assert.match(last()?.why ?? '', /stood still for 600 s/);
    assert.equal(told, 1);
    await asleep;
  });

  it('takes a clock that goes forward for an outage, for the machine may have slept', async () => {
    await clock.advance(minute);
    const before = clock.nowMs();
    await clock.step(day);
    assert.equal(facts().healthySinceMs, before + day);
    assert.deepEqual([last()?.fromMs, last()?.untilMs], [before, before + day]);
    assert.match(last()?.why ?? '', /forward by 86400 s, or the machine slept/);
  });

  it('takes a clock that is set back for an outage, of the time that it shows a second time', async () => {
    await clock.advance(minute);
    const before = clock.nowMs();
    await clock.step(-30 * second);
    assert.equal(facts().healthySinceMs, before - 30 * second);
    assert.ok(facts().outages.some(({ fromMs, untilMs }) => fromMs <= before - 30 * second && untilMs >= before));
  });

  it('counts from the beginning again after a clock was set back, however little', async () => {
    await clock.advance(minute);
    await clock.step(-8 * second);
    assert.equal(facts().healthySinceMs, clock.nowMs());
  });

  it('remembers, over a restart too, by how much the clock was set and when', async () => {
    await clock.advance(minute);
    const before = clock.nowMs();
    await clock.step(day);
    await clock.advance(minute);
    await clock.step(-day);
    await restart(minute);
    assert.deepEqual(facts().leaps, [
      { atMs: before, byMs: day },
      { atMs: before + minute + day, byMs: -day },
    ]);
  });

  it('does not take time in which the process stood still for a step of the clock', async () => {
    await clock.sleepThrough(day);
    assert.equal(facts().leaps, undefined);
  });

  it('does not mind corrections of a few seconds', async () => {
    const before = facts();
    for (const step of [3, -3, 4, -4]) {
      await clock.step(step * second);
      await clock.advance(3 * second);
    }
    assert.deepEqual(facts(), before);
  });

  it('is not well while its clock is behind what it has shown', async () => {
    behindMs = 10 * minute;
    assert.deepEqual([facts().healthySinceMs, facts().problem], [undefined, 'its clock is 600 s behind the latest time that it has shown']);
    await clock.advance(minute);
    behindMs = 0;
    assert.equal(facts().healthySinceMs, clock.nowMs());
    assert.equal(facts().problem, '');
  });

  it('is not well from a write that fails on, until one succeeds', async () => {
    await clock.advance(minute);
    const since = facts().healthySinceMs;
    fault = () => Promise.reject(new Error('disk full'));
    await clock.advance(minute);
    assert.match(facts().problem, /its store does not take writes: Error: disk full/);
    assert.equal(facts().healthySinceMs, undefined);
    assert.ok(lengthMs(last()) >= 49 * second, 'the outage under way is told');
    fault = undefined;
    await clock.advance(2 * second);
    assert.equal(facts().problem, '');
    assert.ok((facts().healthySinceMs ?? 0) > (since ?? 0) + minute);
    assert.ok(lengthMs(last()) >= 50 * second && lengthMs(last()) <= minute);
  });

  it('does not count from the beginning again after one write that failed', async () => {
    const since = facts().healthySinceMs;
    await clock.advance(minute);
    fault = () => Promise.reject(new Error('busy'));
    while (facts().problem === '') await clock.advance(second);
    fault = undefined;
    await clock.advance(3 * second);
    assert.deepEqual([facts().problem, facts().healthySinceMs], ['', since]);
    assert.match(last()?.why ?? '', /busy/);
  });

  it('is not well while a write does not come back, and makes no second one', async () => {
    let writes = 0;
    let release = (): void => undefined;
    fault = () => {
      writes += 1;
      return new Promise((_, reject) => {
        release = () => reject(new Error('too late'));
      });
    };
    await clock.advance(minute);
    assert.match(facts().problem, /has not taken a write for 10 s/);
    assert.equal(writes, 1);
    fault = undefined;
    release();
    await clock.advance(3 * second);
    assert.equal(facts().problem, '');
  });

  it('remembers an outage that goes on when it is restarted', async () => {
    await clock.advance(minute);
    const since = clock.nowMs();
    behindMs = 10 * minute;
    await clock.advance(minute);
    await restart(second);
    behindMs = 0;
    const during = facts().outages.filter(({ fromMs, untilMs }) => fromMs <= since + second && untilMs >= since + minute);
    assert.equal(during.length, 1);
    assert.equal(facts().healthySinceMs, clock.nowMs());
  });

  it('writes about every ten seconds', async () => {
    const { revision: before } = await store.transact([], []);
    await clock.advance(10 * minute);
    const { revision: after } = await store.transact([], []);
    assert.ok(after - before >= 50 && after - before <= 62, `${after - before}`);
  });
});

describe('outages that are kept', () => {
  const now = Date.parse('2026-01-31T00:00:00Z');
  const outage = fc
    .tuple(fc.integer({ min: 0, max: 40 * day }), fc.integer({ min: 0, max: day }))
    .map(([agoMs, lengthMs]) => ({ fromMs: now - agoMs, untilMs: Math.min(now, now - agoMs + lengthMs), why: 'x' }));

  it('cover all that was reported within a month, in order, without overlap, and are two hundred at most', () => {
    fc.assert(
      fc.property(fc.array(outage, { maxLength: 20 }), (outages) => {
        const kept = tidyOutages(outages, now);
        for (const { fromMs, untilMs } of outages)
          if (now - untilMs < 31 * day) assert.ok(kept.some((one) => one.fromMs <= fromMs && one.untilMs >= untilMs));
        for (const [index, one] of kept.entries()) if (index > 0) assert.ok(one.fromMs > (kept[index - 1] as Outage).untilMs);
      }),
    );
    const many = Array.from({ length: 5000 }, (_, at) => ({
      fromMs: now - at * 8 * minute,
      untilMs: now - at * 8 * minute + second,
      why: 'x',
    }));
    const kept = tidyOutages(many, now);
    assert.ok(kept.length > 0 && kept.length <= 200);
    assert.ok(kept.every(({ fromMs, untilMs }) => fromMs < untilMs));
  });

  it('tell the reason of the longer where two are near', () => {
    const kept = tidyOutages(
      [
        { fromMs: now - 3000, untilMs: now - 2000, why: 'short' },
        { fromMs: now - 100_000, untilMs: now - 5000, why: 'long' },
      ],
      now,
    );
    assert.deepEqual(kept, [{ fromMs: now - 100_000, untilMs: now - 2000, why: 'long' }]);
  });
});
