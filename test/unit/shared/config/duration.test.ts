import assert from 'node:assert/strict';
import { formatDuration, parseDuration, tryParseDuration } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import fc from 'fast-check';

describe('durations', () => {
  const good: [string, number][] = [
    ['96h', 345_600_000],
    ['10m', 600_000],
    ['30s', 30_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['4d', 345_600_000],
    ['1d12h', 129_600_000],
    ['0s', 0],
    ['1.5h', 5_400_000],
    ['0.1h', 360_000],
    ['2h0m5s', 7_205_000],
  ];
  for (const [text, ms] of good) {
    it(`reads ${text}`, () => assert.equal(parseDuration(text), ms));
  }

  const bad = [
    '',
    '0',
    '30',
    '-1s',
    '1 h',
    '1m30m',
    '30s1h',
    '1h1h',
    '1w',
    '1us',
    's',
    '1.s',
    '.5s',
    '1e3s',
    '0.5ms',
    '999999999999d',
    '5M',
    '1h\n',
  ];
  for (const text of bad) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.equal(tryParseDuration(text), undefined);
      assert.throws(
        () => parseDuration(text),
        (error) => error instanceof EvercertError && error.code === 'InvalidArgument',
      );
    });
  }

  it('writes hours as the largest unit, as Go does', () => {
    const cases: [number, string][] = [
      [345_600_000, '96h'],
      [5_400_000, '1h30m'],
      [90_000, '1m30s'],
      [500, '500ms'],
      [3_600_500, '1h500ms'],
      [0, '0s'],
      [-5, '0s'],
      [1.4, '1ms'],
    ];
    for (const [ms, text] of cases) assert.equal(formatDuration(ms), text);
  });

  it('reads back what it writes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 * 365 * 86_400_000 }), (ms) => assert.equal(parseDuration(formatDuration(ms)), ms)),
    );
  });
});
