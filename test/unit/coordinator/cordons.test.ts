import assert from 'node:assert/strict';
import { activeCordon, type CordonOrder, NodeCordons } from '@evercert/coordinator';
import { FakeClock } from '@evercert/shared/clock';
import { withCode } from '../../support/node-calls.ts';

const hour = 3600_000;
const day = 24 * hour;

describe('a cordon', () => {
  const clock = new FakeClock();
  let record: Parameters<typeof activeCordon>[0];
  let cordons: NodeCordons;
  const actor = 'admin/ada';

  beforeEach(() => {
    record = {};
    const registry = {
      update: (_cluster: string, _name: string, change: (current: object) => object | undefined) => {
        record = change(record) ?? record;
        return Promise.resolve(record);
      },
    };
    cordons = new NodeCordons({ registry: registry as never, nowMs: () => clock.nowMs() });
  });
  const set = async (change: Partial<CordonOrder> = {}): Promise<boolean> =>
    (await cordons.set({ cluster: 'demo', name: 'w-1', cordoned: true, reason: '', ...change }, actor)).changed;
  const active = () => activeCordon(record, clock.nowMs());

  it('lasts until it is ended when it has no duration', async () => {
    assert.equal(await set({ reason: 'disk' }), true);
    assert.deepEqual(active(), { atMs: clock.nowMs(), by: actor, reason: 'disk' });
    await clock.advance(30 * day);
    assert.equal(active()?.reason, 'disk');
    assert.equal(await set({ cordoned: false }), true);
    assert.equal(active(), undefined);
    assert.equal(await set({ cordoned: false }), false);
  });

  it('ends by itself when it has one, and may be set again afterwards', async () => {
    await set({ durationMs: hour });
    await clock.advance(hour - 1);
    assert.equal(active()?.by, actor);
    await clock.advance(1);
    assert.equal(active(), undefined);
    assert.equal(await set({ cordoned: false }), false, 'it has ended already');
    assert.equal(await set(), true);
    assert.ok(active());
  });

  it('is changed by another with another reason or duration', async () => {
    await set({ reason: 'disk' });
    assert.equal(await set({ reason: 'disk' }), false);
    assert.equal(await set({ reason: 'fan' }), true);
    assert.equal(await set({ reason: 'fan', durationMs: hour }), true);
    assert.equal(active()?.untilMs, clock.nowMs() + hour);
    assert.equal(await set({ reason: 'fan', durationMs: 2 * hour }), true);
    assert.equal(await set({ reason: 'fan' }), true);
    assert.equal(active()?.untilMs, undefined);
  });

  it('takes a reason and a duration within bounds', async () => {
    for (const durationMs of [999, 0, -1, 30 * day + 1, Number.NaN]) await assert.rejects(set({ durationMs }), withCode('InvalidArgument'));
    for (const durationMs of [1000, 30 * day]) assert.equal(await set({ durationMs }), true);
    await assert.rejects(set({ reason: 'x'.repeat(257) }), withCode('InvalidArgument'));
    await assert.rejects(set({ cordoned: false, durationMs: hour }), withCode('InvalidArgument'));
  });
});
