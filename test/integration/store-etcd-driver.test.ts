import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { type EtcdStore, type EtcdStoreOptions, storeLimits, type WatchEvent } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { EtcdCluster } from '../support/etcd-cluster.ts';
import { createEtcdPki } from '../support/etcd-pki.ts';
import { SeverableProxy } from '../support/severable-proxy.ts';
import { needTool } from '../support/tools.ts';

const put = (key: string, value: string | Buffer = key) => ({ type: 'put' as const, key, value: Buffer.from(value) });

describe('the etcd driver', () => {
  let etcd: EtcdCluster;
  let keyPrefix: string;
  let store: EtcdStore;
  let stop: AbortController;
  const opened: EtcdStore[] = [];

  before(async function () {
    needTool(this, 'etcd');
    etcd = await EtcdCluster.start({ members: 1, heartbeatMs: 50 });
  });

  after(() => etcd?.dispose());

  beforeEach(async () => {
    keyPrefix = `/${randomBytes(6).toString('hex')}/`;
    stop = new AbortController();
    store = await open();
  });

  afterEach(async () => {
    stop.abort();
    for (const each of opened.splice(0)) await each.close();
  });

  async function open(options: Partial<EtcdStoreOptions> = {}): Promise<EtcdStore> {
    const each = await etcd.openStore({ keyPrefix, ...options });
    opened.push(each);
    return each;
  }

  const watch = (from: EtcdStore, prefix: string, fromRevision: number): AsyncIterator<WatchEvent[]> =>
    from.watch({ prefix, fromRevision, signal: stop.signal })[Symbol.asyncIterator]();

  describe('watches', () => {
    it('say so when what they should begin with is forgotten', async () => {
      const { revision } = await store.transact([], [put('/k', 'one')]);
      await store.transact([], [put('/k', 'two')]);
      await etcd.compact();
      await assert.rejects(watch(store, '/k', revision).next(), { code: 'FailedPrecondition', message: /list again/ });
    });

    it('wait for a slow consumer without keeping what it has not taken, and lose nothing', async () => {
      const slow = await open({ watchQueueEvents: 4 });
      const { revision } = await store.transact([], [put('/k', '0')]);
      const changes = watch(slow, '/k', revision);
      for (let i = 1; i < 100; i++) await store.transact([], [put('/k', String(i))]);
      const seen: string[] = [];
      while (seen.length < 100) seen.push(Buffer.from((await changes.next()).value![0]!.entry!.value).toString());
      assert.deepEqual(
        seen,
        Array.from({ length: 100 }, (_, i) => String(i)),
      );
    });

    it('tell a consumer that was too slow for what etcd keeps', async () => {
      const slow = await open({ watchQueueEvents: 4 });
      const { revision } = await store.transact([], [put('/k', '0')]);
      const changes = watch(slow, '/k', revision);
      assert.equal((await changes.next()).value?.[0]?.revision, revision);
      for (let i = 1; i < 100; i++) await store.transact([], [put('/k', String(i))]);
      await systemClock.sleep(200);
      await etcd.compact();
      const rest = async (): Promise<void> => {
        for (;;) await changes.next();
      };
      await assert.rejects(rest(), { code: 'FailedPrecondition' });
    });

    it('hand out one revision whole that is larger than a message of etcd', async () => {
      const count = 3000;
      const name = (i: number): string => `/${String(i).padStart(6, '0')}`.padEnd(storeLimits.keyBytes - keyPrefix.length, 'x');
      for (let from = 0; from < count; from += storeLimits.operations) {
        const size = Math.min(storeLimits.operations, count - from);
        await store.transact(
          [],
          Array.from({ length: size }, (_, i) => put(name(from + i), '')),
        );
      }
      const { revision } = await store.range({ prefix: '/', limit: 1 });
      const changes = watch(store, '/', revision + 1);
      await store.transact([], [{ type: 'deletePrefix', prefix: '/' }]);
      await store.transact([], [put('/after')]);
      const events = (await changes.next()).value as WatchEvent[];
      assert.equal(events.length, count);
      assert.deepEqual([...new Set(events.map((event) => event.revision))], [revision + 1]);
      assert.equal((await changes.next()).value?.[0]?.key, '/after');
    });
  });

  it('reads ranges that are larger than a message may be', async () => {
    const value = Buffer.alloc(storeLimits.transactionBytes, 7);
    for (let i = 0; i < 66; i++) await store.transact([], [put(`/big/${i}`, value)]);
    const { entries, more } = await store.range({ prefix: '/big/' });
    assert.deepEqual([entries.length, more], [66, false]);
    await store.transact([], [{ type: 'deletePrefix', prefix: '/big/' }]);
  });

  it('reads the end of a large range backwards, page by page', async () => {
    const names = Array.from(
      { length: 2000 },
      (_, i) => `/r/${i % 3 === 0 ? 'demo' : 'other'}/${1_700_000_000_000 + i * 37}-${i % 7 === 0 ? 'é' : 'x'}${i}`,
    );
    for (let from = 0; from < names.length; from += 100) {
      await store.transact(
        [],
        names.slice(from, from + 100).map((key) => put(key)),
      );
    }
    const expected = names.toSorted((a, b) => Buffer.compare(Buffer.from(b), Buffer.from(a)));
    for (const limit of [1, 7, 300]) {
      const seen: string[] = [];
      for (let more = true; more && seen.length < 1000; ) {
        const after = seen.at(-1);
        const page = await store.range({ prefix: '/r/', reverse: true, limit, ...(after !== undefined && { after }) });
        seen.push(...page.entries.map(({ key }) => key));
        more = page.more;
        if (limit === 1 && seen.length >= 5) break;
      }
      assert.deepEqual(seen, expected.slice(0, seen.length));
    }
    const below = await store.range({ prefix: '/r/demo/', reverse: true, limit: 600, after: expected.at(-3)! });
    assert.deepEqual([below.entries.map(({ key }) => key), below.more], [expected.slice(-2), false]);
    const all = await store.range({ prefix: '', reverse: true, limit: 2 });
    assert.deepEqual(
      all.entries.map(({ key }) => key),
      expected.slice(0, 2),
    );
  });

  it('shares an etcd with others without seeing them', async () => {
    const other = await open({ keyPrefix: `${keyPrefix.slice(0, -1)}0/` });
    await store.transact([], [put('/k', 'mine')]);
    await other.transact([], [put('/k', 'theirs')]);
    assert.equal(Buffer.from((await store.get('/k'))!.value).toString(), 'mine');
    assert.deepEqual(
      (await store.range({ prefix: '' })).entries.map(({ key }) => key),
      ['/k'],
    );
  });

  it('says what to do when etcd is full, and goes on once there is room', async () => {
    await store.transact([], [put('/before')]);
    await etcd.alarmNoSpace(true);
    try {
      await assert.rejects(store.transact([], [put('/k')]), { code: 'DiskFull', message: /defragment.*alarm disarm/s });
      assert.equal(await store.get('/k'), undefined);
      assert.ok(await store.get('/before'));
    } finally {
      await etcd.alarmNoSpace(false);
    }
    assert.equal((await store.transact([], [put('/k')])).succeeded, true);
  });

  describe('when a member does not answer', () => {
    let proxy: SeverableProxy;

    beforeEach(async () => {
      proxy = await SeverableProxy.open(etcd.targets[0]!);
    });

    afterEach(() => proxy.close());

    it('does not send a transaction again that may have been applied, and says so', async () => {
      const cut = await open({ endpoints: [proxy.address, ...etcd.targets], requestTimeoutMs: 800, random: () => 0 });
      await cut.transact([], [put('/k', 'before')]);
      proxy.sever();
      const error = await cut.transact([], [put('/k', 'lost')]).then(
        () => assert.fail('a transaction without an answer succeeded'),
        (caught: unknown) => caught,
      );
      assert.ok(error instanceof EvercertError);
      assert.deepEqual([error.code, error.metadata['outcome']], ['StoreFailure', 'unknown']);
      assert.match(error.message, /whether it was applied is not known/);
      await cut.transact([], [put('/next')]);
      assert.equal(Buffer.from((await store.get('/k'))!.value).toString(), 'before');
    });

    it('asks another one for what can be asked twice', async () => {
      await store.transact([], [put('/k')]);
      const cut = await open({ endpoints: [proxy.address, ...etcd.targets], requestTimeoutMs: 800, random: () => 0 });
      const lease = await cut.grantLease(60);
      proxy.sever();
      assert.ok(await cut.get('/k'));
      proxy.mend();
      await cut.keepLeaseAlive(lease);
      await cut.revokeLease(lease);
    });

    it('moves the watches on, without a gap', async () => {
      const cut = await open({ endpoints: [proxy.address, ...etcd.targets], requestTimeoutMs: 800, random: () => 0 });
      const { revision } = await store.transact([], [put('/w', '0')]);
      const changes = watch(cut, '/w', revision);
      assert.equal((await changes.next()).value?.[0]?.revision, revision);
      proxy.sever();
      for (let i = 1; i <= 3; i++) await store.transact([], [put('/w', String(i))]);
      const seen = [await changes.next(), await changes.next(), await changes.next()].map(
        ({ value }) => (value as WatchEvent[])[0]!.revision,
      );
      assert.deepEqual(seen, [revision + 1, revision + 2, revision + 3]);
    });

    it('surely wrote nothing where nobody listens', async () => {
      const cut = await open({ endpoints: [proxy.address], requestTimeoutMs: 500, dialTimeoutMs: 200 });
      proxy.close();
      await systemClock.sleep(100);
      await assert.rejects(cut.transact([], [put('/k')]), (error: unknown) => {
        assert.ok(error instanceof EvercertError && error.code === 'StoreFailure');
        return error.metadata['outcome'] === 'not-applied' && /nobody listens there/.test(error.message);
      });
    });
  });

  describe('the certificates', () => {
    const quick = { requestTimeoutMs: 500 };

    it('are told apart by what is wrong with them', async () => {
      const foreign = await createEtcdPki();
      const pki = join(etcd.folder, 'foreign');
      await foreign.writeNode(pki, 'foreign', '127.0.0.1', 600);
      const pair = { certFile: join(pki, 'apiserver-etcd-client.crt'), keyFile: join(pki, 'apiserver-etcd-client.key') };
      const [port] = etcd.targets[0]!.split(':').slice(-1);
      await assert.rejects(open({ ...quick, files: { ...etcd.files, caFile: join(pki, 'ca.crt') } }), {
        message: /not signed by a CA of store\.etcd\.caFile/,
      });
      await assert.rejects(open({ ...quick, files: { ...etcd.files, ...pair } }), { message: /does not accept the client certificate/ });
      await assert.rejects(open({ ...quick, endpoints: [`127.0.0.2:${port}`] }), {
        message: /nobody listens there|does not name the host/,
      });
      await assert.rejects(open({ files: { ...etcd.files, keyFile: pair.keyFile } }), { code: 'InvalidCertificate' });
      await assert.rejects(open({ files: { ...etcd.files, caFile: join(pki, 'none') } }), { code: 'FileSystem' });
    });

    it('are read again for a new connection when they were replaced', async () => {
      const live = await open();
      await live.transact([], [put('/k')]);
      const next = await createEtcdPki();
      const pki = join(etcd.folder, 'next');
      await next.writeNode(pki, etcd.endpoints[0]!.name, '127.0.0.1', 600);
      for (const file of [
        'ca.crt',
        'etcd/ca.crt',
        'etcd/server.crt',
        'etcd/server.key',
        'etcd/peer.crt',
        'etcd/peer.key',
        'apiserver-etcd-client.crt',
        'apiserver-etcd-client.key',
      ]) {
        copyFileSync(join(pki, file), join(pki, `${file}.copy`));
        renameSync(join(pki, `${file}.copy`), join(etcd.pkiDir(0), file));
      }
      await etcd.kill(0);
      await etcd.start(0);
      await systemClock.sleep(500);
      for (let attempt = 1; ; attempt++) {
        try {
          assert.equal((await live.transact([], [put('/k', 'after')])).succeeded, true);
          break;
        } catch (error) {
          if (attempt >= 5) throw error;
        }
      }
    });
  });
});
