import assert from 'node:assert/strict';
import { EvercertError } from '@evercert/shared/errors';
import { desired, managerSetUp } from './support.ts';

const minute = 60_000;
const unavailable = (): EvercertError => new EvercertError('Unavailable', 'nobody answers');
const changed = { changed: true };

describe('the certificate manager', () => {
  it('issues what is declared and renews it life after life, each with a serial of its own', async () => {
    const { clock, files, api, activated, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a'), desired('b')], changed);
    await clock.advance(10 * minute);
    const [a, b] = manager.snapshots();
    assert.equal(a?.state, 'Ready');
    assert.equal(b?.state, 'Ready');
    assert.ok(a.issuedTotal >= 15 && a.issuedTotal <= 18, `${a.issuedTotal} issues in ten minutes`);
    assert.equal(a.lapses, 0);
    assert.equal(new Set(activated.map((line) => line.split(' ')[1])).size, activated.length);
    assert.equal(files.keysMade, api.calls.length);
    assert.deepEqual([...new Set(api.calls.map(({ reason }) => reason))], ['Initial', 'Scheduled']);
    await manager.stop();
    assert.equal(clock.pending, 0);
  });

  it('works on four certificates at once, the one that ends first before the others', async () => {
    const { clock, files, api, create } = managerSetUp();
    const manager = create();
    const all = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => desired(name));
    await manager.setDesired(all, changed);
    await clock.advance(0);
    for (const [name, leftMs] of Object.entries({ a: 15_000, b: 12_000, c: 14_000, d: 11_000, e: 13_000, f: 10_000 })) {
      files.pairs.set(name, { ...files.pairs.get(name)!, notAfterMs: clock.nowMs() + leftMs, issuedAtMs: clock.nowMs() - 45_000 });
    }
    await manager.stop();
    api.calls.length = 0;
    api.callMs = 100;
    const next = create();
    await next.setDesired(all, changed);
    await clock.advance(1000);
    assert.deepEqual(
      api.calls.map(({ name }) => name),
      ['f', 'd', 'b', 'e', 'c', 'a'],
    );
    assert.equal(api.mostInFlight, 4);
  });

  it('retries at least eight times before the end when the coordinator is gone, and lapses once when it stays gone', async () => {
    const { clock, api, events, create } = managerSetUp({ random: () => 0.999 });
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(1000);
    api.failure = unavailable();
    const before = api.calls.length;
    await clock.advance(60_000);
    assert.ok(api.calls.length - before >= 8, `${api.calls.length - before} tries`);
    const [snapshot] = manager.snapshots();
    assert.equal(snapshot?.state, 'Expired');
    assert.equal(snapshot?.lapses, 1);
    assert.equal(snapshot?.lastErrorCode, 'Unavailable');
    await clock.advance(5 * minute);
    assert.equal(manager.snapshots()[0]?.lapses, 1);
    assert.equal(events.reasons().filter((reason) => reason === 'CertificateLapsed').length, 1);
    api.failure = undefined;
    await clock.advance(10_000);
    assert.equal(manager.snapshots()[0]?.state, 'Ready');
    await manager.stop();
  });

  it('renews without a lapse when the coordinator comes back after two thirds of the time that was left', async () => {
    const { clock, api, create } = managerSetUp({ random: () => 0.999 });
    const manager = create();
    await manager.setDesired(
      ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((name) => desired(name)),
      changed,
    );
    await clock.advance(36_000);
    api.failure = unavailable();
    await clock.advance(16_000);
    assert.ok(manager.snapshots().every(({ state }) => state === 'RenewalFailing'));
    api.failure = undefined;
    manager.connected();
    await clock.advance(2000);
    assert.ok(manager.snapshots().every(({ state, lapses }) => state === 'Ready' && lapses === 0));
    await manager.stop();
  });

  it('uses the same key again after a lost reply', async () => {
    const { clock, files, api, create } = managerSetUp();
    api.failure = new EvercertError('DeadlineExceeded', 'too late');
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(10_000);
    assert.ok(api.calls.length > 2);
    assert.equal(files.keysMade, 1);
    await manager.stop();
  });

  it('installs a chain that came before a full disk without asking again', async () => {
    const { clock, files, api, create } = managerSetUp();
    files.installError = new EvercertError('DiskFull', 'the disk is full');
    // What waits is no DER here: the manager must not need to look into it to know that it waits.
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(0);
    assert.equal(manager.snapshots()[0]?.lastErrorCode, 'DiskFull');
    assert.equal(api.calls.length, 1);
    assert.equal(files.waiting.get('a')?.chain?.length, 1);
    await manager.stop();
  });

  it('begins with a new key after a chain that does not fit', async () => {
    const { clock, files, create } = managerSetUp();
    files.installError = new EvercertError('PairMismatch', 'another key');
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(400);
    files.installError = undefined;
    await clock.advance(1000);
    assert.equal(manager.snapshots()[0]?.state, 'Ready');
    assert.equal(files.keysMade, 2);
    await manager.stop();
  });

  it('waits long after a refusal, but asks at once when the coordinator sends a new desired state', async () => {
    const { clock, api, create } = managerSetUp({ lifetimeMs: 96 * 60 * minute });
    api.failure = new EvercertError('AddressNotAllowed', 'not in the range');
    const manager = create();
    const certificate = desired('a', { lifetimeSeconds: 96 * 3600 });
    await manager.setDesired([certificate], changed);
    await clock.advance(3 * minute);
    assert.equal(api.calls.length, 1);
    assert.equal(manager.snapshots()[0]?.state, 'Failed');
    await manager.setDesired([certificate], { changed: false });
    await clock.advance(0);
    assert.equal(api.calls.length, 1);
    await manager.setDesired([certificate], changed);
    await clock.advance(0);
    assert.equal(api.calls.length, 2);
    await manager.stop();
  });

  it('asks again with the new specification when it was stale', async () => {
    const { clock, api, create } = managerSetUp({ random: () => 0.999 });
    api.failure = new EvercertError('StaleSpec', 'it has changed');
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(0);
    api.failure = undefined;
    await manager.setDesired([desired('a', { specHash: 'a-2' })], changed);
    await clock.advance(0);
    assert.deepEqual(
      api.calls.map(({ specHash }) => specHash),
      ['a-1', 'a-2'],
    );
    assert.equal(manager.snapshots()[0]?.specHash, 'a-2');
    await manager.stop();
  });

  it('obeys the hint of an overloaded coordinator', async () => {
    const { clock, api, create } = managerSetUp();
    api.failure = new EvercertError('Overloaded', 'busy', { retryAfterMs: 20_000 });
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(19_000);
    assert.equal(api.calls.length, 1);
    await clock.advance(3000);
    assert.equal(api.calls.length, 2);
    await manager.stop();
  });

  it('renews on request, all or the named ones, and forgets that it had to wait', async () => {
    const { clock, api, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a'), desired('b')], changed);
    await clock.advance(1000);
    manager.renewNow(['b'], 'asked');
    await clock.advance(0);
    manager.renewNow([], 'asked');
    await clock.advance(0);
    assert.deepEqual(
      api.calls.slice(2).map(({ name, reason }) => `${name} ${reason}`),
      ['b Requested', 'a Requested', 'b Requested'],
    );
    await manager.stop();
  });

  it('issues anew what was damaged beyond repair, also when that happened while the agent was off', async () => {
    const { clock, files, api, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(0);
    assert.equal(manager.markDamaged('a'), true);
    assert.equal(manager.markDamaged('a'), false);
    await clock.advance(0);
    await manager.stop();
    files.pairs.delete('a');
    const next = create();
    await next.setDesired([desired('a')], changed);
    await clock.advance(0);
    assert.deepEqual(
      api.calls.map(({ reason }) => reason),
      ['Initial', 'FileDamaged', 'FileDamaged'],
    );
    assert.equal(next.snapshots()[0]?.issuedTotal, 3);
    await next.stop();
  });

  it('removes what is no longer declared, also what an earlier run left, but keeps what it was told to keep', async () => {
    const { clock, files, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a'), desired('b'), desired('c')], changed);
    await clock.advance(0);
    await manager.setDesired([desired('a')], { changed: true, keep: ['b'] });
    assert.deepEqual(files.removed, ['c']);
    assert.deepEqual(
      manager.snapshots().map(({ name }) => name),
      ['a', 'b'],
    );
    await manager.stop();
    await create().setDesired([], changed);
    assert.deepEqual(files.removed, ['c', 'a', 'b']);
  });

  it('activates after a restart what was installed but not activated before a crash', async () => {
    const { clock, activated, counters, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a'), desired('b')], changed);
    await clock.advance(0);
    await manager.stop();
    counters.update('b', { activatedSerial: 'an older one' });
    activated.length = 0;
    const next = create();
    await next.setDesired([desired('a'), desired('b')], changed);
    assert.deepEqual(activated, ['b serial-2']);
    await next.stop();
  });

  it('puts the pair where it is declared now, without a new certificate', async () => {
    const { clock, files, api, events, activated, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(0);
    files.faults.set('a', [{ path: '/pki/a.chain', reason: 'Missing', message: 'not there' }]);
    await manager.setDesired([desired('a', { outputs: [{ type: 'chain', file: { path: '/pki/a.chain', mode: 0o644 } }] })], changed);
    assert.equal(api.calls.length, 1);
    assert.deepEqual(events.reasons(), ['CertificateInstalled', 'FilesPlaced']);
    assert.equal(activated.length, 2);
    await manager.stop();
  });

  it('makes an RSA key before it is needed', async () => {
    const { clock, files, api, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a', { keyAlgorithm: 'rsa-4096' })], changed);
    await clock.advance(34_500);
    assert.equal(api.calls.length, 1);
    assert.equal(files.keysMade, 2);
    await clock.advance(6000);
    assert.equal(api.calls.length, 2);
    assert.equal(files.keysMade, 2);
    await manager.stop();
  });

  it('tells of the first failure and then ever less often', async () => {
    const { clock, api, events, create } = managerSetUp();
    api.failure = unavailable();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(2 * minute);
    const told = events.reasons().filter((reason) => reason === 'IssueFailed').length;
    assert.ok(api.calls.length > 30 && told < 8, `${told} events for ${api.calls.length} failures`);
    assert.equal(manager.snapshots()[0]?.failures, api.calls.length);
    await manager.stop();
  });
});

describe('the certificate manager and the clock', () => {
  it('renews at once after a suspend or a step forward past the due time', async () => {
    const { clock, api, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(1000);
    await clock.step(50_000);
    assert.equal(api.calls.length, 2);
    assert.equal(manager.snapshots()[0]?.lapses, 0);
    await manager.stop();
  });

  it('counts the lapse of a certificate that ran out during a suspend, and renews it', async () => {
    const { clock, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(1000);
    await clock.step(3_600_000);
    assert.equal(manager.snapshots()[0]?.lapses, 1);
    assert.equal(manager.snapshots()[0]?.state, 'Ready');
    await manager.stop();
  });

  it('keeps retrying at its pace after the wall clock was set back', async () => {
    const { clock, api, create } = managerSetUp();
    api.failure = unavailable();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(5000);
    await clock.step(-24 * 3_600_000);
    const before = api.calls.length;
    await clock.advance(10_000);
    assert.ok(api.calls.length - before >= 5, `${api.calls.length - before} tries in ten seconds`);
    await manager.stop();
  });

  it('does not renew early, and not in a loop, after the wall clock was set back', async () => {
    const { clock, api, create } = managerSetUp();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(1000);
    await clock.step(-3_600_000);
    await clock.advance(10 * minute);
    assert.equal(api.calls.length, 1);
    await clock.step(3_600_000);
    await clock.advance(0);
    assert.equal(api.calls.length, 2);
    await manager.stop();
  });
});
