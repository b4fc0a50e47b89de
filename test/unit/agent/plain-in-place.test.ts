import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { lstatSync } from 'node:fs';
import type { DesiredBundle, DesiredKeyPair } from '@evercert/agent/desired';
import { createPlainFiles } from '@evercert/agent/files';
import { BundleKeeper, FileLedger, KeyPairKeeper } from '@evercert/agent/plain';
import { silentLogger } from '@evercert/shared/logging';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import { allowedPaths, createTestCa, pki, type TestCa, TestDisk } from '../../support/pair.ts';
import { EventLog, FakeCoordinator, memoryFolder } from './support.ts';

describe('bundles and shared keys that are there before the agent', () => {
  let ca: TestCa;
  let other: TestCa;
  let disk: TestDisk;
  let folder: ReturnType<typeof memoryFolder>;
  let events: EventLog;
  let reloads: string[];
  const caFile = `${pki}/ca.crt`;

  before(async () => {
    ca = await createTestCa();
    other = await createTestCa('other-ca');
  });
  beforeEach(() => {
    disk = new TestDisk();
    folder = memoryFolder();
    events = new EventLog();
    reloads = [];
  });
  afterEach(() => disk.remove());

  const common = () => {
    const files = createPlainFiles({ rootDir: disk.root, allowedPaths, logger: silentLogger });
    const reload = (name: string): void => void reloads.push(name);
    return { files, events, logger: silentLogger, reload, onChange: () => {} };
  };
  const ledger = (fileName: string): FileLedger => new FileLedger({ folder, fileName, files: common().files, logger: silentLogger });
  const activator = {
    writing: async (): Promise<void> => {},
    written: ({ name }: { name: string }): void => void reloads.push(name),
    declared: async (): Promise<void> => {},
    served: () => ({ served: '', servedMessage: '', reloadOwed: false }),
    scan: async (): Promise<void> => {},
  };
  const bundles = () => new BundleKeeper({ ...common(), ledger: ledger('bundles.json'), activator });
  const bundle = (version: number, certificates: Buffer[]): DesiredBundle => ({
    name: 'cluster-ca',
    issuer: 'cluster-ca',
    version,
    certificates,
    file: { path: caFile, mode: 0o644 },
    reload: { type: 'signal', pidPath: '/run/x.pid', signal: 'SIGHUP' },
  });
  const written = (path: string): unknown[] => {
    const { ino, mtimeMs, ctimeMs, mode } = lstatSync(disk.real(path));
    return [ino, mtimeMs, ctimeMs, mode];
  };

  it('stay as they are while they say the same: in another form, with another mode, and through restarts', async () => {
    disk.write(caFile, `# kept by ops\r\n${certificatesToPem([other.der, ca.der]).replaceAll('\n', '\r\n')}`, 0o600);
    const before = written(caFile);
    for (let run = 0; run < 2; run++) {
      const keeper = bundles();
      await keeper.apply([bundle(1, [ca.der, other.der])]);
      await keeper.scan();
      assert.deepEqual([keeper.snapshots()[0]?.state, keeper.snapshots()[0]?.version], ['Ready', 1]);
    }
    assert.deepEqual([written(caFile), reloads, events.events], [before, [], []]);
  });

  it("are written, with a reload, when they are to say something else, and are the agent's own from then on", async () => {
    disk.write(caFile, `# kept by ops\n${certificatesToPem([ca.der])}`, 0o600);
    await bundles().apply([bundle(1, [ca.der])]);
    await bundles().apply([bundle(2, [ca.der, other.der])]);
    assert.deepEqual([disk.read(caFile), disk.mode(caFile), reloads], [certificatesToPem([ca.der, other.der]), 0o644, ['cluster-ca']]);
    disk.write(caFile, `# somebody\n${certificatesToPem([ca.der, other.der])}`);
    await bundles().apply([bundle(2, [ca.der, other.der])]);
    assert.equal(disk.read(caFile), certificatesToPem([ca.der, other.der]));
  });

  it('are put back as they were when they are damaged', async () => {
    const text = `# kept by ops\n${certificatesToPem([ca.der])}`;
    disk.write(caFile, text, 0o600);
    const keeper = bundles();
    await keeper.apply([bundle(1, [ca.der])]);
    disk.write(caFile, 'damaged');
    await keeper.scan();
    assert.deepEqual([disk.read(caFile), disk.mode(caFile), events.reasons()], [text, 0o600, ['FileRestored']]);
  });

  it('are not removed when they are declared no more', async () => {
    disk.write(caFile, certificatesToPem([ca.der]), 0o600);
    const keeper = bundles();
    await keeper.apply([bundle(1, [ca.der])]);
    await keeper.apply([]);
    assert.equal(disk.read(caFile), certificatesToPem([ca.der]));
  });

  it('hold for the service-account key in whatever form, but never open to everybody', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const sec1 = privateKey.export({ type: 'sec1', format: 'pem' }).toString();
    const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
    disk.write(`${pki}/sa.key`, sec1, 0o600);
    disk.write(`${pki}/sa.pub`, publicPem, 0o600);
    const before = [written(`${pki}/sa.key`), written(`${pki}/sa.pub`)];
    const api = new FakeCoordinator(disk.clock);
    api.keyPair = { version: '1', privateKeyPem: privateKeyToPem(privateKey), publicKeyPem: publicPem };
    const desired: DesiredKeyPair = {
      name: 'sa',
      version: '1',
      privateKey: { path: `${pki}/sa.key`, mode: 0o600 },
      publicKey: { path: `${pki}/sa.pub`, mode: 0o644 },
      reload: { type: 'signal', pidPath: '/run/x.pid', signal: 'SIGHUP' },
    };
    const keeper = () =>
      new KeyPairKeeper({ ...common(), api, folder, ledger: ledger('key-pairs.json'), clock: disk.clock, random: () => 0.5 });
    for (let run = 0; run < 2; run++) {
      const pairs = keeper();
      await pairs.apply([desired]);
      await pairs.scan();
      assert.equal(pairs.snapshots()[0]?.state, 'Ready');
      pairs.stop();
    }
    assert.deepEqual([[written(`${pki}/sa.key`), written(`${pki}/sa.pub`)], reloads, events.events], [before, [], []]);

    const next = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    api.keyPair = {
      version: '2',
      privateKeyPem: privateKeyToPem(next.privateKey),
      publicKeyPem: next.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    };
    const pairs = keeper();
    await pairs.apply([{ ...desired, version: '2' }]);
    assert.deepEqual([disk.read(`${pki}/sa.key`), disk.mode(`${pki}/sa.pub`), reloads], [api.keyPair.privateKeyPem, 0o644, ['sa']]);
    pairs.stop();
  });

  it('close a service-account key that everybody can read', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    disk.write(`${pki}/sa.key`, privateKeyToPem(privateKey), 0o644);
    const api = new FakeCoordinator(disk.clock);
    api.keyPair = {
      version: '1',
      privateKeyPem: privateKeyToPem(privateKey),
      publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    };
    const pairs = new KeyPairKeeper({ ...common(), api, folder, ledger: ledger('key-pairs.json'), clock: disk.clock, random: () => 0.5 });
    const [key, pub] = [`${pki}/sa.key`, `${pki}/sa.pub`];
    await pairs.apply([{ name: 'sa', version: '1', privateKey: { path: key, mode: 0o600 }, publicKey: { path: pub, mode: 0o644 } }]);
    assert.deepEqual([disk.mode(key) & 0o007, disk.mode(pub)], [0, 0o644]);
    pairs.stop();
  });
});
