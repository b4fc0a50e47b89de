import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EventRecorder, quorumObjection, RestartLeases } from '@evercert/coordinator';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { withCode } from '../../support/node-calls.ts';

const minute = 60_000;

describe('the lease for restarts of a control plane', () => {
  let folder: string;
  let clock: FakeClock;
  let store: Store;
  let leases: RestartLeases;
  let objection: string | undefined;

  const open = async (): Promise<void> => {
    store = await openSqliteStore({ file: join(folder, 'store.db'), clock, logger: silentLogger });
    const events = new EventRecorder(store, clock, silentLogger);
    leases = new RestartLeases({ store, clock, logger: silentLogger, events, objection: () => objection });
  };
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-restart-lease-'));
    clock = new FakeClock();
    objection = undefined;
    await open();
  });
  afterEach(async () => {
    await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const acquire = (node: string, change: { cluster?: string; component?: string; durationMs?: number } = {}) =>
    leases.acquire({ cluster: 'demo', node, component: 'kube-apiserver', durationMs: 2 * minute, ...change });
  const reasons = async (): Promise<string[]> => {
    const { entries } = await store.range({ prefix: '/evercert/v1/events/demo/' });
    return entries.map(({ value }) => (JSON.parse(Buffer.from(value).toString()) as { reason: string }).reason);
  };

  it('is one node’s at a time, and the others are told how long to wait', async () => {
    assert.deepEqual(await acquire('cp-1'), { expiresAtMs: clock.nowMs() + 2 * minute });
    await assert.rejects(acquire('cp-2'), (error) => {
      assert.ok(error instanceof EvercertError);
      assert.equal(error.code, 'Conflict');
      assert.equal(error.retryAfterMs, 15_000);
      assert.match(error.message, /cp-1 restarts kube-apiserver/);
      return true;
    });
    await acquire('cp-2', { cluster: 'other' });
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    await acquire('cp-2');
  });

  it('goes to one of many who ask in the same moment', async () => {
    const results = await Promise.allSettled(['cp-1', 'cp-2', 'cp-3', 'cp-4'].map((node) => acquire(node)));
    assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const result of results) if (result.status === 'rejected') withCode('Conflict')(result.reason);
  });

  it('is extended for the node that has it, and ends by itself', async () => {
    await acquire('cp-1', { durationMs: minute });
    await clock.advance(0.9 * minute);
    await acquire('cp-1', { durationMs: minute, component: 'etcd' });
    await clock.advance(0.5 * minute);
    await assert.rejects(acquire('cp-2'), withCode('Conflict'));
    await clock.advance(0.6 * minute);
    await acquire('cp-2');
  });

  it('survives a restart of the coordinator, with what was left of it', async () => {
    await acquire('cp-1', { durationMs: minute });
    await store.close();
    await open();
    await assert.rejects(acquire('cp-2'), withCode('Conflict'));
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    await acquire('cp-2');
    await store.close();
    await open();
    await clock.advance(2.1 * minute);
    await acquire('cp-3');
  });

  it('is not ended by a clock that is moved ahead', async () => {
    await acquire('cp-1');
    await clock.step(3600_000);
    await assert.rejects(acquire('cp-2'), withCode('Conflict'));
  });

  it('keeps the others waiting for a minute after a restart that failed, but not the node itself', async () => {
    await acquire('cp-1');
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: false });
    await assert.rejects(acquire('cp-2'), withCode('Conflict'));
    await acquire('cp-1');
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: false });
    await clock.advance(1.1 * minute);
    await acquire('cp-2');
  });

  it('is released by the node that has it alone, and twice does no harm', async () => {
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    await acquire('cp-1');
    await leases.release({ cluster: 'demo', node: 'cp-2', serving: true });
    await assert.rejects(acquire('cp-2'), withCode('Conflict'));
    for (let i = 0; i < 2; i += 1) await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    await acquire('cp-2');
  });

  it('is told by events, also that somebody waits', async () => {
    await acquire('cp-1');
    for (let i = 0; i < 3; i += 1) await assert.rejects(acquire('cp-2'), withCode('Conflict'));
    await acquire('cp-1');
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: false });
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    assert.deepEqual((await reasons()).toSorted(), ['RestartDeferred', 'RestartFailed', 'RestartLeaseAcquired', 'RestartLeaseReleased']);
  });

  it('is refused while the component must not go down', async () => {
    objection = 'etcd would lose its quorum: cp-3 is not well';
    await assert.rejects(acquire('cp-1', { component: 'etcd' }), { code: 'Conflict', message: /quorum/ });
    objection = undefined;
    await acquire('cp-1', { component: 'etcd' });
  });

  for (const change of [
    { component: '' },
    { component: 'A B' },
    { component: 'x'.repeat(64) },
    { durationMs: 0 },
    { durationMs: 11 * minute },
    { durationMs: Number.NaN },
  ]) {
    it(`refuses a request with ${JSON.stringify(change)}`, async () => {
      await assert.rejects(acquire('cp-1', change), withCode('InvalidArgument'));
    });
  }

  it('leaves nothing behind in the store', async () => {
    await acquire('cp-1');
    await acquire('cp-1');
    await leases.release({ cluster: 'demo', node: 'cp-1', serving: true });
    assert.deepEqual((await store.range({ prefix: '/evercert/v1/restart-leases/' })).entries, []);
  });
});

describe('an objection for want of a quorum', () => {
  const rows: [string[], string[], string | undefined][] = [
    [['a', 'b', 'c'], ['a', 'b', 'c'], undefined],
    [['a', 'b', 'c'], ['b', 'c'], undefined],
    [['a', 'b', 'c'], ['a', 'b'], 'c is not well'],
    [['a', 'b', 'c'], ['a'], 'b, c are not well'],
    [['a', 'b', 'c', 'd', 'e'], ['a', 'b', 'c', 'd'], undefined],
    [['a', 'b', 'c', 'd', 'e'], ['a', 'b', 'c'], 'd, e are not well'],
    [['a', 'b'], ['a', 'b'], undefined],
    [['a'], ['a'], undefined],
    [[], [], undefined],
  ];
  for (const [members, healthy, expected] of rows) {
    it(`of ${members.join('') || 'nobody'}, well ${healthy.join('') || 'nobody'}: ${expected ?? 'none'}`, () => {
      const found = quorumObjection('a', { members, healthy, needed: Math.floor(members.length / 2) + 1 });
      assert.equal(found, expected && `etcd would lose its quorum: ${expected}`);
    });
  }
});
