import assert from 'node:assert/strict';
import { openWindow } from '@evercert/coordinator/replacement';
import { type MaintenanceWindow, weekdays } from '@evercert/shared/manifest';
import fc from 'fast-check';
import { worker } from '../../../support/replacement.ts';

const minute = 60_000;
/** A Monday. */
const monday = Date.parse('2026-01-05T00:00:00Z');
const at = (text: string): number => Date.parse(text);

function weekly(
  days: readonly (typeof weekdays)[number][],
  start: string,
  minutes: number,
  selector: MaintenanceWindow['selector'] = {},
): MaintenanceWindow {
  const [hours = 0, rest = 0] = start.split(':').map(Number);
  return {
    name: `${days.join('')}-${start}`,
    time: { type: 'recurring', days: [...days], startMinutes: hours * 60 + rest, durationSeconds: minutes * 60 },
    selector,
  };
}
const once = (from: string, until: string): MaintenanceWindow => ({
  name: 'once',
  time: { type: 'once', fromMs: at(from), untilMs: at(until) },
  selector: {},
});

const cases: [what: string, windows: MaintenanceWindow[], now: string, until: string | undefined][] = [
  ['before its begin', [once('2026-01-05T10:00:00Z', '2026-01-05T12:00:00Z')], '2026-01-05T09:59:59.999Z', undefined],
  ['at its begin', [once('2026-01-05T10:00:00Z', '2026-01-05T12:00:00Z')], '2026-01-05T10:00:00Z', '2026-01-05T12:00:00Z'],
  ['at its end', [once('2026-01-05T10:00:00Z', '2026-01-05T12:00:00Z')], '2026-01-05T12:00:00Z', undefined],
  ['on its day', [weekly(['Mon'], '02:00', 120)], '2026-01-05T03:00:00Z', '2026-01-05T04:00:00Z'],
  ['on another day', [weekly(['Mon'], '02:00', 120)], '2026-01-06T03:00:00Z', undefined],
  ['every day', [weekly([], '02:00', 120)], '2026-01-08T02:00:00Z', '2026-01-08T04:00:00Z'],
  ['across midnight, before it', [weekly(['Sun'], '23:00', 120)], '2026-01-04T23:30:00Z', '2026-01-05T01:00:00Z'],
  ['across midnight, after it', [weekly(['Sun'], '23:00', 120)], '2026-01-05T00:30:00Z', '2026-01-05T01:00:00Z'],
  ['across midnight, on the evening of the next day', [weekly(['Sun'], '23:00', 120)], '2026-01-05T23:30:00Z', undefined],
  ['for three days, on the third', [weekly(['Fri'], '18:00', 60 * 60)], '2026-01-05T05:59:00Z', '2026-01-05T06:00:00Z'],
  ['that follow each other', [weekly(['Mon'], '02:00', 60), weekly(['Mon'], '03:00', 60)], '2026-01-05T02:10:00Z', '2026-01-05T04:00:00Z'],
  ['that overlap', [weekly(['Mon'], '02:00', 90), weekly(['Mon'], '03:00', 60)], '2026-01-05T02:10:00Z', '2026-01-05T04:00:00Z'],
  ['before 1970', [weekly(['Wed'], '00:00', 60)], '1969-12-31T00:30:00Z', '1969-12-31T01:00:00Z'],
];

describe('a maintenance window', () => {
  for (const [what, windows, now, until] of cases) {
    it(`is ${until === undefined ? 'not open' : 'open'} ${what}`, () => {
      assert.equal(openWindow(windows, worker('w-1'), at(now))?.untilMs, until === undefined ? undefined : at(until));
    });
  }

  it('is for the nodes and labels that it names, for both where it names both', () => {
    const isIn = (selector: MaintenanceWindow['selector'], labels: Record<string, string> = {}): boolean =>
      openWindow([weekly([], '00:00', 60, selector)], worker('w-1', { labels }), monday) !== undefined;
    assert.equal(isIn({ nodes: ['w-1'] }), true);
    assert.equal(isIn({ nodes: ['w-2'] }), false);
    assert.equal(isIn({ labels: { rack: 'a' } }, { rack: 'a' }), true);
    assert.equal(isIn({ labels: { rack: 'a' } }, { rack: 'b' }), false);
    assert.equal(isIn({ nodes: ['w-1'], labels: { rack: 'a' } }, { rack: 'a' }), true);
    assert.equal(isIn({ nodes: ['w-2'], labels: { rack: 'a' } }, { rack: 'a' }), false);
  });

  it('that never ends has no end to tell', () => {
    assert.deepEqual(openWindow([weekly([], '00:00', 24 * 60)], worker('w-1'), monday), { name: '-00:00', untilMs: undefined });
  });

  it('is open when a slow look at every minute says so', () => {
    const arbitrary = fc.record({
      days: fc.subarray([...weekdays]),
      startMinutes: fc.integer({ min: 0, max: 1439 }),
      minutes: fc.integer({ min: 1, max: 7 * 1440 }),
    });
    fc.assert(
      fc.property(fc.array(arbitrary, { maxLength: 3 }), fc.integer({ min: 0, max: 14 * 1440 }), (specs, nowMinute) => {
        const windows = specs.map(
          ({ days, startMinutes, minutes }, index): MaintenanceWindow => ({
            name: `w${index}`,
            time: { type: 'recurring', days, startMinutes, durationSeconds: minutes * 60 },
            selector: {},
          }),
        );
        // Day after day through eight days before, marks the minutes of each occurrence.
        const open = new Set<number>();
        for (const { days, startMinutes, minutes } of specs)
          for (let day = -8; day <= 14; day += 1) {
            const name = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'][new Date(monday + day * 1440 * minute).getUTCDay()];
            if (days.length > 0 && !days.some((one) => one === name)) continue;
            const begin = day * 1440 + startMinutes;
            for (let offset = 0; offset < minutes; offset += 1) open.add(begin + offset);
          }
        const found = openWindow(windows, worker('w-1'), monday + nowMinute * minute);
        assert.equal(found !== undefined, open.has(nowMinute));
        let end = nowMinute;
        while (open.has(end) && end < 14 * 1440) end += 1;
        if (found && end < 14 * 1440) assert.equal(found.untilMs, monday + end * minute);
      }),
      { numRuns: 100 },
    );
  });
});
