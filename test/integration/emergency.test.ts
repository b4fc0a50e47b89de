import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { configSchema, type EventRecord, layout } from '@evercert/coordinator';
import {
  emergencyFolder,
  MirrorKeeper,
  mirrorFile,
  noteEmergency,
  openMirrored,
  readMirror,
  recordEmergencies,
  signEmergency,
} from '@evercert/coordinator/emergency';
import { openKeyProvider } from '@evercert/coordinator/keys';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { pairMatches } from '@evercert/shared/x509';
import type { TestNode } from '../support/coordinator.ts';
import { type IssuedPair, type RevocableCluster, startRevocableCluster } from '../support/revocable.ts';

const order = { cluster: 'demo', node: 'cp-1', names: ['etcd-server'], lifetimeSeconds: 3600 };

describe('certificates in an emergency', () => {
  let cluster: RevocableCluster;
  let dataDir: string;
  let pair: IssuedPair;

  before(async () => {
    cluster = await startRevocableCluster();
    dataDir = cluster.coordinator.dataDir;
    const node: TestNode = await cluster.join('cp-1', '127.0.0.41');
    pair = await cluster.issue(node, 'etcd-server');
    const revoked = await cluster.issue(node, 'etcd-peer');
    await cluster.revoke('stolen', [{ serial: revoked.serial }]);
    node.client.close();
    await cluster.coordinator.stop();
  });

  after(() => rmSync(dataDir, { recursive: true, force: true }));

  async function withStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = await openSqliteStore({ file: join(dataDir, 'store.db'), clock: systemClock, logger: silentLogger });
    try {
      return await work(store);
    } finally {
      await store.close();
    }
  }

  /** With nothing but what lies on the coordinator's disk beside its store. */
  async function sign(change: Partial<typeof order> = {}) {
    const mirror = await readMirror(mirrorFile(dataDir));
    assert.ok(mirror);
    const store = await openMirrored(mirror, { clock: systemClock, logger: silentLogger });
    const keys = await openKeyProvider(configSchema.parse({ dataDir }), {
      store,
      clock: systemClock,
      logger: silentLogger,
      env: {},
      beside: true,
    });
    try {
      return await signEmergency({ ...order, ...change }, { store, keys, clock: systemClock, logger: silentLogger, backdateMs: 60_000 });
    } finally {
      await keys.close();
      await store.close();
    }
  }

  it('rest on a last known state without secrets, that is written when it changes', async () => {
    const path = mirrorFile(dataDir);
    await withStore(async (store) => {
      const keeper = new MirrorKeeper({ store, storeName: 'etcd', path, clock: systemClock, logger: silentLogger });
      keeper.start();
      await waitUntil(systemClock, async () => (await readMirror(path)) !== undefined, { timeoutMs: 5000, what: path });
      await keeper.stop();
    });
    const { entries } = (await readMirror(path))!;
    const has = (prefix: string): boolean => entries.some(({ key }) => key.startsWith(prefix));
    assert.ok(has(layout.authorities) && has(layout.manifests) && has(layout.certificate('demo', pair.serial)));
    assert.ok(!has(layout.tokens) && !has(layout.keyPairs));
    assert.doesNotMatch(readFileSync(path, 'utf8'), /PRIVATE KEY/);
  });

  it('are for the key that the node has, as the manifest declares them, for as long as was asked', async () => {
    const { certificates, skipped } = await sign();
    assert.deepEqual(skipped, []);
    const [only] = certificates;
    assert.ok(only && pairMatches(only.chain[0]!, pair.privateKey));
    assert.notEqual(only.record.serial, pair.serial);
    assert.deepEqual(only.paths, ['/etc/kubernetes/pki/etcd/server.crt']);
    assert.deepEqual([only.record.commonName, only.record.ipAddresses], ['cp-1', ['127.0.0.41', '127.0.0.1', '::1']]);
    assert.ok(only.record.notAfterMs - only.record.issuedAtMs === 3600_000);
  });

  it('are refused where the certificate is revoked', async () => {
    await assert.rejects(sign({ names: ['etcd-peer'] }), { code: 'Revoked' });
  });

  it('leave out what the node never had, and say so', async () => {
    const { certificates, skipped } = await sign({ names: ['apiserver'] });
    assert.deepEqual([certificates, skipped], [[], [{ name: 'apiserver', why: 'nothing is known of the key that the node has for it' }]]);
    await assert.rejects(sign({ names: ['none'] }), { code: 'NotFound' });
    await assert.rejects(sign({ node: 'cp-2' }), { code: 'NotFound', message: /known control-plane nodes: demo\/cp-1/ });
  });

  it('are told to the store afterwards, each once', async () => {
    const { certificates } = await sign();
    const records = certificates.map(({ record }) => record);
    await withStore(async (store) => {
      for (const expected of [1, 0, 1]) {
        if (expected > 0) await noteEmergency(emergencyFolder(dataDir), records);
        assert.equal(await recordEmergencies(emergencyFolder(dataDir), { store, clock: systemClock, logger: silentLogger }), expected);
      }
      const serial = records[0]!.serial;
      assert.ok(await store.get(layout.certificate('demo', serial)));
      const events = (await store.range({ prefix: layout.eventsOf('demo') })).entries.map(
        ({ value }) => JSON.parse(Buffer.from(value).toString()) as EventRecord,
      );
      assert.equal(events.filter((event) => event.serial === serial).length, 1);
    });
  });

  it('are not signed by a state that is damaged', async () => {
    const path = mirrorFile(dataDir);
    writeFileSync(path, readFileSync(path, 'utf8').replace('"value":"ey', '"value":"ez'));
    await assert.rejects(readMirror(path), { code: 'DataLoss', message: /another coordinator/ });
  });
});
