import assert from 'node:assert/strict';
import { availableMs } from '@evercert/coordinator/replacement';
import fc from 'fast-check';

describe('the time in which a coordinator was there', () => {
  it('is what a look at every millisecond counts, whatever outages overlap', () => {
    const span = fc
      .tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }))
      .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const);
    fc.assert(
      fc.property(span, fc.array(span, { maxLength: 6 }), ([fromMs, untilMs], spans) => {
        const outages = spans.map(([from, until]) => ({ fromMs: from, untilMs: until, why: '' }));
        let there = 0;
        for (let ms = fromMs; ms < untilMs; ms += 1) if (!outages.some((one) => one.fromMs <= ms && ms < one.untilMs)) there += 1;
        assert.equal(availableMs(fromMs, untilMs, outages), there);
      }),
    );
  });
});
