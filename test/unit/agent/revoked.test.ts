import assert from 'node:assert/strict';
import type { RevokedBy } from '@evercert/agent/certificates';
import { EvercertError } from '@evercert/shared/errors';
import { desired, managerSetUp } from './support.ts';

const minute = 60_000;
const hour = 60 * minute;
const changed = { changed: true };
const by: RevokedBy = { object: 'incident', entry: 1, kind: 'Group', value: 'system:nodes', description: 'stolen laptop' };
const refused = (): EvercertError =>
  new EvercertError('Revoked', 'the certificate in use is revoked by entry 2 of RenewRevocation incident');

/** A manager with one certificate of four days, just issued. */
async function issued(lifetimeMs = 96 * hour) {
  const set = managerSetUp({ lifetimeMs });
  const manager = set.create();
  const plain = desired('a', { lifetimeSeconds: lifetimeMs / 1000 });
  const marked = { ...plain, revoked: by };
  await manager.setDesired([plain], changed);
  await set.clock.advance(1000);
  set.api.calls.length = 0;
  return { ...set, manager, plain, marked };
}

describe('a revoked certificate', () => {
  it('is asked for three times in the rest of its life, at most every half hour, and then shows as expired with the revocation as the reason', async () => {
    const { clock, api, manager } = await issued();
    api.failure = refused();
    await clock.advance(95 * hour);
    assert.ok(api.calls.length >= 2 && api.calls.length <= 3, `${api.calls.length} tries`);
    const gaps = api.calls.slice(1).map(({ atMs }, index) => atMs - api.calls[index]!.atMs);
    assert.ok(
      gaps.every((gap) => gap >= 30 * minute),
      gaps.join(),
    );
    assert.equal(manager.snapshots()[0]?.state, 'Revoked');
    await clock.advance(2 * hour);
    const [snapshot] = manager.snapshots();
    assert.deepEqual([snapshot?.state, snapshot?.lastErrorCode, snapshot?.lapses], ['Expired', 'Revoked', 1]);
    assert.match(snapshot?.lastError ?? '', /RenewRevocation incident/);
    await manager.stop();
  });

  it('with a short life is not asked for again before the coordinator says so', async () => {
    const { clock, api, manager } = await issued(minute);
    api.failure = refused();
    await clock.advance(10 * minute);
    assert.equal(api.calls.length, 1);
    await manager.stop();
  });

  it('shows as revoked from the moment that the coordinator tells, long before it is due, with object and entry', async () => {
    const { api, manager, events, marked } = await issued();
    await manager.setDesired([marked], changed);
    const [snapshot] = manager.snapshots();
    assert.deepEqual([snapshot?.state, snapshot?.lastErrorCode], ['Revoked', 'Revoked']);
    assert.match(snapshot?.lastError ?? '', /entry 2 \(Group system:nodes\) of RenewRevocation incident: "stolen laptop"/);
    assert.equal(api.calls.length, 0);
    assert.deepEqual(events.reasons().slice(-1), ['CertificateRevoked']);
    await manager.stop();
  });

  it('is asked for at once when the revocation is lifted or another one, and not when something else changes', async () => {
    const { clock, api, manager, events, plain, marked } = await issued(minute);
    api.failure = refused();
    await manager.setDesired([marked], changed);
    await clock.advance(50_000);
    assert.equal(api.calls.length, 1);
    await manager.setDesired([marked], changed);
    await clock.advance(0);
    assert.equal(api.calls.length, 1);
    await manager.setDesired([{ ...plain, revoked: { ...by, object: 'other' } }], changed);
    await clock.advance(0);
    assert.equal(api.calls.length, 2);
    api.failure = undefined;
    await manager.setDesired([plain], changed);
    await clock.advance(0);
    assert.equal(api.calls.length, 3);
    assert.equal(manager.snapshots()[0]?.state, 'Ready');
    assert.ok(events.reasons().includes('RevocationLifted'));
    await manager.stop();
  });

  it('of which nothing was ever issued shows as revoked too', async () => {
    const { clock, api, create } = managerSetUp();
    api.failure = refused();
    const manager = create();
    await manager.setDesired([desired('a')], changed);
    await clock.advance(0);
    assert.equal(manager.snapshots()[0]?.state, 'Revoked');
    await manager.stop();
  });

  it('keeps its files, and stays among those that scans look at', async () => {
    const { clock, files, api, manager, marked } = await issued(minute);
    api.failure = refused();
    await manager.setDesired([marked], changed);
    await clock.advance(2 * minute);
    assert.equal(manager.snapshots()[0]?.state, 'Expired');
    assert.deepEqual(files.removed, []);
    assert.equal(manager.installed().length, 1);
    await manager.stop();
  });
});
