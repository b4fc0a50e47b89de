import assert from 'node:assert/strict';
import { drawFor, maximumHintMs, refusalDelayMs, renewalDueMs, retryCapMs, retryDelayMs, retryLimitMs } from '@evercert/shared/schedule';
import fc from 'fast-check';

const hour = 3_600_000;
const draw = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the renewal schedule', () => {
  const table = [
    { name: 'four days, no jitter', life: 96 * hour, renewAt: 2 / 3, draw: 0, due: 64 * hour },
    { name: 'four days, half of the jitter', life: 96 * hour, renewAt: 2 / 3, draw: 0.5, due: 60.8 * hour },
    { name: 'one minute', life: 60_000, renewAt: 2 / 3, draw: 0, due: 40_000 },
    { name: 'an early renewal', life: 100_000, renewAt: 0.1, draw: 0, due: 10_000 },
    { name: 'no life at all', life: 0, renewAt: 2 / 3, draw: 0.9, due: 0 },
    { name: 'an end before the issue', life: -5000, renewAt: 2 / 3, draw: 0.9, due: 0 },
  ];
  for (const { name, life, renewAt, draw, due } of table) {
    it(`is due at ${due} ms for ${name}`, () => {
      const issuedAtMs = 1_000_000;
      assert.equal(renewalDueMs({ issuedAtMs, notAfterMs: issuedAtMs + life, renewAt, draw }), issuedAtMs + due);
    });
  }

  it('falls between nine tenths of the wanted part of the life and that part, for any life and draw', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1000, max: 10 * 365 * 24 * hour }),
        fc.double({ min: 0.1, max: 0.9, noNaN: true }),
        draw,
        (life, renewAt, draw) => {
          const due = renewalDueMs({ issuedAtMs: 0, notAfterMs: life, renewAt, draw });
          assert.ok(due <= life * renewAt && due >= life * renewAt * 0.9 - 1);
        },
      ),
    );
  });

  it('draws once for each certificate: the same for one serial, spread evenly over many', () => {
    assert.equal(drawFor('00ff'), drawFor('00ff'));
    const draws = Array.from({ length: 2000 }, (_, serial) => drawFor(`serial-${serial}`));
    assert.ok(draws.every((value) => value >= 0 && value < 1));
    for (let tenth = 0; tenth < 10; tenth += 1) {
      const count = draws.filter((value) => Math.floor(value * 10) === tenth).length;
      assert.ok(count > 140 && count < 260, `${count} of 2000 draws in tenth ${tenth}`);
    }
  });
});

describe('the retry schedule', () => {
  const table = [
    { attempt: 1, timeLeftMs: 32 * hour, draw: 0.5, delay: 500 },
    { attempt: 4, timeLeftMs: 32 * hour, draw: 0.5, delay: 4000 },
    { attempt: 40, timeLeftMs: 32 * hour, draw: 0.5, delay: retryCapMs / 2 },
    { attempt: 40, timeLeftMs: 8000, draw: 0.5, delay: 500 },
    { attempt: 1, timeLeftMs: 4000, draw: 0.999, delay: 500 },
    { attempt: 1000, timeLeftMs: 0, draw: 0.5, delay: retryCapMs / 2 },
    { attempt: 1, timeLeftMs: 32 * hour, draw: 0.5, hintMs: 7000, delay: 7500 },
    { attempt: 1, timeLeftMs: 32 * hour, draw: 0, hintMs: 24 * hour, delay: maximumHintMs },
  ];
  for (const { delay, ...input } of table) {
    it(`waits ${delay} ms after failure ${input.attempt} with ${input.timeLeftMs} ms left${input.hintMs ? ` and a hint of ${input.hintMs} ms` : ''}`, () => {
      assert.equal(retryDelayMs(input), delay);
    });
  }

  it('fits no fewer than eight tries into the time left, for any draws', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 400 * hour }), fc.array(draw, { minLength: 8, maxLength: 8 }), (timeLeftMs, draws) => {
        const waited = draws
          .slice(0, 7)
          .reduce((sum, value, index) => sum + retryDelayMs({ attempt: index + 1, timeLeftMs, draw: value }), 0);
        assert.ok(waited <= timeLeftMs, `the eighth try comes after ${waited} of ${timeLeftMs} ms`);
      }),
    );
  });

  it('obeys a hint as the least wait and never waits longer than hint and limit together', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: -hour, max: 400 * hour }),
        fc.integer({ min: 0, max: hour }),
        draw,
        (attempt, timeLeftMs, hintMs, value) => {
          const delay = retryDelayMs({ attempt, timeLeftMs, hintMs, draw: value });
          assert.ok(delay >= hintMs && delay <= hintMs + retryLimitMs(timeLeftMs) + 1);
        },
      ),
    );
  });

  it('waits long, but never longer than the limit, after a refusal', () => {
    assert.equal(refusalDelayMs({ timeLeftMs: 32 * hour, draw: 0 }), retryCapMs * 0.75);
    assert.equal(refusalDelayMs({ timeLeftMs: 8000, draw: 0.9999 }), 1000);
    assert.equal(refusalDelayMs({ timeLeftMs: 8000, draw: 0.5, hintMs: 5000 }), 5000);
  });
});
