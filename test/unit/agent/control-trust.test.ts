import assert from 'node:assert/strict';
import { ControlTrust, IdentityStore } from '@evercert/agent/identity';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { createCsr, publicKeyPin } from '@evercert/shared/x509';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';
import { memoryFolder } from './support.ts';

describe("an agent's trust in the control CA", () => {
  const clock = new FakeClock();
  let old: TestCa;
  let fresh: TestCa;
  let leafOfOld: Buffer;
  let leafOfFresh: Buffer;

  before(async () => {
    [old, fresh] = [await createTestCa(clock.nowMs(), 'one'), await createTestCa(clock.nowMs(), 'two')];
    [leafOfOld, leafOfFresh] = [(await keyAndLeaf(old, clock.nowMs())).leaf, (await keyAndLeaf(fresh, clock.nowMs())).leaf];
  });

  async function joined(folder = memoryFolder()) {
    const store = new IdentityStore({ folder, logger: silentLogger, nodeName: 'node-1', caPins: [publicKeyPin(old.der)] });
    await store.load();
    const world = { standing: [leafOfOld], fresh: [leafOfOld], changes: 0, dials: 0 };
    const trust = new ControlTrust({
      store,
      presented: async (again) => {
        if (again) world.dials += 1;
        return again ? world.fresh : world.standing;
      },
      clock,
      logger: silentLogger,
      onChange: () => {
        world.changes += 1;
      },
    });
    if (store.trustAnchors.length === 0) await trust.take([old.der]);
    return { store, trust, world, folder };
  }

  it('grows to what the coordinator tells, and is durable', async () => {
    const { store, trust, folder } = await joined();
    assert.equal(await trust.take([old.der, fresh.der]), true);
    assert.equal(await trust.take([old.der, fresh.der]), false);
    const again = await joined(folder);
    assert.deepEqual(again.store.trustAnchors, [old.der, fresh.der]);
    assert.deepEqual(store.pins, [publicKeyPin(old.der), publicKeyPin(fresh.der)]);
  });

  it('never goes over to a set under which the coordinator does not stand, and says so until it does', async () => {
    const { store, trust, world } = await joined();
    await assert.rejects(trust.take([fresh.der]), { code: 'InvalidCertificate' });
    assert.deepEqual(store.trustAnchors, [old.der]);
    assert.match(trust.lastError, /by which it does not stand itself/);
    await trust.retry();
    assert.deepEqual(store.trustAnchors, [old.der]);
    world.fresh = [leafOfFresh];
    await trust.retry();
    assert.deepEqual(store.trustAnchors, [fresh.der]);
    assert.equal(trust.lastError, '');
    assert.equal(world.changes, 2);
  });

  it('asks by a fresh connection only where the one that stands is from before', async () => {
    const { trust, world } = await joined();
    await trust.take([old.der, fresh.der]);
    assert.equal(world.dials, 0);
    world.fresh = [leafOfFresh];
    await trust.take([fresh.der]);
    assert.equal(world.dials, 1);
  });

  it('is not changed by what an earlier run was told, before there is a connection', async () => {
    const { store, trust, world } = await joined();
    await trust.take([old.der, fresh.der]);
    world.standing = [];
    assert.equal(await trust.take([old.der]), false);
    assert.equal(store.trustAnchors.length, 2);
    world.standing = [leafOfOld];
    await trust.retry();
    assert.deepEqual(store.trustAnchors, [old.der]);
  });

  it('keeps what it has where the coordinator cannot be asked', async () => {
    const { store, trust, world } = await joined();
    Object.defineProperty(world, 'fresh', {
      get: () => {
        throw new EvercertError('Unavailable', 'nobody answers');
      },
    });
    await assert.rejects(trust.take([fresh.der]), { code: 'Unavailable' });
    assert.deepEqual(store.trustAnchors, [old.der]);
  });

  it('is found no more by the pin of a CA that the coordinator has taken out of the set, although the configuration names it', async () => {
    const { store, trust, world, folder } = await joined();
    await trust.take([old.der, fresh.der]);
    world.standing = [leafOfFresh];
    await trust.take([fresh.der]);
    assert.deepEqual(store.pins, [publicKeyPin(fresh.der)]);
    assert.deepEqual((await joined(folder)).store.pins, [publicKeyPin(fresh.der)]);
    // A rotation that was given up.
    world.standing = [leafOfOld];
    await store.addTrustAnchors([old.der]);
    await trust.take([old.der]);
    assert.deepEqual(store.pins, [publicKeyPin(old.der)]);
  });

  it('is found no more by what the coordinator says is retired, and still by what it says nothing of', async () => {
    const folder = memoryFolder();
    const elsewhere = `sha256:${'ab'.repeat(32)}`;
    const [oldPin, freshPin] = [publicKeyPin(old.der), publicKeyPin(fresh.der)];
    const open = async (): Promise<IdentityStore> => {
      const store = new IdentityStore({ folder, logger: silentLogger, nodeName: 'node-1', caPins: [oldPin, freshPin, elsewhere] });
      await store.load();
      return store;
    };
    const store = await open();
    const presented = async (): Promise<Buffer[]> => [leafOfFresh];
    const trust = new ControlTrust({ store, presented, clock, logger: silentLogger, onChange: () => {} });
    await trust.take([fresh.der], [oldPin]);
    assert.deepEqual(store.pins, [freshPin, elsewhere]);
    assert.deepEqual((await open()).pins, [freshPin, elsewhere]);
    await trust.take([fresh.der], [freshPin]);
    assert.deepEqual(store.pins, [freshPin, elsewhere]);
  });

  it('is by an administrator at the node alone what he says', async () => {
    const { store, folder } = await joined();
    const pin = publicKeyPin(fresh.der);
    await store.trustOnly([pin.toUpperCase().replace('SHA256', 'sha256')]);
    assert.deepEqual([store.trustAnchors, store.pins], [[], [pin]]);
    const again = new IdentityStore({ folder, logger: silentLogger, nodeName: 'node-1', caPins: [publicKeyPin(old.der)] });
    await again.load();
    assert.deepEqual([again.trustAnchors, again.pins], [[], [pin]]);
    await store.trustOnly([publicKeyPin(old.der)]);
    assert.deepEqual(store.pins, [publicKeyPin(old.der)]);
  });

  it('follows a new identity only where the coordinator that gave it stands under the new set', async () => {
    const { store } = await joined();
    const renewed = async (serverChain: Buffer[]): Promise<void> => {
      const csr = await createCsr({ privateKey: await store.nextKey(), commonName: 'node-1' });
      const chain = [await fresh.sign(csr, { notBeforeMs: clock.nowMs() - 60_000, notAfterMs: clock.nowMs() + 60_000 })];
      await store.install({ chain, trustAnchors: [fresh.der], serverChain, cluster: 'demo', role: 'worker', issuedAtMs: clock.nowMs() });
    };
    await renewed([leafOfOld]);
    assert.deepEqual(store.trustAnchors, [old.der]);
    await renewed([leafOfFresh]);
    assert.deepEqual(store.trustAnchors, [fresh.der]);
  });
});
