import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { EvercertError } from '@evercert/shared/errors';
import { cluster, oldNode, replacementId, SagaBench, type SagaBenchOptions } from '../../../support/saga-bench.ts';

describe('a replacement', () => {
  let bench: SagaBench;
  const start = async (options?: SagaBenchOptions): Promise<void> => {
    bench = await SagaBench.start(options);
  };

  afterEach(() => bench.close());

  it('goes through its steps in order, each with its own key, and leaves one machine', async () => {
    await start();
    const record = await bench.ended();
    assert.equal(record.state, 'Succeeded');
    assert.deepEqual(
      bench.provisioner.effects.map(({ key }) => key),
      ['cordon', 'drain', 'remove', 'allocate', 'create'].map((step) => `${replacementId}-1-${step}`),
    );
    assert.deepEqual(
      record.steps.map(({ step, result }) => `${step} ${result}`),
      ['Cordon', 'Drain', 'Remove', 'Allocate', 'Create', 'Join', 'Verify'].map((step) => `${step} Done`),
    );
    assert.deepEqual(bench.provisioner.machines, [oldNode]);
  });

  it('keeps what an admin registered of the node, and takes back what the machine had brought', async () => {
    await start();
    await bench.ended();
    const node = bench.node();
    assert.deepEqual(
      [node?.labels, node?.registeredAddresses, node?.dnsNames, node?.claimedAddresses, node?.replacement],
      [{ zone: 'a' }, ['192.0.2.1'], ['w-1.example.com'], [], undefined],
    );
    assert.equal(await bench.store.get(layout.address(cluster, '10.0.0.1')), undefined, 'the address can be claimed by others');
  });

  it('withdraws identities and revokes what has not expired before the machine is removed', async () => {
    await start();
    bench.provisioner.hang('remove');
    await bench.until(() => bench.record.withdrawnAtMs !== undefined);
    assert.deepEqual(bench.node()?.identitySerials, []);
    const revocation = bench.parts.revocations.get(cluster, 'removed-w-1-abcdefghij');
    assert.deepEqual(
      revocation?.entries.map(({ kind, value }) => [kind, value]),
      [['SerialNumber', '12'.repeat(16)]],
      "the expired identity needs no revocation, and the neighbour's certificate is its own",
    );
    assert.equal(revocation?.source, 'replacement');
    for (const serial of ['11', '10']) assert.equal(bench.parts.removed.find(cluster, serial.repeat(16))?.name, oldNode);
    assert.deepEqual((await bench.store.range({ prefix: layout.currents(cluster, oldNode) })).entries, []);
  });

  it('gives the new machine a token that is for its node alone, and forgets it when the node is Ready', async () => {
    await start();
    bench.provisioner.hang('create');
    await bench.until(() => bench.record.tokenIds.length > 0);
    const [id = ''] = bench.record.tokenIds;
    const token = bench.parts.model.tokens.get(layout.token(id))?.record;
    assert.deepEqual([token?.nodeName, token?.maxUses, token?.role, token?.replacementId], [oldNode, 1, 'worker', replacementId]);
    bench.provisioner.mend('create');
    await bench.ended();
    assert.equal(await bench.store.get(layout.token(id)), undefined);
    assert.ok(!JSON.stringify(bench.record).includes(token?.secretHash ?? '?'));
  });

  it('goes on without a cordon and a drain that do not come about in their time, with a warning', async () => {
    await start({ policy: { drainTimeoutSeconds: 90 } });
    bench.provisioner.break('cordon');
    bench.provisioner.hang('drain');
    const record = await bench.ended();
    assert.equal(record.state, 'Succeeded');
    assert.deepEqual(
      record.steps
        .slice(0, 2)
        .map(({ step, result, startedAtMs, finishedAtMs = 0 }) => [step, result, (finishedAtMs - startedAtMs) / 1000]),
      [
        ['Cordon', 'Skipped', 60],
        ['Drain', 'Skipped', 90],
      ],
    );
    const skipped = (await bench.events()).filter(({ reason }) => reason === 'ReplacementStepSkipped');
    assert.deepEqual(
      skipped.map(({ type }) => type),
      ['Warning', 'Warning'],
    );
  });

  it('takes nothing from a node while its cordon needs a person, however long that takes', async () => {
    await start();
    for (let tries = 0; tries < 12; tries++)
      bench.provisioner.failNext('cordon', new EvercertError('FailedPrecondition', 'no such MachineSet'));
    await bench.until(() => bench.record.failures >= 10, 4 * 3600_000);
    assert.deepEqual([bench.record.step, bench.record.message], ['Cordon', 'no such MachineSet']);
    assert.notDeepEqual(bench.node()?.identitySerials, []);
    assert.equal((await bench.ended()).state, 'Succeeded');
    assert.equal(bench.record.steps.find(({ step }) => step === 'Cordon')?.result, 'Done');
  });

  it('tries a removal again for ever, waiting longer each time, with one key', async () => {
    await start();
    bench.provisioner.break('remove');
    await bench.until(() => bench.record.failures >= 12);
    const { step, message, nextAttemptAtMs = 0 } = bench.record;
    assert.deepEqual([step, message], ['Remove', 'remove is out of order']);
    assert.ok(nextAttemptAtMs - bench.clock.nowMs() > 60_000, 'minutes after a dozen failures');
    bench.provisioner.mend('remove');
    assert.equal((await bench.ended()).state, 'Succeeded');
    assert.equal(new Set(bench.provisioner.keysOf('remove')).size, 1);
  });

  it('waits as long as the provisioner asks, and longer for what a person has to put right', async () => {
    await start();
    bench.provisioner.failNext('remove', new EvercertError('Unavailable', 'busy', { retryAfterMs: 45_000 }));
    bench.provisioner.failNext('create', new EvercertError('FailedPrecondition', 'no quota: ask for more'));
    await bench.until(() => bench.record.failures === 1);
    assert.ok((bench.record.nextAttemptAtMs ?? 0) - bench.clock.nowMs() > 44_000);
    await bench.until(() => bench.record.step === 'Create' && bench.record.failures === 1);
    assert.equal(bench.record.message, 'no quota: ask for more');
    assert.ok((bench.record.nextAttemptAtMs ?? 0) - bench.clock.nowMs() > 55_000);
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('breaks off a call that takes too long, and calls again', async () => {
    await start();
    bench.provisioner.hang('remove');
    await bench.until(() => bench.record.failures === 1);
    assert.match(bench.record.message, /not done within 300 s/);
    bench.provisioner.mend('remove');
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('discards a machine that does not join in its time, backs off twice as long each time, and makes another', async () => {
    await start({ policy: { joinTimeoutSeconds: 60, backoffSeconds: 100 }, machine: (attempt) => (attempt < 3 ? 'dead' : 'ready') });
    const waits: number[] = [];
    for (const attempt of [2, 3]) {
      await bench.until(() => bench.record.state === 'BackingOff' && bench.record.attempt === attempt);
      waits.push(Math.round(((bench.record.nextAttemptAtMs ?? 0) - bench.clock.nowMs()) / 100_000));
      assert.deepEqual(bench.provisioner.machines, []);
      assert.deepEqual(bench.record.tokenIds, []);
    }
    assert.deepEqual(waits, [1, 2]);
    const record = await bench.ended();
    assert.deepEqual([record.state, record.attempt, bench.provisioner.machines], ['Succeeded', 3, [oldNode]]);
    assert.equal((await bench.store.range({ prefix: layout.tokens })).entries.length, 0);
  });

  it('withdraws what a machine got that joined and was never Ready', async () => {
    await start({ policy: { joinTimeoutSeconds: 60 }, machine: (attempt) => (attempt === 1 ? 'joins' : 'ready') });
    await bench.until(() => bench.record.state === 'BackingOff');
    assert.deepEqual(bench.node()?.identitySerials, []);
    assert.equal(bench.parts.revocations.get(cluster, 'removed-w-1-abcdefghij-1')?.entries.length, 1);
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('does not hold against a machine how long the provisioner took to make it', async () => {
    await start({ policy: { joinTimeoutSeconds: 60 } });
    bench.provisioner.break('create');
    await bench.until(() => bench.record.failures >= 10);
    bench.provisioner.mend('create');
    const record = await bench.ended();
    assert.deepEqual([record.state, record.attempt], ['Succeeded', 1]);
  });

  it('begins another attempt when the machine that it was told of is no more', async () => {
    await start({ policy: { backoffSeconds: 100 }, nameOf: ({ attempt }) => `w-new-${attempt}` });
    bench.provisioner.failNext('create', new EvercertError('NotFound', 'Machine w-new-1 is gone'));
    await bench.until(() => bench.record.state === 'BackingOff');
    assert.match(bench.record.message, /Machine w-new-1 is gone; attempt 2 begins at/);
    const record = await bench.ended();
    assert.deepEqual([record.state, record.newNode, bench.node('w-new-1')], ['Succeeded', 'w-new-2', undefined]);
  });

  it('makes no further step while it is paused, and goes on afterwards', async () => {
    await start();
    bench.provisioner.hang('drain');
    await bench.until(() => bench.record.step === 'Drain');
    await bench.parts.pauses.set({ cluster: '', paused: true, reason: 'a storm' }, 'admin/root');
    await bench.clock.advance(3600_000);
    assert.equal(bench.record.step, 'Remove', 'what was under way has ended, and that is written down');
    assert.deepEqual([bench.asked, bench.record.withdrawnAtMs, bench.provisioner.keysOf('remove')], [0, undefined, []]);
    await bench.parts.pauses.set({ cluster: '', paused: false, reason: '' }, 'admin/root');
    bench.parts.saga.poke();
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('waits before the removal while it is held back, and says why', async () => {
    await start();
    bench.confirmations.push(...Array.from({ length: 20 }, () => ({ type: 'wait' as const, message: 'the coordinator is not well' })));
    await bench.until(() => bench.asked > 10);
    assert.deepEqual([bench.record.step, bench.record.message], ['Remove', 'the coordinator is not well']);
    assert.notDeepEqual(bench.node()?.identitySerials, []);
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('is cancelled, and uncordons the node, when it has recovered just before the removal', async () => {
    await start();
    bench.confirmations.push({ type: 'recovered', message: 'none of its certificates is expired any more' });
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.node()?.replacement, bench.node()?.identitySerials.length], ['Cancelled', undefined, 2]);
    assert.deepEqual(
      bench.provisioner.effects.map(({ action }) => action),
      ['cordon', 'drain', 'uncordon'],
    );
    assert.equal(bench.provisioner.cordoned.size, 0);
    assert.match(record.message, /none of its certificates is expired any more/);
  });

  /** Certificates are issued to the node in the moment of its removal, so many times. */
  const raceRemoval = (times: number): { raced: number } => {
    const { transact } = bench.store;
    const race = { raced: 0 };
    bench.store.transact = async (compares, operations) => {
      if (race.raced < times && operations.some((one) => one.type === 'put' && one.key.startsWith(layout.removedNodesOf(cluster)))) {
        race.raced += 1;
        await bench.put(layout.current(cluster, oldNode, 'kubelet-client'), {
          serial: `1${race.raced}`,
          issuedAtMs: 0,
          notAfterMs: 0,
          specHash: '',
        });
      }
      return transact.call(bench.store, compares, operations);
    };
    return race;
  };

  it('decides again when something else changes the node in the moment of the removal', async () => {
    await start();
    const race = raceRemoval(2);
    assert.equal((await bench.ended()).state, 'Succeeded');
    assert.equal(race.raced, 2);
    assert.equal(bench.provisioner.keysOf('remove').length, 1);
    assert.ok(bench.asked >= 4, 'each time it is asked whether the node has recovered by that');
  });

  it('leaves a node alone whose renewal lands in the moment of the removal', async () => {
    await start();
    const identities = bench.node()?.identitySerials;
    const race = raceRemoval(1);
    const recovered = { type: 'recovered', message: 'none of its certificates is expired any more' } as const;
    bench.confirmations.push({ type: 'go' }, { type: 'go' }, recovered, recovered);
    const record = await bench.ended();
    assert.deepEqual([record.state, race.raced, record.withdrawnAtMs], ['Cancelled', 1, undefined]);
    assert.deepEqual([bench.provisioner.keysOf('remove'), bench.node()?.identitySerials], [[], identities]);
    assert.equal((await bench.store.range({ prefix: layout.revocationsOf(cluster) })).entries.length, 0);
  });

  it('does not decide from what memory has not seen yet of the node', async () => {
    await start();
    bench.provisioner.hang('drain');
    await bench.until(() => bench.record.step === 'Drain');
    // A renewal that another coordinator has made, and of which this one has not heard.
    await bench.parts.model.currents.stop();
    await bench.put(layout.current(cluster, oldNode, 'kubelet-client'), { serial: '1f', issuedAtMs: 0, notAfterMs: 0, specHash: '' });
    bench.provisioner.mend('drain');
    await bench.until(() => bench.record.step === 'Remove');
    await bench.clock.advance(600_000);
    assert.deepEqual([bench.record.withdrawnAtMs, bench.provisioner.keysOf('remove')], [undefined, []]);
    await bench.parts.saga.stop();
    await bench.takeOver();
    assert.equal((await bench.ended()).state, 'Succeeded');
  });

  it('waits no longer than it is meant to after its clock was set back', async () => {
    await start({ policy: { drainTimeoutSeconds: 90 } });
    bench.provisioner.break('remove');
    await bench.until(() => bench.record.failures >= 3);
    await bench.clock.step(-365 * 86_400_000);
    bench.provisioner.mend('remove');
    await bench.until(() => bench.record.finishedAtMs !== undefined, 600_000);
    assert.equal(bench.record.state, 'Succeeded');
  });

  it('drains no longer than it may after its clock was set back', async () => {
    await start({ policy: { drainTimeoutSeconds: 90 } });
    bench.provisioner.hang('drain');
    await bench.until(() => bench.provisioner.keysOf('drain').length > 0);
    await bench.clock.step(-365 * 86_400_000);
    await bench.until(() => bench.record.steps.some(({ step, result }) => step === 'Drain' && result === 'Skipped'), 600_000);
  });

  it('tells of a machine that somebody else should have made long ago', async () => {
    await start({ policy: { joinTimeoutSeconds: 120 } });
    const late = new EvercertError('Unavailable', 'the MachineSet has not made a machine yet');
    for (let tries = 0; tries < 40; tries++) bench.provisioner.failNext('allocate', late);
    const told = async (): Promise<number> => (await bench.events()).filter(({ reason }) => reason === 'ReplacementStepFailed').length;
    await bench.until(() => bench.record.failures > 0);
    await bench.clock.advance(60_000);
    assert.equal(await told(), 0);
    await bench.clock.advance(900_000);
    assert.ok((await told()) > 0);
  });

  it('goes on when the store has failed for a while', async () => {
    await start();
    const { transact } = bench.store;
    let refusals = 20;
    bench.store.transact = async (compares, operations) => {
      if (refusals-- > 0) throw new EvercertError('StoreFailure', 'no space left');
      return transact.call(bench.store, compares, operations);
    };
    assert.equal((await bench.ended()).state, 'Succeeded');
    assert.deepEqual(bench.provisioner.machines, [oldNode]);
  });

  it('ends a call when it is stopped, and begins no step', async () => {
    await start();
    bench.provisioner.hang('drain');
    await bench.until(() => bench.record.step === 'Drain' && bench.provisioner.keysOf('drain').length === 1);
    await bench.parts.saga.stop();
    await bench.clock.advance(600_000);
    assert.deepEqual([bench.record.step, bench.provisioner.keysOf('remove')], ['Drain', []]);
  });

  describe('whose provisioner calls the new machine otherwise', () => {
    it('registers the new node, and deletes the old one', async () => {
      await start({ nameOf: ({ attempt }) => `w-new-${attempt}` });
      const record = await bench.ended();
      assert.deepEqual(
        [record.state, record.newNode, bench.node(), bench.provisioner.machines],
        ['Succeeded', 'w-new-1', undefined, ['w-new-1']],
      );
      assert.deepEqual([bench.node('w-new-1')?.labels, bench.node('w-new-1')?.replacement], [{ zone: 'a' }, undefined]);
    });

    it('forgets the node of a machine that did not join', async () => {
      await start({
        policy: { joinTimeoutSeconds: 60 },
        nameOf: ({ attempt }) => `w-new-${attempt}`,
        machine: (attempt) => (attempt === 1 ? 'joins' : 'ready'),
      });
      const record = await bench.ended();
      assert.deepEqual([record.newNode, bench.node('w-new-1'), bench.provisioner.machines], ['w-new-2', undefined, ['w-new-2']]);
    });

    it('does not take over a node that has joined already, and says so', async () => {
      await start({ nameOf: () => 'w-9' });
      await bench.parts.registry.update(cluster, oldNode, (node) => node);
      await bench.put(layout.node(cluster, 'w-9'), {
        ...bench.node(),
        name: 'w-9',
        registeredAddresses: [],
        claimedAddresses: [],
        replacement: undefined,
      });
      await bench.until(() => bench.record.step === 'Create' && bench.record.failures > 0);
      assert.match(bench.record.message, /w-9, which is a node already/);
    });
  });
});
