import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, layout } from '@evercert/coordinator';
import { describeLocation, encodeMark, openStore, startCompaction } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';

const etcd = { endpoints: ['etcd-2', 'etcd-1.example.com:12379'], caFile: '/ca', certFile: '/crt', keyFile: '/key' };

describe('the choice of the store', () => {
  it('is SQLite unless the configuration names an etcd, whose defaults are set', () => {
    assert.deepEqual(configSchema.parse({}).store, { sqlite: {} });
    const { store } = configSchema.parse({ store: { etcd } });
    assert.deepEqual(store.etcd?.endpoints, ['etcd-2:2379', 'etcd-1.example.com:12379']);
    assert.deepEqual(
      [store.etcd?.keyPrefix, store.etcd?.dialTimeout, store.etcd?.requestTimeout, store.etcd?.compactAfter],
      ['', 2000, 5000, 600],
    );
    assert.equal(configSchema.parse({ store: { etcd: { ...etcd, compactAfter: null } } }).store.etcd?.compactAfter, null);
  });

  for (const [what, store] of [
    ['none', {}],
    ['both', { sqlite: {}, etcd }],
    ['no endpoint', { etcd: { ...etcd, endpoints: [] } }],
    ['no client certificate', { etcd: { ...etcd, certFile: undefined } }],
    ['a prefix that ends in the middle of a name', { etcd: { ...etcd, keyPrefix: 'team' } }],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.equal(configSchema.safeParse({ store }).success, false);
    });
  }

  it('is told the same in whatever order the endpoints are written', () => {
    const location = (endpoints: string[]): string =>
      describeLocation(configSchema.parse({ store: { etcd: { ...etcd, endpoints, keyPrefix: '/a' } } }));
    assert.equal(location(['b:1', 'a:1']), 'etcd a:1, b:1 under /a');
    assert.equal(location(['b:1', 'a:1']), location(['a:1', 'b:1']));
  });

  it('refuses a store that was moved away, or is not complete, unless that is asked for', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'evercert-store-'));
    const dependencies = { clock: new FakeClock(), logger: silentLogger };
    const location = configSchema.parse({ dataDir });
    try {
      for (const [state, message] of [
        ['moved', /was moved to etcd x .*configure that store/s],
        ['arriving', /is being filled from etcd x .*run 'evercert-coordinator store migrate' again/s],
      ] as const) {
        const store = await openStore(location, { ...dependencies, marked: true });
        const value = encodeMark({ state, id: '1', other: 'etcd x', atMs: 0 });
        await store.transact([], [{ type: 'put', key: layout.storeMark, value }]);
        await store.close();
        await assert.rejects(openStore(location, dependencies), { code: 'FailedPrecondition', message });
      }
    } finally {
      rmSync(dataDir, { recursive: true });
    }
  });
});

describe('the compaction of etcd', () => {
  function setUp() {
    const clock = new FakeClock();
    const compacted: number[] = [];
    let revision = 100;
    let failing = false;
    let close = (): void => undefined;
    startCompaction(
      {
        latestRevision: async () => {
          if (failing) throw new EvercertError('StoreFailure', 'etcd is away');
          return revision;
        },
        compact: async (to) => void compacted.push(to),
        onClose: (callback) => {
          close = callback;
        },
      },
      { clock, logger: silentLogger, keepMs: 600_000 },
    );
    return {
      clock,
      compacted,
      /** Ten minutes in which something is written each two minutes. */
      async minutes(count: number): Promise<void> {
        for (let minute = 0; minute < count; minute += 2) {
          revision += 10;
          await clock.advance(120_000);
        }
      },
      fail: (on: boolean) => {
        failing = on;
      },
      close: () => close(),
    };
  }

  it('forgets what is older than asked for, and nothing younger', async () => {
    const { clock, compacted, minutes, close } = setUp();
    await minutes(10);
    assert.deepEqual(compacted, []);
    await minutes(6);
    // The revision of two minutes after the start is ten minutes old, then that of four.
    assert.deepEqual(compacted, [110, 120, 130]);
    close();
    await minutes(10);
    assert.equal(compacted.length, 3);
    assert.equal(clock.pending, 0);
  });

  it('goes on after etcd was away', async () => {
    const { compacted, minutes, fail, close } = setUp();
    await minutes(12);
    fail(true);
    await minutes(30);
    fail(false);
    const before = compacted.length;
    await minutes(4);
    assert.ok(compacted.length > before);
    close();
  });
});
