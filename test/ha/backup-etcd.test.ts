import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeRecord, layout } from '@evercert/coordinator';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { ClusterSpec } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { EtcdCluster } from '../support/etcd-cluster.ts';
import { needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const coordinatorBin = join(repositoryRoot, 'coordinator', 'bin', 'evercert-coordinator');

describe('a backup and etcd', function () {
  this.timeout(120_000);
  const folder = mkdtempSync(join(tmpdir(), 'evercert-backup-etcd-'));
  const passphraseFile = join(folder, 'passphrase');
  const keyPrefix = '/restored';
  let etcd: EtcdCluster;
  let source: TestCoordinator;
  let count = 0;

  function place(store: Record<string, unknown>): string {
    count += 1;
    const dataDir = join(folder, `data-${count}`);
    mkdirSync(dataDir, { mode: 0o700 });
    copyFileSync(join(source.dataDir, 'ca-passphrase'), join(dataDir, 'ca-passphrase'));
    const file = join(folder, `coordinator-${count}.yaml`);
    writeFileSync(file, JSON.stringify({ dataDir, store, caKeys: { file: { shared: true } }, log: { level: 'error' } }));
    return file;
  }

  const coordinator = (configPath: string, ...args: string[]): Promise<RunResult> =>
    run(coordinatorBin, ['--config', configPath, ...args, '--passphrase-file', passphraseFile]);

  before(async function () {
    needTool(this, 'etcd');
    etcd = await EtcdCluster.start({ members: 1, heartbeatMs: 50 });
    writeFileSync(passphraseFile, 'seven random words of some length\n', { mode: 0o600 });
    source = await startTestCoordinator();
    const { admin } = source;
    await unary(admin.createCluster.bind(admin), { name: 'demo', spec: ClusterSpec.fromPartial({}) }, deadline);
    await enroll(source, { token: await createToken(source, 'demo', { nodeName: 'cp-1' }), name: 'cp-1' });
    await source.stop();
  });

  after(async () => {
    await etcd?.dispose();
    if (source) rmSync(source.dataDir, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  });

  it('goes from SQLite into etcd, and from there back, while somebody writes', async () => {
    const inSqlite = join(folder, 'source.yaml');
    writeFileSync(inSqlite, JSON.stringify({ dataDir: source.dataDir, log: { level: 'error' } }));
    const first = join(folder, 'first.backup');
    assert.equal((await coordinator(inSqlite, 'backup', '--out', first)).status, 0);
    const inEtcd = place({ etcd: { ...etcd.storeConfig.etcd, keyPrefix } });
    const restored = await coordinator(inEtcd, 'restore', '--from', first);
    assert.equal(restored.status, 0, restored.stderr);
    assert.match(restored.stdout, /All CA keys can be opened/);

    const store = await etcd.openStore({ keyPrefix: `${keyPrefix}/` });
    const writer = new Writer(store);
    const second = join(folder, 'second.backup');
    const made = await coordinator(inEtcd, 'backup', '--out', second);
    const written = await writer.stop();
    await store.close();
    assert.equal(made.status, 0, made.stderr);
    assert.ok(written > 10, `${written} writes`);
    const back = await coordinator(place({ sqlite: {} }), 'restore', '--from', second);
    assert.equal(back.status, 0, back.stderr);
    assert.match(back.stdout, /counts and digests agree/);
    // Both keys are written in one transaction: at any one revision they say the same.
    const file = join(folder, `data-${count}`, 'store.db');
    const copy = await openSqliteStore({ file, clock: systemClock, logger: silentLogger });
    const [a, z] = [await copy.get(layout.refusedRecovery('demo', 'a')), await copy.get(layout.refusedRecovery('demo', 'z'))];
    await copy.close();
    assert.ok(a && z);
    assert.deepEqual(Buffer.from(a.value), Buffer.from(z.value));
  });

  it('is not restored into an etcd that holds something, nor under a coordinator that runs', async () => {
    const first = join(folder, 'first.backup');
    const filled = await coordinator(join(folder, 'coordinator-1.yaml'), 'restore', '--from', first);
    assert.equal(filled.status, 6, filled.stdout);
    assert.match(filled.stderr, /holds something already/);
    const store = await etcd.openStore({ keyPrefix: '/running/' });
    const lease = await store.grantLease(60);
    await store.transact([], [{ type: 'put', key: layout.coordinator('one'), value: encodeRecord({ id: 'one' }), lease }]);
    const running = await coordinator(place({ etcd: { ...etcd.storeConfig.etcd, keyPrefix: '/running' } }), 'restore', '--from', first);
    await store.close();
    assert.equal(running.status, 6, running.stdout);
    assert.match(running.stderr, /a coordinator runs on/);
  });
});

/** Writes two keys together, again and again. */
class Writer {
  #stopped = false;
  readonly #running: Promise<number>;

  constructor(store: Store) {
    this.#running = this.#run(store);
  }

  stop(): Promise<number> {
    this.#stopped = true;
    return this.#running;
  }

  async #run(store: Store): Promise<number> {
    let written = 0;
    for (; !this.#stopped; written++) {
      const value = encodeRecord({ written });
      await store.transact(
        [],
        [layout.refusedRecovery('demo', 'a'), layout.refusedRecovery('demo', 'z')].map((key) => ({ type: 'put' as const, key, value })),
      );
    }
    return written;
  }
}
