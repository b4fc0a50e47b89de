import assert from 'node:assert/strict';
import { aheadMs, type ClockLeap, withLeap } from '@evercert/coordinator/replacement';
import fc from 'fast-check';

const day = 86_400_000;

describe('steps of the clock', () => {
  it('are added up from the issue of a certificate on, and never below nothing', () => {
    const leaps: ClockLeap[] = [
      { atMs: 10, byMs: 100 },
      { atMs: 200, byMs: -30 },
      { atMs: 300, byMs: 5 },
    ];
    assert.deepEqual(
      [0, 10, 11, 250, 301].map((sinceMs) => aheadMs(leaps, sinceMs)),
      [75, 75, 5, 5, 0],
    );
    assert.equal(aheadMs(undefined, 0), 0);
  });

  it('are forgotten when they are a month old, and a hundred are kept at most', () => {
    const kept = withLeap([{ atMs: 0, byMs: 1 }], { atMs: 40 * day, byMs: 2 });
    assert.deepEqual(kept, [{ atMs: 40 * day, byMs: 2 }]);
    const many = Array.from({ length: 150 }, (_, at): ClockLeap => ({ atMs: at, byMs: 1 })).reduce<ClockLeap[]>(withLeap, []);
    assert.equal(many.length, 100);
    assert.equal(many[0]?.atMs, 50);
  });

  it('that were all taken back leave nothing', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: day })), (lengths) => {
        const leaps = lengths.flatMap((byMs, at): ClockLeap[] => [
          { atMs: at, byMs },
          { atMs: at, byMs: -byMs },
        ]);
        assert.equal(aheadMs(leaps, 0), 0);
      }),
    );
  });
});
