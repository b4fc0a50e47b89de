import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { layout } from '@evercert/coordinator';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { EtcdCluster } from '../support/etcd-cluster.ts';
import { needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const entries = 1200;
const coordinator = join(repositoryRoot, 'coordinator', 'src', 'main.ts');

describe('evercert-coordinator store', function () {
  this.timeout(90_000);
  const folder = mkdtempSync(join(tmpdir(), 'evercert-migrate-'));
  let etcd: EtcdCluster;
  let count = 0;

  before(async function () {
    needTool(this, 'etcd');
    etcd = await EtcdCluster.start({ members: 1, heartbeatMs: 50 });
  });

  after(async () => {
    await etcd?.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  /** A configuration, and how to open what it names. */
  interface Place {
    file: string;
    open(): Promise<Store>;
  }

  function place(store: Record<string, unknown>, open: (dataDir: string) => Promise<Store>): Place {
    count += 1;
    const dataDir = join(folder, `data-${count}`);
    mkdirSync(dataDir, { mode: 0o700 });
    const file = join(folder, `coordinator-${count}.yaml`);
    writeFileSync(file, JSON.stringify({ dataDir, store, log: { level: 'error' } }));
    return { file, open: () => open(dataDir) };
  }

  const sqlite = (): Place =>
    place({ sqlite: {} }, (dataDir) => openSqliteStore({ file: join(dataDir, 'store.db'), clock: systemClock, logger: silentLogger }));
  const inEtcd = (): Place => {
    const keyPrefix = `/migrate-${count}`;
    return place({ etcd: { ...etcd.storeConfig.etcd, keyPrefix } }, () => etcd.openStore({ keyPrefix: `${keyPrefix}/` }));
  };

  async function using<T>(at: Place, work: (store: Store) => Promise<T>): Promise<T> {
    const store = await at.open();
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }

  const fill = (at: Place): Promise<void> =>
    using(at, async (store) => {
      const lease = await store.grantLease(3600);
      for (let from = 0; from < entries; from += 100) {
        const put = (i: number) => ({
          type: 'put' as const,
          key: layout.node('demo', `node-${i}`),
          value: Buffer.from(`node ${i} `.repeat(i % 50)),
        });
        await store.transact(
          [],
          Array.from({ length: 100 }, (_, i) => put(from + i)),
        );
      }
      await store.transact(
        [],
        [
          { type: 'put', key: layout.session('demo', 'node-1'), value: Buffer.from('{}'), lease },
          { type: 'put', key: `${layout.clusters}demo`, value: Buffer.alloc(0) },
          { type: 'put', key: layout.revocationListParts('demo', 'etcd-ca', 'x'), value: Buffer.alloc(500_000, 7) },
        ],
      );
    });

  const contents = (at: Place): Promise<Map<string, string>> =>
    using(at, async (store) => {
      const found = (await store.range({ prefix: layout.root })).entries.filter(
        ({ key }) => !key.startsWith(layout.audit) && key !== layout.storeMark,
      );
      return new Map(
        found.map(({ key, value, lease }) => [key, `${lease === undefined ? '' : 'leased '}${Buffer.from(value).toString('hex')}`]),
      );
    });

  const command = (at: Place, args: string[], env: Record<string, string> = {}): Promise<RunResult> =>
    run(process.execPath, [coordinator, '--config', at.file, 'store', ...args], { env });
  const migrate = (from: Place, to: Place, args: string[] = [], env: Record<string, string> = {}): Promise<RunResult> =>
    command(from, ['migrate', '--to', to.file, ...args], env);

  const ok = (result: RunResult): string => {
    assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
    return result.stdout;
  };
  const refused = (result: RunResult, message: RegExp): void => {
    assert.equal(result.status, 6, `${result.stdout}${result.stderr}`);
    assert.match(result.stderr, message);
  };

  it('moves SQLite to etcd and back, all but what hangs on leases, and keeps coordinators off what was left behind', async () => {
    const [from, to] = [sqlite(), inEtcd()];
    await fill(from);
    const before = await contents(from);
    const dry = ok(await migrate(from, to, ['--dry-run']));
    assert.match(dry, /Nothing was changed\. 1202 entries/);
    assert.equal((await contents(to)).size, 0);

    const told = ok(await migrate(from, to));
    assert.match(told, /Moved 1202 entries .*counts and digests agree/s);
    assert.match(told, /Not taken along: 1 keys on leases/);
    before.delete(layout.session('demo', 'node-1'));
    assert.deepEqual(await contents(to), before);
    refused(await run(process.execPath, [coordinator, '--config', from.file]), /was moved to etcd .*configure that store/s);
    refused(await migrate(from, to), /was moved to etcd .*nothing left to do/s);

    await using(to, (store) => store.transact([], [{ type: 'put', key: layout.node('demo', 'later'), value: Buffer.from('later') }]));
    ok(await migrate(to, from));
    assert.deepEqual(await contents(from), new Map([...before, [layout.node('demo', 'later'), Buffer.from('later').toString('hex')]]));
    refused(await run(process.execPath, [coordinator, '--config', to.file]), /was moved to SQLite/);
  });

  const all = ['claimed', 'copied@1', 'copied@7', 'verified', 'moved', 'finished'];
  for (const point of process.env['EVERCERT_ALL_FAULT_POINTS'] ? all : ['copied@7', 'moved']) {
    it(`is completed by another run after a SIGKILL at ${point}, and at no moment are both stores in use`, async () => {
      const [from, to] = [sqlite(), inEtcd()];
      await fill(from);
      const before = await contents(from);
      before.delete(layout.session('demo', 'node-1'));
      const killed = await migrate(from, to, [], { EVERCERT_FAULT_POINT: `store-migration-${point}` });
      assert.equal(killed.signal, 'SIGKILL', `${killed.stdout}${killed.stderr}`);
      const marked = await Promise.all([from, to].map((at) => using(at, (store) => store.get(layout.storeMark))));
      assert.ok(
        marked.some((mark) => mark !== undefined),
        'both stores can be used',
      );
      if (point === 'finished') refused(await migrate(from, to), /nothing left to do/);
      else assert.match(ok(await migrate(from, to)), /completing an earlier run/);
      assert.deepEqual(await contents(to), before);
    });
  }

  it('touches no target that holds something else', async () => {
    const [from, to] = [sqlite(), inEtcd()];
    await fill(from);
    await using(to, (store) => store.transact([], [{ type: 'put', key: layout.cluster('other'), value: Buffer.from('other') }]));
    refused(await migrate(from, to), /holds something else/);
    assert.equal((await contents(to)).size, 1);
    assert.equal(await using(from, (store) => store.get(layout.storeMark)), undefined);
  });

  it('is refused while a coordinator runs on the source', async () => {
    const [file, shared, target] = [sqlite(), inEtcd(), sqlite()];
    await fill(file);
    await using(file, async () => refused(await migrate(file, target), /another coordinator uses this data folder/));
    await using(shared, async (store) => {
      const lease = await store.grantLease(60);
      await store.transact([], [{ type: 'put', key: layout.coordinator('c1'), value: Buffer.from('{}'), lease }]);
      refused(await migrate(shared, target), /a coordinator runs on etcd .*c1/s);
      await store.revokeLease(lease);
    });
  });

  it('lets a store be used again that was moved away, and says what is lost', async () => {
    const [from, to] = [sqlite(), inEtcd()];
    await fill(from);
    refused(await command(from, ['unmark']), /was not moved away/);
    ok(await migrate(from, to));
    assert.match(ok(await command(from, ['unmark'])), /can be used again\. What was written to etcd/);
    assert.equal(await using(from, (store) => store.get(layout.storeMark)), undefined);
  });

  it('shows members, sizes and what is in the store', async () => {
    const at = inEtcd();
    await fill(at);
    const text = ok(await command(at, ['status']));
    assert.match(text, /ENDPOINT +MEMBER +ROLE/);
    assert.match(text, /m1 +leader +3\.\d/);
    assert.match(text, /Alarms: none/);
    assert.match(text, /nodes +1200/);
    await etcd.alarmNoSpace(true);
    try {
      const json = JSON.parse(ok(await command(at, ['status', '-o', 'json'])));
      assert.deepEqual(
        [json.prefixes.nodes.entries, json.alarms, json.endpoints[0].leader],
        [1200, [{ member: 'm1', alarm: 'NOSPACE' }], true],
      );
    } finally {
      await etcd.alarmNoSpace(false);
    }
    const local = sqlite();
    await fill(local);
    const evercert = join(repositoryRoot, 'cli', 'src', 'main.ts');
    const PATH = `${join(repositoryRoot, 'coordinator', 'bin')}:${process.env['PATH']}`;
    const handedOn = await run(process.execPath, [evercert, 'store', 'status', '--config', local.file, '-o', 'json'], { env: { PATH } });
    assert.equal(JSON.parse(ok(handedOn)).entries, 1202);
    assert.match(ok(await command(local, ['status'])), /^SQLite .*store\.db, revision 13\n/);
  });
});
