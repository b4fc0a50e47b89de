import assert from 'node:assert/strict';
import type { Store } from '@evercert/coordinator/store';
import { newSerial, verifyCrl } from '@evercert/shared/x509';
import { eventually, StatusWorld, served, statusCluster } from '../../../support/status-service.ts';
import { at, startMs } from '../../shared/x509/fixtures.ts';

const head = `/evercert/v1/crls/${statusCluster}/etcd-ca`;
const parts = `/evercert/v1/crl-parts/${statusCluster}/etcd-ca/`;

describe('the CRLs of the CAs', () => {
  let world: StatusWorld;
  beforeEach(async () => {
    world = new StatusWorld();
    await world.open('etcd-ca');
  });
  afterEach(() => world.dispose());

  /** The store, which fails or dies at the transaction that would put out a list. */
  const failing = (when: () => boolean): Store => ({
    ...bound(world.store),
    transact: async (compares, operations) => {
      if (when() && operations.some((operation) => operation.type === 'put' && operation.key === head)) throw new Error('power cut');
      return await world.store.transact(compares, operations);
    },
  });

  it('are there from the start, signed by each CA, with the clock as their number', async () => {
    await world.addCa('cluster-ca');
    const service = await world.service();
    for (const issuer of ['etcd-ca', 'cluster-ca']) {
      const list = served(service, issuer);
      assert.equal(list.number, BigInt(startMs));
      assert.deepEqual([list.thisUpdate, list.nextUpdate], [new Date(startMs - 60_000), at(24)]);
      await verifyCrl(service.lists.get(statusCluster, issuer)!.der, world.cas.get(issuer)!.ca.der);
    }
    assert.equal(service.lists.get(statusCluster, 'front-proxy-ca'), undefined);
  });

  it('are made anew at once when something is revoked, by the CA concerned alone', async () => {
    await world.addCa('cluster-ca');
    const service = await world.service();
    const other = served(service, 'cluster-ca').number;
    const serial = await world.issued('etcd-ca');
    world.revoke('etcd-ca', serial);
    await eventually(() => served(service).revoked.length === 1, 'a list with it');
    assert.deepEqual(served(service).revoked, [{ serial, revokedAt: at(0), reason: 'keyCompromise' }]);
    assert.equal(served(service).number, BigInt(startMs) + 1n);
    assert.equal(served(service, 'cluster-ca').number, other);
    assert.deepEqual(world.events, ['RevocationListChanged']);
  });

  it('stay as they are when a change of revocations changes nothing in them', async () => {
    const service = await world.service();
    const before = served(service).number;
    world.announce();
    await world.service();
    assert.equal(served(service).number, before);
  });

  it('are renewed at half of their life', async () => {
    const service = await world.service({ crl: { lifetime: '60s' } });
    await world.clock.advance(29_000);
    assert.equal(served(service).number, BigInt(startMs));
    await world.clock.advance(1000);
    await eventually(() => served(service).number === BigInt(startMs + 30_000), 'the next list');
    assert.deepEqual(served(service).nextUpdate, new Date(startMs + 90_000));
  });

  it('have numbers that grow although the clock goes back', async () => {
    const service = await world.service();
    await world.clock.step(-86_400_000);
    world.revoke('etcd-ca', await world.issued('etcd-ca'));
    await eventually(() => served(service).revoked.length === 1, 'a list with it');
    assert.equal(served(service).number, BigInt(startMs) + 1n);
  });

  it('outlive a restart: a good list is served again, the same to the byte', async () => {
    const first = await world.service();
    world.revoke('etcd-ca', await world.issued('etcd-ca'));
    await eventually(() => served(first).revoked.length === 1, 'a list with it');
    const before = first.lists.get(statusCluster, 'etcd-ca');
    await first.stop();
    const second = await world.service();
    assert.deepEqual(second.lists.get(statusCluster, 'etcd-ca'), before);
  });

  it('are made anew after a restart when something was revoked meanwhile, or half of their life is over', async () => {
    const first = await world.service();
    const serial = await world.issued('etcd-ca');
    await first.stop();
    world.revoke('etcd-ca', serial);
    const second = await world.service();
    assert.equal(served(second).revoked.length, 1);
    await second.stop();
    await world.clock.step(13 * 3_600_000);
    const third = await world.service();
    assert.equal(served(third).number, BigInt(startMs + 13 * 3_600_000));
  });

  it('are served only when they are durable, and no number is used for another list after a crash', async () => {
    let dead = false;
    const first = await world.service(
      {},
      failing(() => dead),
    );
    const before = served(first).number;
    dead = true;
    world.revoke('etcd-ca', await world.issued('etcd-ca'));
    await eventually(async () => (await world.store.range({ prefix: parts })).entries.length === 2, 'the parts of the next list');
    assert.equal(served(first).number, before);
    const second = await world.service();
    assert.equal(served(second).number, (before ?? 0n) + 1n);
    assert.equal((await world.store.range({ prefix: parts })).entries.length, 1, 'what the crash left is gone');
  });

  it('are tried again when they could not be made, while the old one is served on', async () => {
    const service = await world.service();
    world.signing = new Error('the key is away');
    world.revoke('etcd-ca', await world.issued('etcd-ca'));
    await eventually(() => world.refused > 0, 'a try that fails');
    await world.clock.advance(4000);
    assert.equal(world.refused, 1, 'not hammered');
    assert.equal(served(service).revoked.length, 0);
    world.signing = undefined;
    await world.clock.advance(1000);
    await eventually(() => served(service).revoked.length === 1, 'a list with it');
  });

  it('are made anew with a higher number when the store holds a damaged one', async () => {
    const first = await world.service();
    await first.stop();
    const { entries } = await world.store.range({ prefix: parts });
    await world.store.transact([], [{ type: 'put', key: entries[0]!.key, value: Buffer.from('damaged') }]);
    const second = await world.service();
    assert.equal(served(second).number, BigInt(startMs) + 1n);
  });

  it('of two coordinators over one store never have the same number', async () => {
    const [first, second] = [await world.service(), await world.service()];
    const numbers = new Set<bigint | undefined>();
    for (const service of [first, second]) service.lists.subscribe(() => numbers.add(served(service).number));
    for (let count = 1; count <= 3; count++) {
      world.revoke('etcd-ca', await world.issued('etcd-ca'));
      await eventually(() => [first, second].every((each) => served(each).revoked.length === count), 'both lists');
    }
    const { number } = JSON.parse(Buffer.from((await world.store.get(head))!.value).toString()) as { number: number };
    assert.equal([...numbers].toSorted().at(-1), BigInt(number));
    assert.equal((await world.store.range({ prefix: parts })).entries.length, 1);
  });

  it('keep a certificate that has expired for one list more', async () => {
    const service = await world.service();
    const ends = startMs + 3_600_000;
    world.revoke('etcd-ca', await world.issued('etcd-ca', ends), 'superseded', ends);
    await eventually(() => served(service).revoked.length === 1, 'a list with it');
    await world.clock.advance(12 * 3_600_000);
    await eventually(() => served(service).number === BigInt(startMs + 12 * 3_600_000), 'the next list');
    assert.equal(served(service).revoked.length, 1);
    await world.clock.advance(12 * 3_600_000);
    await eventually(() => served(service).revoked.length === 0, 'a list without it');
  });

  it('drop a certificate at once when it is released', async () => {
    const service = await world.service();
    world.revoke('etcd-ca', await world.issued('etcd-ca'));
    await eventually(() => served(service).revoked.length === 1, 'a list with it');
    world.revoked.pop();
    world.announce();
    await eventually(() => served(service).revoked.length === 0, 'a list without it');
  });

  it('come and go with their CAs', async () => {
    const service = await world.service();
    await world.addCa('cluster-ca');
    await eventually(() => service.lists.get(statusCluster, 'cluster-ca') !== undefined, 'a list of the new CA');
    await world.removeCa('cluster-ca');
    assert.equal(service.lists.get(statusCluster, 'cluster-ca'), undefined);
  });

  it('are kept in parts when they are large, and read back whole', async () => {
    for (let i = 0; i < 12_000; i++)
      world.revoked.push({ issuer: 'etcd-ca', serial: newSerial(), reason: 'superseded', revokedAtMs: 0, notAfterMs: 1e15 });
    const first = await world.service();
    const before = first.lists.get(statusCluster, 'etcd-ca');
    assert.equal((await world.store.range({ prefix: parts })).entries.length, 2);
    await first.stop();
    const second = await world.service();
    assert.deepEqual(second.lists.get(statusCluster, 'etcd-ca')?.der, before?.der);
  });
});

function bound(store: Store): Store {
  return {
    shared: store.shared,
    get: (key) => store.get(key),
    range: (options) => store.range(options),
    transact: (compares, operations) => store.transact(compares, operations),
    watch: (options) => store.watch(options),
    grantLease: (seconds) => store.grantLease(seconds),
    keepLeaseAlive: (lease) => store.keepLeaseAlive(lease),
    revokeLease: (lease) => store.revokeLease(lease),
    snapshot: (options) => store.snapshot(options),
    close: () => store.close(),
  };
}
