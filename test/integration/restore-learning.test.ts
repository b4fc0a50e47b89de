import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, layout } from '@evercert/coordinator';
import { type Restored, type RestoreOptions, restore } from '@evercert/coordinator/backup';
import { openSqliteStore } from '@evercert/coordinator/store';
import { ClusterSpec } from '@evercert/proto';
import { BackupArchive, sealPayload } from '@evercert/shared/backup';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { createCsr, generateKeyPair, parseCertificate } from '@evercert/shared/x509';
import { createToken, deadline, enroll, nodeClient, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';

const cluster = 'demo';
const passphrase = 'seven random words of some length';

interface Identity {
  chain: Buffer[];
  privateKey: KeyObject;
}

describe('a coordinator that was restored from a backup', function () {
  this.timeout(60_000);
  const folder = mkdtempSync(join(tmpdir(), 'evercert-restore-'));
  const running: TestCoordinator[] = [];
  const identities = new Map<string, Identity[]>();
  let first: TestCoordinator;
  let archive: Buffer;
  let auditLog: string;
  let count = 0;

  const newest = (name: string): Identity => identities.get(name)?.at(-1) as Identity;

  async function renew(at: TestCoordinator, name: string, by: Identity): Promise<Identity> {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const csr = await createCsr({ privateKey, commonName: name });
    const client = nodeClient(at, by.chain, by.privateKey);
    try {
      const { chain } = await unary(client.renewIdentity.bind(client), { csr }, deadline);
      return { chain: chain.map((der) => Buffer.from(der)), privateKey };
    } finally {
      client.close();
    }
  }

  /** As an agent does: what is worth another try is tried again. Returns the code of the refusal, or `let in`. */
  async function call(at: TestCoordinator, name: string, by: Identity): Promise<string> {
    for (let attempt = 0; attempt < 40; attempt++) {
      try {
        await renew(at, name, by);
        return 'let in';
      } catch (caught) {
        const { code } = toEvercertError(caught);
        if (code !== 'Unavailable') return code;
        await systemClock.sleep(100);
      }
    }
    return 'Unavailable';
  }

  async function restored(
    options: Partial<Pick<RestoreOptions, 'learnForMs' | 'auditLogs' | 'keepTokens'>> = {},
  ): Promise<{ told: Restored; coordinator: TestCoordinator }> {
    count += 1;
    const dataDir = join(folder, `data-${count}`);
    mkdirSync(dataDir, { mode: 0o700 });
    copyFileSync(join(first.dataDir, 'ca-passphrase'), join(dataDir, 'ca-passphrase'));
    const store = await openSqliteStore({ file: join(dataDir, 'store.db'), clock: systemClock, logger: silentLogger });
    const told = await restore({
      archive: await BackupArchive.open(() => from(archive), passphrase),
      archiveName: 'test.backup',
      store,
      storeName: 'the store of the test',
      keys: configSchema.parse({ dataDir }),
      env: {},
      auditLogs: [],
      keepTokens: false,
      learnForMs: 60_000,
      dryRun: false,
      clock: systemClock,
      random: Math.random,
      signal: new AbortController().signal,
      onProgress: () => undefined,
      ...options,
    });
    await store.close();
    const coordinator = await startTestCoordinator({ dataDir });
    running.push(coordinator);
    return { told, coordinator };
  }

  before(async () => {
    first = await startTestCoordinator();
    running.push(first);
    const { admin } = first;
    await unary(admin.createCluster.bind(admin), { name: cluster, spec: ClusterSpec.fromPartial({}) }, deadline);
    for (const name of ['steady', 'renewed', 'twice', 'deleted', 'revoked', 'late', 'again']) {
      identities.set(name, [await enroll(first, { token: await createToken(first, cluster, { nodeName: name }), name })]);
    }
    // All of this is in the backup, and in the log: it must not happen again.
    await unary(admin.deleteNode.bind(admin), { cluster, name: 'again' }, deadline);
    identities.set('again', [await enroll(first, { token: await createToken(first, cluster, { nodeName: 'again' }), name: 'again' })]);
    archive = await gathered(sealPayload(payloadOf(first), { passphrase, logN: 10 }));
    // Certificates know whole seconds.
    await systemClock.sleep(1100);
    for (const name of ['renewed', 'twice', 'deleted', 'revoked']) identities.get(name)?.push(await renew(first, name, newest(name)));
    await systemClock.sleep(1100);
    identities.get('twice')?.push(await renew(first, 'twice', newest('twice')));
    const serial = parseCertificate(newest('revoked').chain[0] as Buffer).serial;
    const yaml = `apiVersion: certificates.microsoft.com/v1
kind: RenewRevocation
metadata: { name: since, namespace: kube-system }
spec: { revocations: [{ kind: SerialNumber, serialNumber: "${serial}" }] }
`;
    await unary(admin.apply.bind(admin), { cluster, documents: [{ source: 'test.yaml', yaml }], dryRun: false }, deadline);
    await unary(admin.deleteNode.bind(admin), { cluster, name: 'deleted' }, deadline);
    auditLog = join(folder, 'audit.jsonl');
    const lines: Uint8Array[] = [];
    for await (const each of admin.exportAudit({ fromSequence: 0, follow: false })) lines.push((each as { lines: Uint8Array }).lines);
    writeFileSync(auditLog, Buffer.concat(lines));
  });

  after(async () => {
    for (const coordinator of running) await coordinator.stop();
    rmSync(first.dataDir, { recursive: true, force: true });
    rmSync(folder, { recursive: true, force: true });
  });

  describe('without an audit log', () => {
    let coordinator: TestCoordinator;

    before(async () => {
      ({ coordinator } = await restored());
    });

    it('lets nodes in by the identity that the backup knows, and by one that was renewed after it', async () => {
      assert.equal(await call(coordinator, 'steady', newest('steady')), 'let in');
      assert.equal(await call(coordinator, 'renewed', newest('renewed')), 'let in');
    });

    it('takes none for the newest that is older than what it has learned', async () => {
      assert.equal(await call(coordinator, 'twice', newest('twice')), 'let in');
      assert.equal(await call(coordinator, 'twice', identities.get('twice')?.[1] as Identity), 'Unauthenticated');
    });

    it('refuses an identity that was issued after the restore, by a coordinator that should not run any more', async () => {
      await systemClock.sleep(1100);
      assert.equal(await call(coordinator, 'late', await renew(first, 'late', newest('late'))), 'Unauthenticated');
    });

    it('cannot know of a node that was deleted since, as it says', async () => {
      assert.equal(await call(coordinator, 'deleted', newest('deleted')), 'let in');
    });

    it('gives no way in to a token of before', async () => {
      assert.deepEqual((await unary(coordinator.admin.listTokens.bind(coordinator.admin), { cluster }, deadline)).tokens, []);
    });
  });

  describe('with the audit log', () => {
    let coordinator: TestCoordinator;
    let told: Restored;

    before(async () => {
      ({ coordinator, told } = await restored({ auditLogs: [auditLog] }));
    });

    it('knows what was removed and revoked, and refuses it', async () => {
      assert.ok(told.replayed && told.replayed.nodes === 1 && told.replayed.revocations >= 1);
      assert.equal(await call(coordinator, 'deleted', newest('deleted')), 'Unauthenticated');
      assert.equal(await call(coordinator, 'deleted', identities.get('deleted')?.[0] as Identity), 'Unauthenticated');
      assert.equal(await call(coordinator, 'revoked', newest('revoked')), 'Revoked');
    });

    it('keeps nothing of a removed node’s certificates in use', async () => {
      const { entries } = await coordinator.store.range({ prefix: layout.currents(cluster, 'deleted') });
      assert.deepEqual(entries, []);
    });

    it('refuses a revoked node by its older identity, too', async () => {
      assert.notEqual(await call(coordinator, 'revoked', identities.get('revoked')?.[0] as Identity), 'let in');
    });

    it('lets a node in that was deleted and joined again before the backup', async () => {
      assert.equal(await call(coordinator, 'again', newest('again')), 'let in');
    });

    it('lets renewed nodes in', async () => {
      assert.equal(await call(coordinator, 'renewed', newest('renewed')), 'let in');
      assert.equal(await call(coordinator, 'twice', newest('twice')), 'let in');
    });
  });

  it('learns nothing where that was not asked for, or when its time is over', async () => {
    const { coordinator: never } = await restored({ learnForMs: 0 });
    assert.equal(await call(never, 'renewed', newest('renewed')), 'Unauthenticated');
    assert.equal(await call(never, 'steady', newest('steady')), 'let in');
    const { coordinator: over } = await restored({ learnForMs: 1 });
    assert.equal(await call(over, 'renewed', newest('renewed')), 'Unauthenticated');
  });

  it('is not made with an audit log that was changed, or is another’s', async () => {
    const text = readFileSync(auditLog, 'utf8');
    const changed = join(folder, 'changed.jsonl');
    writeFileSync(changed, text.replace('"RenewRevocationApplied"', '"RenewRevocationIgnored"'));
    await assert.rejects(restored({ auditLogs: [changed] }), (error) => error instanceof EvercertError && error.code === 'DataLoss');
    const cut = join(folder, 'cut.jsonl');
    const lines = text.split('\n');
    writeFileSync(cut, [...lines.slice(0, 5), ...lines.slice(8)].join('\n'));
    await assert.rejects(restored({ auditLogs: [cut] }), (error) => error instanceof EvercertError && error.code === 'DataLoss');
  });
});

async function* payloadOf({ admin }: TestCoordinator): AsyncGenerator<Uint8Array> {
  for await (const message of admin.createBackup({})) yield (message as { data: Uint8Array }).data;
}

async function* from(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

async function gathered(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}
