import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, EventRecorder, encodeRecord, layout, startOwnCertificates } from '@evercert/coordinator';
import { Authorities, type AuthorityRecord, ControlCa, chainBehind, currentGeneration, reverted } from '@evercert/coordinator/ca';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { type Clock, systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { certificatesFromPem, certificatesToPem, parseCertificate, publicKeyPin, verifyChain } from '@evercert/shared/x509';
import { ControlGenerations, leafBy, MemoryKeys } from '../../../support/control-generations.ts';

describe('the control CA as coordinators see it', () => {
  const clock: Clock = systemClock;
  const logger = silentLogger;
  let folder: string;
  let store: Store;
  let keys: MemoryKeys;
  const running: { stop(): Promise<void> | void }[] = [];

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-control-ca-'));
    store = await openSqliteStore({ file: join(folder, 'store.db'), clock, logger });
    keys = new MemoryKeys();
  });

  afterEach(async () => {
    for (const part of running.splice(0).reverse()) await part.stop();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  function coordinator(): ControlCa {
    const ca = new ControlCa({ store, authorities: new Authorities({ keys, clock, backdateMs: 60_000 }), clock, logger });
    running.push(ca);
    return ca;
  }

  async function started(): Promise<ControlCa> {
    const ca = coordinator();
    await ca.start();
    return ca;
  }

  /** Changes the record as whoever rotates does, and waits until all have seen it. */
  async function rotate(cas: ControlCa[], step: (generations: ControlGenerations) => Promise<unknown> | unknown): Promise<AuthorityRecord> {
    const [{ record, modRevision } = assert.fail()] = cas.map((ca) => ca.cached);
    const generations = new ControlGenerations(new Authorities({ keys, clock, backdateMs: 60_000 }), clock, record);
    await step(generations);
    const key = layout.controlCa;
    const { succeeded } = await store.transact([{ key, modRevision }], [{ type: 'put', key, value: encodeRecord(generations.record) }]);
    assert.ok(succeeded);
    for (const ca of cas) await until(() => ca.cached.modRevision > modRevision);
    return generations.record;
  }

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    const endMs = clock.monotonicMs() + 5000;
    while (!(await condition())) {
      assert.ok(clock.monotonicMs() < endMs, 'it takes too long');
      await clock.sleep(5);
    }
  }

  it('is made once by coordinators that start at the same time, and nobody keeps a key of another', async () => {
    const cas = Array.from({ length: 5 }, coordinator);
    await Promise.all(cas.map((ca) => ca.start()));
    const [first] = cas;
    for (const ca of cas) assert.equal(ca.record.serial, first?.record.serial);
    assert.deepEqual(await keys.list(), [first?.record.keyId]);
    assert.equal((await started()).record.serial, first?.record.serial);
  });

  it('is seen by all coordinators as it changes: roots, pins and who signs', async () => {
    const cas = [await started(), await started()];
    const before = cas[0]?.record as AuthorityRecord;
    const told: string[] = [];
    cas[1]?.subscribe((record) => told.push(record.serial));
    const spread = await rotate(cas, (generations) => generations.spread());
    for (const ca of cas) {
      assert.equal(ca.anchors().length, 2);
      assert.equal((await ca.issuer()).serial, before.serial);
      assert.deepEqual(
        ca.pins(),
        [before, spread.next].map((each) => pinOf(each?.certificate)),
      );
    }
    const active = await rotate(cas, (generations) => generations.activate());
    for (const ca of cas) {
      assert.equal((await ca.issuer()).serial, active.serial);
      assert.deepEqual(
        ca.pins(),
        [active, before].map((each) => pinOf(each.certificate)),
      );
    }
    await rotate(cas, (generations) => generations.retire());
    for (const ca of cas) assert.deepEqual(ca.pins(), [pinOf(active.certificate)]);
    assert.deepEqual(told, [before.serial, active.serial, active.serial]);
  });

  it('tells which generation signed a certificate, and what that is worth', async () => {
    const ca = await started();
    const leaf = async (): Promise<Buffer> => (await leafBy(await ca.issuer(), clock.nowMs())).der;
    const old = { leaf: await leaf(), serial: ca.record.serial };
    const foreign = await ControlGenerations.create({ clock });
    const strange = await leafBy(await foreign.authorities.issuer(foreign.record), clock.nowMs());
    assert.equal(ca.signerOf(strange.der), undefined);
    await rotate([ca], async (generations) => (await generations.spread()).activate());
    assert.equal(ca.signerOf(old.leaf)?.generation.serial, old.serial);
    assert.equal(ca.signerOf(await leaf())?.generation.serial, ca.record.serial);
    assert.equal(ca.standing(old.serial), 'trusted');
    await rotate([ca], (generations) => generations.compromise());
    assert.equal(ca.standing(old.serial), 'compromised');
    await rotate([ca], (generations) => generations.retire());
    assert.equal(ca.standing(old.serial), undefined);
    assert.equal(ca.signerOf(old.leaf)?.compromised, true);
  });

  it('goes back by an abort, and its chain with it', async () => {
    const ca = await started();
    const first = ca.record;
    await rotate([ca], async (generations) => (await generations.spread()).activate());
    await rotate([ca], (generations) => {
      generations.record = reverted(generations.record, { nowMs: clock.nowMs(), lastLeafNotAfterMs: clock.nowMs() + 1000 });
    });
    assert.equal((await ca.issuer()).serial, first.serial);
    const { der } = await leafBy(await ca.issuer(), clock.nowMs());
    assert.deepEqual(ca.chainBehind(der), [Buffer.from(first.certificate, 'base64')]);
  });

  it('has cross certificates that OpenSSL follows in its strictest mode, from either root', async () => {
    const generations = await ControlGenerations.create({ clock });
    const roots = [generations.root];
    for (let rotation = 0; rotation < 2; rotation++) roots.push((await generations.rotate()).root);
    const { der } = await leafBy(await generations.authorities.issuer(generations.record), clock.nowMs());
    const behind = chainBehind(generations.record, currentGeneration(generations.record), clock.nowMs());
    const [leafFile, chainFile] = [join(folder, 'leaf.pem'), join(folder, 'chain.pem')];
    await writeFile(leafFile, certificatesToPem([der]));
    await writeFile(chainFile, certificatesToPem(behind));
    for (const root of roots) {
      const rootFile = join(folder, 'root.pem');
      await writeFile(rootFile, certificatesToPem([root]));
      const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', rootFile, '-untrusted', chainFile, leafFile];
      assert.match(execFileSync('openssl', args, { encoding: 'utf8' }), /: OK/);
      verifyChain({ chain: [der, ...behind], anchors: [root], atMs: clock.nowMs(), usage: 'server auth' });
    }
    const cross = parseCertificate(behind[0] as Buffer);
    const [below, above] = [roots[2], roots[1]].map((root) => parseCertificate(root as Buffer));
    assert.deepEqual([cross.subjectKeyId, cross.authorityKeyId], [below?.subjectKeyId, above?.subjectKeyId]);
    assert.ok(cross.isCa && cross.notAfter <= (above?.notAfter as Date));
  });

  it("renews every coordinator's own certificates at each step of a rotation, each by itself", async () => {
    const cas = [await started(), await started()];
    const folders = ['one', 'two'].map((name) => join(folder, name));
    const events = new EventRecorder(store, clock, logger);
    for (const [index, controlCa] of cas.entries()) {
      const config = configSchema.parse({ dataDir: folders[index], serverNames: ['localhost'] });
      const own = await startOwnCertificates({ config, clock, logger, parts: { controlCa, events, backdateMs: 60_000 } });
      running.push(own);
      await own.keepAdminCredential('localhost:7443');
    }
    const ca = cas[0] as ControlCa;
    const read = async (dataDir: string, name: string): Promise<Buffer[]> =>
      certificatesFromPem(await readFile(join(dataDir, 'admin', name)));
    const allHave = (condition: (dataDir: string) => Promise<boolean>): Promise<void> =>
      until(async () => (await Promise.all(folders.map(condition))).every((is) => is));
    await rotate(cas, (generations) => generations.spread());
    await allHave(async (dataDir) => (await read(dataDir, 'ca.crt')).length === 2);
    const { serial } = await rotate(cas, (generations) => generations.activate());
    await allHave(async (dataDir) => ca.signerOf((await read(dataDir, 'admin.crt'))[0] as Buffer)?.generation.serial === serial);
    for (const dataDir of folders) assert.deepEqual(await read(dataDir, 'ca.crt'), ca.anchors());
    await rotate(cas, (generations) => generations.retire());
    await allHave(async (dataDir) => (await read(dataDir, 'ca.crt')).length === 1);
    for (const dataDir of folders)
      verifyChain({
        chain: await read(dataDir, 'admin.crt'),
        anchors: await read(dataDir, 'ca.crt'),
        atMs: clock.nowMs(),
        usage: 'client auth',
      });
  });
});

function pinOf(certificate: string | undefined): string {
  return publicKeyPin(Buffer.from(certificate ?? '', 'base64'));
}
