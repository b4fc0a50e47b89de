import assert from 'node:assert/strict';
import type { ActionCall, CreateCall, NewNode, NodeProvisioner, ProvisionedNode } from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { until } from '../support/live.ts';

export interface Machine {
  /** Of its node; whatever the driver calls machines that have none yet. */
  name: string;
  /** Another one for every machine that was ever made: a pid, a UID. */
  id: string;
}

export interface ProvisionerFixture {
  /** A driver over the same machines; another object each time, as after a restart of the coordinator. The fixture closes them all in `cleanup`. */
  open(): Promise<NodeProvisioner>;
  /** The machines that are really there, looked up without the driver. */
  machines(): Promise<Machine[]>;
  /** Makes the machine of a worker that has run for long; by default it is made by the driver. */
  seed?(node: ProvisionedNode): Promise<void>;
  /** Makes every action from now on hang until it is aborted. Without it the tests of aborting are left out. */
  stall?(): Promise<void>;
  /** Somebody else makes a machine for each that goes: there is never none. */
  replenished?: boolean;
  /** A cluster that the machines are in. */
  cluster?: string;
  cleanup(): Promise<void>;
}

/** How soon an action ends that was aborted: a program has five seconds to end by itself. */
const abortMs = 8000;

/** Every promise of the provisioner's contract. `open` is called before each test, and may skip it. */
export function describeProvisionerContract(name: string, open: (context: Mocha.Context) => Promise<ProvisionerFixture>): void {
  describe(`${name} as a provisioner`, () => {
    let fixture: ProvisionerFixture;
    let provisioner: NodeProvisioner;
    let node: ProvisionedNode;
    let replacement = 0;

    beforeEach(async function () {
      replacement += 1;
      node = {
        name: `worker-${replacement}`,
        labels: { zone: 'a' },
        addresses: ['127.0.0.9'],
        dnsNames: [`worker-${replacement}.example.com`],
      };
      fixture = await open(this);
      provisioner = await fixture.open();
    });

    afterEach(() => fixture?.cleanup());

    it('removes a machine once, however often it is told', async () => {
      const old = await seeded();
      for (let times = 0; times < 2; times += 1) await provisioner.remove(call('remove'));
      await untilGone(old);
      await assertOnlyReplenished();
    });

    it('makes one machine for a key, however often it is told', async () => {
      const newNode = await removedAndAllocated();
      await provisioner.create(create(newNode));
      const made = await machineOf(newNode);
      await provisioner.create(create(newNode));
      assert.deepEqual(await machineOf(newNode), made);
      assert.equal((await fixture.machines()).length, 1);
    });

    it('makes one machine for a key, told twice at once', async () => {
      const newNode = await removedAndAllocated();
      const results = await Promise.allSettled([provisioner.create(create(newNode)), provisioner.create(create(newNode))]);
      assert.ok(results.some(({ status }) => status === 'fulfilled'));
      await machineOf(newNode);
      assert.equal((await fixture.machines()).length, 1);
    });

    it('does not mind that a machine is not there any more', async () => {
      const missing = { ...node, name: 'worker-99' };
      for (const action of ['cordon', 'remove'] as const) await provisioner[action]({ ...call(action), node: missing });
      await provisioner.drain({ ...call('drain'), node: missing, timeoutMs: 2000 });
      await provisioner.discard({ ...call('discard'), node: missing, newNode: { ...missing, machine: '' } });
    });

    it('cordons, drains and takes a cordon back, each twice with one key', async () => {
      const old = await seeded();
      for (let times = 0; times < 2; times += 1) await provisioner.cordon(call('cordon'));
      for (let times = 0; times < 2; times += 1) await provisioner.uncordon(call('uncordon'));
      for (let times = 0; times < 2; times += 1) await provisioner.drain({ ...call('drain'), timeoutMs: 10_000 });
      assert.ok(
        (await fixture.machines()).some(({ id }) => id === old.id),
        'the machine stays until it is removed',
      );
    });

    it('allocates the same new node for a key, also after a restart', async () => {
      const newNode = await removedAndAllocated();
      assert.equal(newNode.name === node.name, provisioner.sameName);
      assert.deepEqual(newNode.labels, node.labels);
      assert.deepEqual(await provisioner.allocate(call('allocate')), newNode);
      assert.deepEqual(await (await fixture.open()).allocate(call('allocate')), newNode);
    });

    it('discards a new machine that did not join, and leaves none', async () => {
      const newNode = await removedAndAllocated();
      await provisioner.create(create(newNode));
      const made = await machineOf(newNode);
      for (let times = 0; times < 2; times += 1) await provisioner.discard({ ...call('discard'), newNode });
      await untilGone(made);
      await assertOnlyReplenished();
    });

    it('makes another machine for the next attempt', async () => {
      const first = await removedAndAllocated();
      await provisioner.create(create(first));
      const made = await machineOf(first);
      await provisioner.discard({ ...call('discard'), newNode: first });
      await untilGone(made);
      const second = await allocated(2);
      await provisioner.create(create(second, 2));
      assert.notEqual((await machineOf(second)).id, made.id);
      assert.equal((await fixture.machines()).length, 1);
    });

    it('removes what it has made', async () => {
      const newNode = await removedAndAllocated();
      await provisioner.create(create(newNode));
      const made = await machineOf(newNode);
      await provisioner.remove({ ...call('remove'), idempotencyKey: 'rp-later-1-remove', replacementId: 'rp-later', node: newNode });
      await untilGone(made);
      await assertOnlyReplenished();
    });

    it('goes on with the same keys after a restart', async () => {
      const newNode = await removedAndAllocated();
      await provisioner.create(create(newNode));
      const made = await machineOf(newNode);
      const restarted = await fixture.open();
      await restarted.remove(call('remove'));
      await restarted.create(create(newNode));
      assert.deepEqual(await machineOf(newNode), made, 'neither the old remove nor the old create is done again');
      await restarted.discard({ ...call('discard'), newNode });
      await untilGone(made);
    });

    it('ends an action that is aborted, with a typed error', async function () {
      await stall(this);
      const abort = new AbortController();
      const running = provisioner.remove({ ...call('remove'), signal: abort.signal });
      const settled = settlement(running);
      await systemClock.sleep(100);
      abort.abort();
      const startMs = systemClock.monotonicMs();
      assertTyped(await settled);
      assert.ok(systemClock.monotonicMs() - startMs < abortMs);
    });

    it('does not begin what is aborted already', async () => {
      const old = await seeded();
      assertTyped(await settlement(provisioner.remove({ ...call('remove'), signal: AbortSignal.abort() })));
      assert.ok((await fixture.machines()).some(({ id }) => id === old.id));
    });

    it('leaves machines alone when it is closed, and nothing at work in this process', async function () {
      const old = await seeded();
      await stall(this);
      // Not a cordon: some machines have nothing to be kept off.
      const settled = settlement(provisioner.remove(call('remove')));
      await systemClock.sleep(100);
      const startMs = systemClock.monotonicMs();
      await provisioner.close();
      assertTyped(await settled);
      assert.ok(systemClock.monotonicMs() - startMs < abortMs);
      await provisioner.close();
      assert.ok((await fixture.machines()).some(({ id }) => id === old.id));
    });

    async function stall(context: Mocha.Context): Promise<void> {
      if (fixture.stall === undefined) context.skip();
      await fixture.stall();
    }

    function call(step: string, attempt = 1): ActionCall {
      const replacementId = `rp-${String(replacement).padStart(10, 'x')}`;
      const signal = new AbortController().signal;
      return {
        idempotencyKey: `${replacementId}-${attempt}-${step}`,
        replacementId,
        attempt,
        cluster: fixture.cluster ?? 'demo',
        node,
        signal,
      };
    }

    function create(newNode: NewNode, attempt = 1): CreateCall {
      const join = {
        token: `abcdef.${String(attempt).padStart(16, '0')}`,
        tokenExpiresAtMs: systemClock.nowMs() + 600_000,
        endpoints: ['127.0.0.1:1'],
        caPins: [`sha256:${'0'.repeat(64)}`],
      };
      return { ...call('create', attempt), newNode, join };
    }

    async function seeded(): Promise<Machine> {
      if (fixture.seed) await fixture.seed(node);
      else {
        const newNode = { ...node, machine: '' };
        await provisioner.create({ ...create(newNode), replacementId: 'rp-seed', idempotencyKey: 'rp-seed-1-create' });
      }
      return machineOf(node);
    }

    async function removedAndAllocated(): Promise<NewNode> {
      const old = await seeded();
      await provisioner.remove(call('remove'));
      await untilGone(old);
      return allocated(1);
    }

    /** Where somebody else names new nodes, the name is not known at once. */
    async function allocated(attempt: number): Promise<NewNode> {
      let newNode: NewNode | undefined;
      await until('the new node to have a name', 30_000, async () => {
        newNode = await provisioner.allocate(call('allocate', attempt)).catch((error: unknown) => {
          if (error instanceof EvercertError && error.code === 'Unavailable') return undefined;
          throw error;
        });
        return newNode !== undefined;
      });
      return newNode as NewNode;
    }

    async function machineOf({ name, machine }: ProvisionedNode & { machine?: string }): Promise<Machine> {
      let found: Machine | undefined;
      await until(`the machine of ${name}`, 30_000, async () => {
        found = (await fixture.machines()).find((each) => each.name === name || (machine && each.name === machine));
        return found !== undefined;
      });
      return found as Machine;
    }

    function untilGone({ id }: Machine): Promise<void> {
      return until(`machine ${id} to be gone`, 30_000, async () => (await fixture.machines()).every((each) => each.id !== id));
    }

    async function assertOnlyReplenished(): Promise<void> {
      if (fixture.replenished !== true) assert.deepEqual(await fixture.machines(), []);
    }
  });
}

async function settlement(action: Promise<unknown>): Promise<unknown> {
  try {
    await action;
    return undefined;
  } catch (error) {
    return error;
  }
}

function assertTyped(error: unknown): void {
  assert.ok(error instanceof EvercertError, `expected an EvercertError, found ${String(error)}`);
  assert.ok(['Cancelled', 'Unavailable', 'DeadlineExceeded'].includes(error.code), `${error.code}: ${error.message}`);
}
