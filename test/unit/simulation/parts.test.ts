import assert from 'node:assert/strict';
import { openWindow } from '@evercert/coordinator/replacement';
import { defaultReplacementPolicy, type MaintenanceWindow, weekdays } from '@evercert/shared/manifest';
import { AbleTimes, inWindow, mostUnhealthy, Random, VirtualTime } from '@evercert/simulation';
import fc from 'fast-check';

describe('Chance in the simulation', () => {
  it('is the same for the same path, and independent of other streams', () => {
    const draws = (random: Random): number[] => Array.from({ length: 5 }, () => random.draw());
    const root = new Random('seed');
    const first = draws(root.stream('a'));
    root.draw();
    assert.deepEqual(draws(root.stream('a')), first);
    assert.notDeepEqual(draws(root.stream('b')), first);
  });

  it('is spread evenly', () => {
    const random = new Random('even');
    const buckets = Array.from({ length: 10 }, () => 0);
    for (let at = 0; at < 10_000; at += 1) {
      const bucket = random.whole(0, 9);
      buckets[bucket] = (buckets[bucket] ?? 0) + 1;
    }
    assert.ok(Math.min(...buckets) > 850 && Math.max(...buckets) < 1150, buckets.join(' '));
  });

  it('counts what happens so often on average', () => {
    const random = new Random('count');
    const sum = Array.from({ length: 5000 }, () => random.count(2.5)).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum / 5000 - 2.5) < 0.15, String(sum / 5000));
  });
});

describe('Virtual time', () => {
  it('runs everything in order of time, and of entry at the same time', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 60 }), (times) => {
        const time = new VirtualTime(0);
        const ran: [number, number][] = [];
        for (const [at, ms] of times.entries()) time.at(ms, () => ran.push([time.nowMs, at]));
        while (time.step(100));
        const wanted = times.map((ms, at): [number, number] => [ms, at]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        assert.deepEqual(ran, wanted);
        assert.equal(time.nowMs, 100);
      }),
    );
  });

  it('leaves out what was cancelled', () => {
    const time = new VirtualTime(0);
    const ran: string[] = [];
    const cancelled = time.at(1, () => ran.push('cancelled'));
    time.at(2, () => ran.push('kept'));
    cancelled.cancelled = true;
    while (time.step(10));
    assert.deepEqual(ran, ['kept']);
  });
});

describe('What the judge works out anew', () => {
  const hour = 3600_000;
  const start = Date.parse('2026-01-05T00:00:00Z');
  const times: fc.Arbitrary<MaintenanceWindow['time']> = fc.oneof(
    fc.record({
      type: fc.constant('once' as const),
      fromMs: fc.integer({ min: start, max: start + 200 * hour }),
      untilMs: fc.constant(start + 300 * hour),
    }),
    fc.record({
      type: fc.constant('recurring' as const),
      days: fc.subarray([...weekdays]),
      startMinutes: fc.integer({ min: 0, max: 1439 }),
      durationSeconds: fc.integer({ min: 60, max: 3 * 86_400 }),
    }),
  );

  it('agrees with the real code on maintenance windows', () => {
    fc.assert(
      fc.property(
        fc.array(times, { maxLength: 3 }),
        fc.integer({ min: start, max: start + 400 * hour }),
        fc.boolean(),
        (all, nowMs, other) => {
          const selector = { labels: { rack: other ? 'r2' : 'r1' } };
          const maintenanceWindows = all.map(
            (time, at): MaintenanceWindow => ({ name: `w${at}`, selector: at === 0 ? selector : {}, time }),
          );
          const labels = { rack: 'r1' };
          const real = openWindow(maintenanceWindows, { name: 'n', role: 'worker', labels }, nowMs) !== undefined;
          assert.equal(inWindow({ ...defaultReplacementPolicy, maintenanceWindows }, labels, nowMs), real);
        },
      ),
    );
  });

  it('rounds percentages of unhealthy workers down', () => {
    assert.deepEqual([mostUnhealthy('40%', 47), mostUnhealthy('10%', 9), mostUnhealthy('100%', 7), mostUnhealthy('3', 100)], [18, 0, 7, 3]);
  });

  it('adds up for how long the coordinator was able', () => {
    const times = new AbleTimes();
    times.note(true, 10);
    times.note(true, 15);
    times.note(false, 20);
    times.note(true, 50);
    assert.equal(times.between(0, 60), 20);
    assert.equal(times.between(15, 55), 10);
    assert.equal(times.sinceMs, 50);
  });
});
