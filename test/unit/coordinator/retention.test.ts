import assert from 'node:assert/strict';
import { EventRecorder, encodeRecord, layout, Retention } from '@evercert/coordinator';
import { removalSource } from '@evercert/coordinator/replacement';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

const cluster = 'demo';
const day = 86_400_000;

describe('what retention forgets', () => {
  const clock = new FakeClock();
  const agoMs = (days: number): number => clock.nowMs() - days * day;
  let store: Store;

  const put = async (key: string, record: object): Promise<void> => {
    await store.transact([], [{ type: 'put', key, value: encodeRecord(record) }]);
  };
  const certificate = (serial: string, notAfterMs: number): Promise<void> =>
    put(layout.certificate(cluster, serial), { cluster, serial, notAfterMs, spkiSha256: serial });
  const revocation = (name: string, source: string, ...serials: string[]): Promise<void> =>
    put(layout.revocation(cluster, name), { cluster, name, source, entries: serials.map((value) => ({ kind: 'SerialNumber', value })) });
  const pass = async (certificatesMs: number): Promise<number> => {
    const retention = new Retention({
      store,
      clock,
      logger: silentLogger,
      certificatesMs,
      eventsMs: 30 * day,
      events: new EventRecorder(store, clock, silentLogger),
      isSealed: ({ key }) => !key.includes('unsealed'),
    });
    let gone: number | undefined;
    void retention.pass().then((count) => {
      gone = count;
    });
    while (gone === undefined) await clock.advance(20);
    return gone;
  };
  const there = async (key: string): Promise<boolean> => (await store.get(key)) !== undefined;

  beforeEach(async () => {
    store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
  });
  afterEach(() => store.close());

  it('are replacements that ended long ago, never one that is under way', async () => {
    await put(layout.replacement(cluster, 'old'), { finishedAtMs: agoMs(31) });
    await put(layout.replacement(cluster, 'young'), { finishedAtMs: agoMs(29) });
    await put(layout.replacement(cluster, 'running'), { createdAtMs: agoMs(90) });
    assert.equal(await pass(30 * day), 1);
    assert.deepEqual(
      (await store.range({ prefix: layout.replacements })).entries.map(({ key }) => key.split('/').at(-1)),
      ['running', 'young'],
    );
  });

  it('is no replacement that counts against the limit of an hour, however short the retention', async () => {
    await put(layout.replacement(cluster, 'a'), { finishedAtMs: clock.nowMs() - 60_000 });
    assert.equal(await pass(1000), 0);
  });

  it('are removed nodes, long after they were removed and came back last', async () => {
    await put(layout.removedNode(cluster, '01'), { removedAtMs: agoMs(60) });
    await put(layout.removedNode(cluster, '02'), { removedAtMs: agoMs(60), lastReturnedAtMs: agoMs(1) });
    assert.equal(await pass(30 * day), 1);
    assert.ok(await there(layout.removedNode(cluster, '02')));
  });

  it("are revocations that removals have made, with the last of their certificates, and none of an admin's", async () => {
    await certificate('01', agoMs(31));
    await certificate('02', agoMs(31));
    await certificate('03', agoMs(29));
    await revocation('over', removalSource, '01', '02');
    await revocation('not-over', removalSource, '02', '03');
    await revocation('of-an-admin', 'evercert apply', '01');
    assert.equal(await pass(30 * day), 3);
    const left = await Promise.all(['over', 'not-over', 'of-an-admin'].map((name) => there(layout.revocation(cluster, name))));
    assert.deepEqual(left, [false, true, true]);
    assert.ok(await there(layout.revocationEpoch(cluster)), 'an issue that was decided before notices');
  });
});
