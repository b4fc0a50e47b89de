import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { CertificateInspection } from '@evercert/agent/certificates';
import { DesiredApplier, type DesiredState } from '@evercert/agent/desired';
import { Scanner } from '@evercert/agent/scan';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { createTestCa, keyAndLeaf } from './pki.ts';
import { desired, EventLog, managerSetUp, someKey } from './support.ts';

describe('the inspection of certificates', () => {
  async function setUp() {
    const world = managerSetUp();
    const certificates = world.create();
    const rechecked: string[] = [];
    const inspection = new CertificateInspection({
      certificates,
      files: world.files,
      events: world.events,
      onRestored: ({ spec }) => rechecked.push(spec.name),
    });
    await certificates.setDesired([desired('a'), desired('b')], { changed: true });
    await world.clock.advance(0);
    world.events.events.length = 0;
    return { ...world, certificates, inspection, rechecked };
  }

  it('puts each file right with an event each, and says what was wrong', async () => {
    const { files, events, inspection, rechecked } = await setUp();
    files.faults.set('a', [
      { path: '/pki/a.crt', reason: 'Missing', message: 'gone' },
      { path: '/pki/a.key', reason: 'WrongMode', message: 'mode 0644' },
    ]);
    files.faults.set('b', [{ path: '/pki/b.crt', reason: 'Foreign', message: 'another content' }]);
    await inspection.scan();
    assert.deepEqual(events.reasons(), ['FileRestored', 'FileModeFixed', 'FileRestored']);
    assert.match(events.events[1]?.message ?? '', /\/pki\/a\.key .*WrongMode: mode 0644/);
    assert.deepEqual(rechecked, ['b']);
    await inspection.scan();
    assert.equal(events.events.length, 3);
  });

  it('has a new certificate issued when the agent has no good copy either', async () => {
    const { clock, files, api, events, inspection, certificates } = await setUp();
    files.pairs.delete('a');
    await inspection.scan();
    await clock.advance(0);
    assert.equal(api.calls.at(-1)?.reason, 'FileDamaged');
    assert.deepEqual(events.reasons(), ['PairLost', 'CertificateInstalled']);
    assert.equal(certificates.snapshots()[0]?.state, 'Ready');
  });

  it('leaves a good certificate for the same key where the installed one has expired, and puts nothing else there', async () => {
    const { clock, files, api, events, inspection } = await setUp();
    const foreign = [{ path: '/pki/a.crt', reason: 'Foreign' as const, message: 'another content' }];
    const { leaf, privateKey } = await keyAndLeaf(await createTestCa(clock.nowMs()), clock.nowMs());
    const inPlace = (key: KeyObject): void =>
      void files.inPlace.set('a', { found: { chain: [leaf], privateKey: key, paths: ['/pki/a.crt'] } });
    const restored = async (): Promise<boolean> => {
      files.faults.set('a', foreign);
      await inspection.scan();
      return !files.faults.has('a');
    };
    inPlace(someKey);
    assert.equal(await restored(), true, 'the installed one was good still');
    api.failure = new EvercertError('Unavailable', 'nobody there');
    await clock.advance(61_000);
    events.events.length = 0;
    assert.deepEqual([await restored(), await restored()], [false, false]);
    assert.deepEqual(events.reasons(), ['CertificateStandsIn']);
    inPlace(privateKey);
    assert.equal(await restored(), true, 'it was for another key');
  });

  it('notes what it cannot put right, with one event while it stays the same', async () => {
    const { files, events, inspection, certificates } = await setUp();
    const broken = [{ path: '/pki/a.crt', reason: 'NotAFile' as const, message: 'a folder' }];
    files.restoreError = new EvercertError('FileConflict', 'a folder is in the place of /pki/a.crt');
    for (let scan = 0; scan < 3; scan += 1) {
      files.faults.set('a', broken);
      await inspection.scan();
    }
    assert.deepEqual(events.reasons(), ['FileNotRestored']);
    assert.equal(certificates.snapshots()[0]?.lastErrorCode, 'FileConflict');
    files.restoreError = undefined;
    await inspection.scan();
    assert.equal(certificates.snapshots()[0]?.lastErrorCode, '');
  });
});

describe('the scanner', () => {
  function setUp() {
    const clock = new FakeClock();
    let scans = 0;
    let takesMs = 0;
    const target = {
      scan: async () => {
        scans += 1;
        if (takesMs > 0) await clock.sleep(takesMs);
      },
    };
    const failing = { scan: () => Promise.reject(new Error('broken')) };
    const scanner = new Scanner({ targets: [failing, target], intervalMs: 30_000, clock, logger: silentLogger });
    return { clock, scanner, scans: () => scans, slow: (ms: number) => (takesMs = ms) };
  }

  it('scans at the start and at each interval, whatever one of its targets does', async () => {
    const { clock, scanner, scans } = setUp();
    scanner.start();
    await clock.advance(95_000);
    assert.equal(scans(), 4);
    await scanner.stop();
    assert.equal(clock.pending, 0);
  });

  it('scans at once on request, and once more for all requests that come meanwhile', async () => {
    const { clock, scanner, scans, slow } = setUp();
    slow(1000);
    for (let request = 0; request < 5; request += 1) scanner.request();
    await clock.advance(5000);
    assert.equal(scans(), 2);
    await scanner.stop();
  });

  it('tells how long it has stood still', async () => {
    const { clock, scanner, slow } = setUp();
    scanner.start();
    await clock.advance(60_000);
    assert.equal(scanner.idleMs(), 0);
    slow(1_000_000);
    await clock.advance(120_000);
    assert.ok(scanner.idleMs() >= 90_000);
  });
});

describe('the applier of desired states', () => {
  const state = (revision: string): DesiredState => ({
    revision,
    certificates: [],
    bundles: [],
    keyPairs: [],
    revocationLists: [],
    controlTrustAnchors: [],
    retiredControlCaPins: [],
    healthChecks: [],
    notUnderstood: [],
    renewIdentitySerial: '',
  });
  function setUp() {
    const log: string[] = [];
    const events = new EventLog();
    const world = { failing: '' };
    const step = (name: string) => async () => {
      log.push(name);
      await new Promise((resolve) => setImmediate(resolve));
      if (world.failing === name) throw new EvercertError('DiskFull', 'the disk is full');
    };
    const applier = new DesiredApplier({
      bundles: { apply: step('bundles') },
      revocationLists: { apply: step('revocation lists') },
      keyPairs: { apply: step('key pairs') },
      certificates: {
        setDesired: async (_list, { changed, keep }) => {
          log.push(`certificates ${changed}${keep?.map((name) => ` keep ${name}`).join('') ?? ''}`);
        },
      },
      healthChecks: { apply: () => {} },
      takeTrustAnchors: async () => false,
      events,
      logger: silentLogger,
      onChange: () => {},
    });
    return { applier, log, events, world };
  }

  it('writes bundles before the certificates that depend on them, and tells a repeat from a change', async () => {
    const { applier, log } = setUp();
    await applier.apply(state('1'));
    await applier.apply(state('1'));
    assert.deepEqual(log, [
      ...['bundles', 'revocation lists', 'certificates true', 'key pairs'],
      ...['bundles', 'revocation lists', 'certificates false', 'key pairs'],
    ]);
    assert.equal(applier.appliedRevision, '1');
  });

  it('skips a state that was overtaken by a newer one', async () => {
    const { applier, log } = setUp();
    await Promise.all([applier.apply(state('1')), applier.apply(state('2')), applier.apply(state('3'))]);
    assert.equal(log.filter((line) => line === 'bundles').length, 2);
    assert.equal(applier.appliedRevision, '3');
  });

  it('goes on with the certificates when a bundle cannot be written', async () => {
    const { applier, log, events, world } = setUp();
    world.failing = 'bundles';
    await applier.apply(state('1'));
    assert.ok(log.includes('certificates true'));
    assert.deepEqual(events.reasons(), ['ApplyFailed']);
  });

  it('keeps what it does not understand', async () => {
    const { applier, log, events } = setUp();
    await applier.apply({ ...state('1'), notUnderstood: [{ name: 'x', message: 'a new kind' }] });
    assert.ok(log.includes('certificates true keep x'));
    assert.deepEqual(events.reasons(), ['NotUnderstood']);
  });
});
