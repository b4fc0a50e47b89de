import assert from 'node:assert/strict';
import { CertificateInspection } from '@evercert/agent/certificates';
import type { FoundPair } from '@evercert/agent/files';
import { EvercertError } from '@evercert/shared/errors';
import { desired, managerSetUp, someKey } from './support.ts';

const changed = { changed: true };
const day = 86_400_000;

function setUp() {
  const parts = managerSetUp();
  const { clock, files } = parts;
  const found = (serial: string, notAfterMs = clock.nowMs() + 200 * day): FoundPair => ({
    chain: [Buffer.from(JSON.stringify({ serial, issuedAtMs: clock.nowMs() - 100 * day, notAfterMs }))],
    privateKey: someKey,
    paths: ['/pki/a.crt', '/pki/a.key'],
  });
  const inPlace = (name: string, serial: string): void => void files.inPlace.set(name, { found: found(serial) });
  return { ...parts, inPlace };
}

const adoptable = (name: string) => desired(name, {}, { adopt: true });
const watched = (name: string) => desired(name, {}, { adopt: true, watchOnly: true });

describe('a certificate that is in place', () => {
  it('is taken over instead of being issued, activates nothing, and is renewed when the coordinator says', async () => {
    const { clock, api, events, activated, inPlace, create } = setUp();
    inPlace('a', 'old');
    const manager = create();
    await manager.setDesired([adoptable('a')], changed);
    await clock.advance(0);
    assert.deepEqual([api.adoptions, api.calls.length, activated], [['a old'], 0, []]);
    const [snapshot] = manager.snapshots();
    assert.deepEqual([snapshot?.state, snapshot?.serial, snapshot?.issuedTotal], ['Ready', 'old', 0]);
    assert.equal(snapshot?.nextRenewalAtMs, clock.nowMs() + api.adoptedRenewMs);
    assert.deepEqual(events.reasons(), ['CertificateTakenOver']);
    assert.match(events.events[0]?.message ?? '', /its next renewal changes it: key: RSA 2048 becomes ECDSA P-384/);
    await clock.advance(api.adoptedRenewMs + 1000);
    assert.deepEqual(
      api.calls.map(({ reason }) => reason),
      ['Scheduled'],
    );
    assert.deepEqual(activated, ['a serial-1']);
    await manager.stop();
  });

  it('is not activated after a restart either', async () => {
    const { clock, activated, counters, inPlace, create } = setUp();
    inPlace('a', 'old');
    const manager = create();
    await manager.setDesired([adoptable('a')], changed);
    await clock.advance(0);
    await manager.stop();
    counters.forget('a');
    const next = create();
    await next.setDesired([adoptable('a')], changed);
    await clock.advance(0);
    assert.deepEqual([activated, next.snapshots()[0]?.state], [[], 'Ready']);
    await next.stop();
  });

  it('is replaced where the cluster takes none over, where nothing is there, and where it is refused', async () => {
    const { clock, files, api, events, inPlace, create } = setUp();
    inPlace('plain', 'old');
    files.inPlace.set('bad', { why: 'it ended' });
    const manager = create();
    await manager.setDesired([desired('plain'), adoptable('nothing'), adoptable('bad')], changed);
    await clock.advance(0);
    assert.deepEqual(
      manager.snapshots().map(({ state }) => state),
      ['Ready', 'Ready', 'Ready'],
    );
    assert.deepEqual([api.adoptions.length, api.calls.length], [0, 3]);
    assert.equal(events.reasons().filter((reason) => reason === 'CertificateNotTakenOver').length, 1);

    inPlace('revoked', 'old');
    api.adoptionFailure = new EvercertError('Revoked', 'revoked by entry 1');
    await manager.setDesired([adoptable('revoked')], changed);
    await clock.advance(0);
    assert.deepEqual([api.adoptions, api.calls.length], [['revoked old'], 4]);
    await manager.stop();
  });

  it('is asked about again while the coordinator is away, and nothing is issued in its place meanwhile', async () => {
    const { clock, api, inPlace, create } = setUp();
    inPlace('a', 'old');
    api.adoptionFailure = new EvercertError('Unavailable', 'away');
    const manager = create();
    await manager.setDesired([adoptable('a')], changed);
    await clock.advance(10_000);
    assert.ok(api.adoptions.length > 1);
    assert.deepEqual([api.calls.length, manager.snapshots()[0]?.lastErrorCode], [0, 'Unavailable']);
    api.adoptionFailure = undefined;
    manager.connected();
    await clock.advance(3000);
    assert.deepEqual([manager.snapshots()[0]?.state, api.calls.length], ['Ready', 0]);
    await manager.stop();
  });

  it('is issued anew at once when the manifest changes, or when somebody asks', async () => {
    const { clock, api, inPlace, create } = setUp();
    inPlace('a', 'old');
    inPlace('b', 'old-b');
    const manager = create();
    await manager.setDesired([adoptable('a'), adoptable('b')], changed);
    await clock.advance(0);
    await manager.setDesired([desired('a', { specHash: 'a-2' }, { adopt: true }), adoptable('b')], changed);
    manager.renewNow(['b'], 'test');
    await clock.advance(0);
    assert.deepEqual(
      api.calls.map(({ name, reason }) => `${name} ${reason}`),
      ['a SpecChanged', 'b Requested'],
    );
    await manager.stop();
  });
});

describe('a certificate that is only watched', () => {
  it('is never renewed, whoever asks and however late, and shows when it runs out', async () => {
    const { clock, files, api, inPlace, create } = setUp();
    inPlace('a', 'theirs');
    const manager = create();
    await manager.setDesired([watched('a')], changed);
    await clock.advance(0);
    manager.renewNow([], 'test');
    manager.markDamaged('a');
    await manager.setDesired([desired('a', { specHash: 'a-2' }, { adopt: true, watchOnly: true })], changed);
    await clock.step(201 * day);
    await clock.advance(60_000);
    assert.deepEqual([api.calls.length, manager.snapshots()[0]?.state, manager.snapshots()[0]?.nextRenewalAtMs], [0, 'Expired', undefined]);
    assert.equal(files.keysMade, 0);
    await manager.stop();
  });

  it('says what is missing, and is taken up by the scan that finds it', async () => {
    const { clock, files, events, inPlace, create } = setUp();
    const manager = create();
    const inspection = new CertificateInspection({
      certificates: manager,
      files,
      events,
      onRestored: () => assert.fail('nothing to restore'),
    });
    await manager.setDesired([watched('a')], changed);
    await clock.advance(0);
    const [before] = manager.snapshots();
    assert.deepEqual([before?.state, before?.lastErrorCode], ['Pending', 'FailedPrecondition']);
    assert.match(before?.lastError ?? '', /nothing is in place; the key of cluster-ca is not at the coordinator/);
    inPlace('a', 'theirs');
    await inspection.scan();
    await clock.advance(0);
    assert.deepEqual([manager.snapshots()[0]?.state, manager.snapshots()[0]?.lastError], ['Ready', '']);
    await manager.stop();
  });

  it('follows what others renew, and puts nothing right', async () => {
    const { clock, files, api, events, inPlace, create } = setUp();
    const manager = create();
    const inspection = new CertificateInspection({
      certificates: manager,
      files,
      events,
      onRestored: () => assert.fail('nothing to restore'),
    });
    inPlace('a', 'theirs-1');
    await manager.setDesired([watched('a')], changed);
    await clock.advance(0);
    const fault = { path: '/pki/a.crt', reason: 'Foreign' as const, message: '/pki/a.crt holds something else' };
    files.faults.set('a', [fault]);
    inPlace('a', 'theirs-2');
    await inspection.scan();
    assert.deepEqual([api.adoptions, manager.snapshots()[0]?.serial], [['a theirs-1', 'a theirs-2'], 'theirs-2']);
    files.inPlace.set('a', { why: 'its private key is that of another certificate' });
    await inspection.scan();
    assert.match(manager.snapshots()[0]?.lastError ?? '', /holds something else; it is only watched/);
    assert.equal(files.faults.has('a'), true, 'nothing was restored');
    await manager.stop();
  });
});

describe('the inspection of what was taken over', () => {
  it('takes the newer pair of whoever renewed before, and else restores the one that it knows', async () => {
    const { clock, files, api, events, inPlace, create } = setUp();
    const manager = create();
    const restored: string[] = [];
    const onRestored = (_certificate: unknown, { serial }: { serial: string }): void => void restored.push(serial);
    const inspection = new CertificateInspection({ certificates: manager, files, events, onRestored });
    inPlace('a', 'first');
    await manager.setDesired([adoptable('a')], changed);
    await clock.advance(0);
    const fault = { path: '/pki/a.crt', reason: 'Foreign' as const, message: 'something else' };
    files.faults.set('a', [fault]);
    inPlace('a', 'second');
    await inspection.scan();
    assert.deepEqual([manager.snapshots()[0]?.serial, restored], ['second', []]);
    files.inPlace.set('a', {});
    await inspection.scan();
    assert.deepEqual([restored, api.calls.length], [['second'], 0]);
    await manager.stop();
  });
});
