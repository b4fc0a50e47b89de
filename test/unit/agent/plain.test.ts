import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import type { DesiredBundle, DesiredKeyPair, DesiredRevocationList } from '@evercert/agent/desired';
import { BundleKeeper, FileLedger, KeyPairKeeper, RevocationListKeeper } from '@evercert/agent/plain';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { createCrl, toPem } from '@evercert/shared/x509';
import { createTestCa, type TestCa } from './pki.ts';
import { EventLog, FakeCoordinator, FakePlainFiles, memoryFolder } from './support.ts';

const reloadSpec = { type: 'systemd', unit: 'etcd', action: 'reload' } as const;

function common() {
  const clock = new FakeClock();
  const files = new FakePlainFiles();
  const events = new EventLog();
  const folder = memoryFolder();
  const reloaded: string[] = [];
  const ledger = new FileLedger({ folder, fileName: 'ledger.json', files, logger: silentLogger });
  const reload = (name: string) => void reloaded.push(name);
  const activator = {
    writing: async () => {},
    written: ({ name }: { name: string }) => reload(name),
    declared: async () => {},
    served: () => ({ served: 'Served', servedMessage: '', reloadOwed: false }),
    scan: async () => {},
  };
  const changes = { count: 0 };
  const onChange = (): void => {
    changes.count += 1;
  };
  const rest = { files, events, ledger, logger: silentLogger, reload, activator, onChange };
  return { clock, files, events, folder, reloaded, changes, rest };
}

describe('the keeper of trust bundles', () => {
  let ca: TestCa;
  let next: TestCa;
  before(async () => {
    ca = await createTestCa(new FakeClock().nowMs(), 'cluster-ca');
    next = await createTestCa(new FakeClock().nowMs(), 'cluster-ca-2');
  });
  const bundle = (version: number, certificates: Buffer[], path = '/pki/ca.crt', name = 'cluster-ca'): DesiredBundle => ({
    name,
    issuer: 'cluster-ca',
    version,
    certificates,
    file: { path, mode: 0o644 },
    reload: reloadSpec,
  });
  const setUp = () => {
    const world = common();
    return { ...world, keeper: new BundleKeeper(world.rest) };
  };

  it('writes a bundle, reloads once for each change, and not for a repeat', async () => {
    const { keeper, files, reloaded } = setUp();
    await keeper.apply([bundle(1, [ca.der])]);
    await keeper.apply([bundle(1, [ca.der])]);
    await keeper.apply([bundle(2, [ca.der, next.der])]);
    assert.equal(files.writes, 2);
    assert.deepEqual(reloaded, ['cluster-ca', 'cluster-ca']);
    assert.equal(
      files.written
        .get('/pki/ca.crt')
        ?.content.toString()
        .match(/BEGIN CERTIFICATE/g)?.length,
      2,
    );
    assert.deepEqual(keeper.snapshots(), [
      {
        name: 'cluster-ca',
        issuer: 'cluster-ca',
        version: 2,
        state: 'Ready',
        lastError: '',
        served: 'Served',
        servedMessage: '',
        reloadOwed: false,
      },
    ]);
  });

  for (const [what, certificates] of [
    ['empty', []],
    ['of garbage', [Buffer.from('garbage')]],
  ] as const) {
    it(`keeps what is there when the coordinator sends a bundle that is ${what}`, async () => {
      const { keeper, files, events } = setUp();
      await keeper.apply([bundle(1, [ca.der])]);
      const before = files.written.get('/pki/ca.crt')?.content;
      await keeper.apply([bundle(2, [...certificates])]);
      assert.equal(files.written.get('/pki/ca.crt')?.content, before);
      assert.equal(keeper.snapshots()[0]?.state, 'Failed');
      assert.equal(keeper.snapshots()[0]?.version, 1);
      assert.deepEqual(events.reasons(), ['BundleFailed']);
    });
  }

  it('puts a damaged bundle right, with one event', async () => {
    const { keeper, files, events } = setUp();
    await keeper.apply([bundle(1, [ca.der])]);
    files.written.delete('/pki/ca.crt');
    await keeper.scan();
    await keeper.scan();
    assert.ok(files.written.has('/pki/ca.crt'));
    assert.deepEqual(events.reasons(), ['FileRestored']);
  });

  it('writes at the next scan what could not be written before, and reports the trouble once', async () => {
    const { keeper, files, events } = setUp();
    files.error = new EvercertError('DiskFull', 'the disk is full');
    await keeper.apply([bundle(1, [ca.der])]);
    await keeper.scan();
    assert.equal(keeper.snapshots()[0]?.lastError, 'the disk is full');
    files.error = undefined;
    await keeper.scan();
    assert.equal(keeper.snapshots()[0]?.state, 'Ready');
    assert.equal(events.reasons().filter((reason) => reason === 'BundleFailed').length, 1);
  });

  it('lets a report go out when a scan finds trouble and when it is over, and not between', async () => {
    const { keeper, files, changes } = setUp();
    await keeper.apply([bundle(1, [ca.der])]);
    const scanned = async (): Promise<number> => {
      changes.count = 0;
      await keeper.scan();
      return changes.count;
    };
    assert.equal(await scanned(), 0);
    files.written.delete('/pki/ca.crt');
    files.error = new EvercertError('FileConflict', 'a folder is in its place');
    assert.deepEqual([await scanned(), await scanned()], [1, 0]);
    files.error = undefined;
    assert.deepEqual([await scanned(), await scanned()], [1, 0]);
  });

  it('removes a bundle that is no longer declared, and the old place of one that moved, also after a restart', async () => {
    const { keeper, files, rest, folder } = setUp();
    await keeper.apply([bundle(1, [ca.der]), bundle(1, [next.der], '/pki/etcd/ca.crt', 'etcd-ca')]);
    const ledger = new FileLedger({ folder, fileName: 'ledger.json', files, logger: silentLogger });
    await new BundleKeeper({ ...rest, ledger }).apply([bundle(1, [ca.der], '/pki/new.crt')]);
    assert.deepEqual([...files.written.keys()], ['/pki/new.crt']);
  });

  it('removes nothing while something declared is not understood', async () => {
    const { keeper, files } = setUp();
    await keeper.apply([bundle(1, [ca.der]), bundle(1, [next.der], '/pki/etcd/ca.crt', 'etcd-ca')]);
    await keeper.apply([bundle(1, [ca.der])], ['etcd-ca']);
    assert.equal(files.written.size, 2);
    assert.equal(keeper.snapshots().length, 2);
  });
});

describe('the keeper of shared key pairs', () => {
  const made = ['1', '2'].map((version) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', {
      namedCurve: 'P-256',
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
    return { version, privateKeyPem: privateKey, publicKeyPem: publicKey };
  });
  const [first, second] = made as [(typeof made)[0], (typeof made)[0]];
  const pair = (version: string): DesiredKeyPair => ({
    name: 'sa',
    version,
    privateKey: { path: '/pki/sa.key', mode: 0o600 },
    publicKey: { path: '/pki/sa.pub', mode: 0o644 },
    reload: reloadSpec,
  });
  const setUp = () => {
    const world = common();
    const { clock, folder, rest } = world;
    const api = new FakeCoordinator(clock);
    api.keyPair = first;
    const create = (): KeyPairKeeper => new KeyPairKeeper({ ...rest, api, folder, clock, random: () => 0.5 });
    return { ...world, api, create };
  };

  it('gets a pair, writes both halves and reloads', async () => {
    const { files, reloaded, create } = setUp();
    const keeper = create();
    await keeper.apply([pair('1')]);
    assert.equal(files.written.get('/pki/sa.key')?.content.toString(), first.privateKeyPem);
    assert.equal(files.written.get('/pki/sa.pub')?.content.toString(), first.publicKeyPem);
    assert.deepEqual(reloaded, ['sa']);
    assert.equal(keeper.snapshots()[0]?.state, 'Ready');
  });

  it('restores both halves without the coordinator, also after a restart', async () => {
    const { files, events, api, create } = setUp();
    await create().apply([pair('1')]);
    api.failure = new EvercertError('Unavailable', 'nobody answers');
    const keeper = create();
    await keeper.apply([pair('1')]);
    files.written.clear();
    await keeper.scan();
    assert.equal(files.written.size, 2);
    assert.deepEqual(events.reasons(), ['FileRestored', 'FileRestored']);
  });

  it('tells of each folder in the way of a file, and by the next try that all is right again', async () => {
    const { clock, files, events, create } = setUp();
    const keeper = create();
    await keeper.apply([pair('1')]);
    for (const path of ['/pki/sa.key', '/pki/sa.pub']) {
      files.written.delete(path);
      files.error = new EvercertError('FileConflict', `a folder is in the place of the file ${path}`);
      await keeper.scan();
      assert.match(keeper.snapshots()[0]?.lastError ?? '', new RegExp(path));
      files.error = undefined;
      await clock.advance(5000);
      assert.equal(keeper.snapshots()[0]?.lastError, '');
    }
    assert.deepEqual(events.reasons(), ['KeyPairFailed', 'FileRestored', 'KeyPairFailed', 'FileRestored']);
    keeper.stop();
  });

  it('keeps the old pair while the new one cannot be had, and tries again by itself', async () => {
    const { clock, files, api, create } = setUp();
    const keeper = create();
    await keeper.apply([pair('1')]);
    api.failure = new EvercertError('Unavailable', 'nobody answers');
    await keeper.apply([pair('2')]);
    assert.equal(keeper.snapshots()[0]?.state, 'Pending');
    assert.equal(files.written.get('/pki/sa.key')?.content.toString(), first.privateKeyPem);
    api.failure = undefined;
    api.keyPair = second;
    await clock.advance(5000);
    assert.equal(files.written.get('/pki/sa.key')?.content.toString(), second.privateKeyPem);
    assert.equal(keeper.snapshots()[0]?.state, 'Ready');
    keeper.stop();
  });

  it('refuses halves that do not belong together, without telling them', async () => {
    const { files, events, api, create } = setUp();
    api.keyPair = { ...first, publicKeyPem: second.publicKeyPem };
    const keeper = create();
    await keeper.apply([pair('1')]);
    assert.equal(files.written.size, 0);
    assert.equal(events.events[0]?.errorCode, 'PairMismatch');
    assert.ok(!JSON.stringify(events.events).includes('BEGIN'));
    keeper.stop();
  });

  it('waits for the new desired state when the coordinator already has another version', async () => {
    const { api, create } = setUp();
    api.keyPair = second;
    const keeper = create();
    await keeper.apply([pair('1')]);
    assert.match(keeper.snapshots()[0]?.lastError ?? '', /has changed meanwhile/);
    await keeper.apply([pair('2')]);
    assert.equal(keeper.snapshots()[0]?.state, 'Ready');
    keeper.stop();
  });

  it('removes files and copy of a pair that is no longer declared', async () => {
    const { files, folder, create } = setUp();
    const keeper = create();
    await keeper.apply([pair('1')]);
    await keeper.apply([]);
    assert.equal(files.written.size, 0);
    assert.deepEqual(
      [...folder.files.keys()].filter((name) => name.startsWith('key-pairs/')),
      [],
    );
  });
});

describe('the keeper of revocation lists', () => {
  let ca: TestCa;
  let other: TestCa;
  before(async () => {
    ca = await createTestCa(new FakeClock().nowMs(), 'etcd-ca');
    other = await createTestCa(new FakeClock().nowMs(), 'other-ca');
  });
  const crlOf = (signer: TestCa, number: number): Promise<Buffer> =>
    createCrl({
      issuer: signer.issuer,
      number,
      thisUpdate: new Date(0),
      nextUpdate: new Date(3_600_000),
      revoked: [{ serial: 'ab', revokedAt: new Date(0), reason: 'keyCompromise' }],
    });
  const list = (number: number, crl: Buffer, changes: Partial<DesiredRevocationList> = {}): DesiredRevocationList => ({
    name: 'etcd-crl',
    issuer: 'etcd-ca',
    number,
    crl,
    earlierCrls: [],
    format: 'pem',
    file: { path: '/pki/etcd/ca.crl', mode: 0o644 },
    reload: reloadSpec,
    trustAnchors: [ca.der],
    ...changes,
  });
  const setUp = () => {
    const world = common();
    return { ...world, keeper: new RevocationListKeeper(world.rest), file: () => world.files.written.get('/pki/etcd/ca.crl')?.content };
  };

  it('writes a list as PEM or DER, and reloads once for each change', async () => {
    const { keeper, file, reloaded } = setUp();
    const crl = await crlOf(ca, 7);
    await keeper.apply([list(7, crl)]);
    await keeper.apply([list(7, crl)]);
    assert.equal(file()?.toString(), toPem('X509 CRL', crl));
    assert.deepEqual(reloaded, ['etcd-crl']);
    await keeper.apply([list(7, crl, { format: 'der' })]);
    assert.deepEqual(file(), crl);
    assert.deepEqual(keeper.snapshots(), [{ name: 'etcd-crl', issuer: 'etcd-ca', number: 7, state: 'Ready', lastError: '' }]);
  });

  it('takes a list of either CA while a rotation has two', async () => {
    const { keeper } = setUp();
    await keeper.apply([list(7, await crlOf(other, 7), { trustAnchors: [ca.der, other.der] })]);
    assert.equal(keeper.snapshots()[0]?.state, 'Ready');
  });

  it('writes the lists of earlier keys of the CA behind the first, and checks each; a DER file has the first alone', async () => {
    const { keeper, file } = setUp();
    const [current, earlier] = [await crlOf(ca, 7), await crlOf(other, 5)];
    const both = { earlierCrls: [earlier], trustAnchors: [ca.der, other.der] };
    await keeper.apply([list(7, current, both)]);
    assert.equal(file()?.toString(), toPem('X509 CRL', current) + toPem('X509 CRL', earlier));
    await keeper.apply([list(7, current, { ...both, format: 'der' })]);
    assert.deepEqual(file(), current);
    await keeper.apply([list(7, current, { ...both, trustAnchors: [ca.der] })]);
    assert.equal(keeper.snapshots()[0]?.state, 'Failed');
    assert.deepEqual(file(), current);
  });

  it('writes anew when only the list of an earlier key has changed', async () => {
    const { keeper, file, reloaded } = setUp();
    const [current, earlier, later] = [await crlOf(ca, 7), await crlOf(other, 5), await crlOf(other, 6)];
    for (const second of [earlier, later])
      await keeper.apply([list(7, current, { earlierCrls: [second], trustAnchors: [ca.der, other.der] })]);
    assert.equal(file()?.toString(), toPem('X509 CRL', current) + toPem('X509 CRL', later));
    assert.deepEqual(reloaded, ['etcd-crl', 'etcd-crl']);
  });

  for (const [what, sent] of [
    ['of another CA', () => crlOf(other, 8)],
    ['of another number', () => crlOf(ca, 9)],
    ['of garbage', async () => Buffer.from('garbage')],
    ['not there', async () => Buffer.alloc(0)],
  ] as const) {
    it(`keeps what is there when the list that was sent is ${what}`, async () => {
      const { keeper, file, events } = setUp();
      await keeper.apply([list(7, await crlOf(ca, 7))]);
      const before = file();
      await keeper.apply([list(8, await sent())]);
      assert.equal(file(), before);
      assert.deepEqual(
        keeper.snapshots().map(({ state, number }) => [state, number]),
        [['Failed', 7]],
      );
      assert.deepEqual(events.reasons(), ['RevocationListFailed']);
    });
  }

  it('puts a damaged list right, with one event', async () => {
    const { keeper, files, file, events } = setUp();
    await keeper.apply([list(7, await crlOf(ca, 7))]);
    files.written.delete('/pki/etcd/ca.crl');
    await keeper.scan();
    assert.ok(file());
    assert.deepEqual(events.reasons(), ['FileRestored']);
  });
});
