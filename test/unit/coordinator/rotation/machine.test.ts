import assert from 'node:assert/strict';
import { generationsOf } from '@evercert/coordinator/ca';
import { RotationBench } from '../../../support/rotation-bench.ts';

describe('the rotation of a CA', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  it('trusts, then signs, then renews, then distrusts, and keeps the old certificate for ever', async () => {
    bench = await RotationBench.start();
    const before = bench.authority;
    const { record } = await bench.rotate({ note: 'as every year' });
    const stages: string[] = [];
    bench.onIssue = (node, { serial }) => void stages.push(`${node.name} by ${serial === before.serial ? 'old' : 'new'}`);
    const done = await bench.ended(record.id);
    assert.equal(done.record.stage, 'Completed');
    const after = bench.authority;
    assert.notEqual(after.serial, before.serial);
    assert.deepEqual(after.bundle, [after.certificate]);
    assert.deepEqual(stages.sort(), ['cp-1 by new', 'w-1 by new', 'w-2 by new']);
    assert.deepEqual(
      generationsOf(after).map(({ state, generation }) => [state, generation.serial]),
      [
        ['current', after.serial],
        ['retired', before.serial],
      ],
    );
    assert.deepEqual(
      [...bench.nodes.values()].map(({ trusts }) => trusts.length),
      [1, 1, 1],
    );
    const reasons = (await bench.events()).map(({ reason }) => reason).filter((reason) => reason.startsWith('Rotation'));
    const told = [
      'RotationStarted',
      'RotationSpreading',
      'RotationActivating',
      'RotationReissuing',
      'RotationRetiring',
      'RotationCompleted',
    ];
    assert.deepEqual(reasons.sort(), told.sort());
  });

  it('waits for a node that is heard, names what it waits for, and goes on when it has come', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await bench.look();
    for (const name of ['cp-1', 'w-1']) await bench.obey(name);
    bench.say('w-2');
    for (let i = 0; i < 3; i++) await bench.look();
    const { record: now, nodes, waitingFor } = bench.view(record.id);
    assert.equal(now.stage, 'Spreading');
    assert.deepEqual(
      nodes.map(({ node, state }) => [node, state]),
      [
        ['cp-1', 'Done'],
        ['w-1', 'Done'],
        ['w-2', 'Waiting'],
      ],
    );
    assert.match(waitingFor, /^1 of 3 nodes: w-2 \(trust bundle ca \(\/etc\/kubernetes\/pki\/ca\.crt\) is of version 1, not 2\)$/);
    await bench.obey('w-2');
    await bench.reaches(record.id, 'Completed');
  });

  it('calls a node behind that takes longer than usual, or that says what is wrong', async () => {
    bench = await RotationBench.start({ looked: true });
    bench.node('w-1').says = { served: 'NotServed', servedMessage: '127.0.0.1:6443 still accepts clients of "CN=old"' };
    const { record } = await bench.rotate();
    await bench.look();
    await bench.obeyAll();
    const { nodes } = bench.view(record.id);
    assert.deepEqual(
      nodes.map(({ state }) => state),
      ['Done', 'Behind', 'Done'],
    );
    assert.match(nodes[1]!.reason, /still accepts clients of "CN=old"/);
    bench.node('w-1').says = { served: '' };
    await bench.obeyAll();
    assert.deepEqual(
      bench.view(record.id).nodes.map(({ state }) => state),
      ['Done', 'Waiting', 'Done'],
    );
    for (let i = 0; i < 3; i++) {
      await bench.clock.advance(50_000);
      await bench.obeyAll();
    }
    assert.equal(bench.view(record.id).nodes[1]!.state, 'Behind');
  });

  it('waits until the component that reads a bundle has been told of it', async () => {
    bench = await RotationBench.start({ reloads: true });
    bench.node('cp-1').says = { reloadOwed: true };
    const { record } = await bench.rotate();
    await bench.look();
    await bench.obeyAll();
    await bench.look();
    const [first] = bench.view(record.id).nodes;
    assert.equal(first?.state, 'Waiting');
    assert.match(first?.reason ?? '', /still to be told/);
    bench.node('cp-1').says = {};
    await bench.reaches(record.id, 'Completed');
  });

  it('gives components time that read a bundle again by themselves', async () => {
    bench = await RotationBench.start({ policy: { settleSeconds: 90 } });
    const { record } = await bench.rotate();
    await bench.look();
    await bench.obeyAll();
    await bench.look();
    const begun = bench.clock.monotonicMs();
    assert.match(bench.view(record.id).waitingFor, /by themselves: 90 s more/);
    await bench.reaches(record.id, 'Reissuing');
    assert.ok(bench.clock.monotonicMs() - begun >= 90_000);
    const renewed = bench.clock.monotonicMs();
    await bench.reaches(record.id, 'Retiring');
    assert.ok(bench.clock.monotonicMs() - renewed >= 90_000);
    await bench.reaches(record.id, 'Completed');
  });

  it('is not held up by renewals that come in the course of things', async () => {
    bench = await RotationBench.start({ policy: { settleSeconds: 90 } });
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Reissuing');
    const begun = bench.clock.monotonicMs();
    while (bench.view(record.id).record.stage === 'Reissuing' && bench.clock.monotonicMs() - begun < 600_000) {
      await bench.look();
      // The next is issued, and has not been reported, whenever somebody looks.
      await bench.obeyAll();
      await bench.look();
      for (const { name, leaf } of bench.nodes.values()) if (leaf?.issuerSerial === bench.authority.serial) await bench.renewNow(name);
      await bench.clock.advance(5000);
    }
    assert.notEqual(bench.view(record.id).record.stage, 'Reissuing');
  });

  it('does not wait for a node that is away, retires the CA once its certificates have ended, and counts it again when it is back', async () => {
    bench = await RotationBench.start();
    bench.switchOff('w-2');
    const { record } = await bench.rotate();
    const old = bench.authority.serial;
    await bench.reaches(record.id, 'Reissuing');
    await bench.until(() => bench.view(record.id).nodes.every(({ state }) => state === 'Done' || state === 'Away'));
    const { nodes, waitingFor } = bench.view(record.id);
    assert.deepEqual(
      nodes.map(({ state, cutOff }) => [state, cutOff]),
      [
        ['Done', false],
        ['Done', false],
        ['Away', true],
      ],
    );
    assert.match(waitingFor, /those of w-2, which is away; the last ends/);
    const { notAfterMs } = bench.node('w-2').leaf!;
    await bench.reaches(record.id, 'Retiring');
    assert.ok(bench.clock.nowMs() >= notAfterMs);
    bench.switchOn('w-2');
    bench.say('w-2');
    assert.deepEqual(bench.view(record.id).nodes.map(({ state }) => state)[2], 'Waiting');
    await bench.ended(record.id);
    assert.equal(bench.node('w-2').leaf?.issuerSerial, bench.authority.serial);
    assert.notEqual(bench.authority.serial, old);
  });

  it('retires with a deadline what a node that is away still has, and says so', async () => {
    bench = await RotationBench.start();
    bench.switchOff('w-2');
    const { record } = await bench.rotate({ deadlineAfterMs: 300_000 });
    const ended = await bench.ended(record.id);
    assert.ok(ended.record.endedAtMs! < bench.node('w-2').leaf!.notAfterMs);
    const told = (await bench.events()).find(({ reason }) => reason === 'RotationRetiring');
    assert.equal(told?.type, 'Warning');
    assert.match(told?.message ?? '', /cut off until they are repaired: w-2/);
  });

  it('does not let the deadline of a planned rotation cut off a node that is heard', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate({ deadlineAfterMs: 60_000 });
    await bench.reaches(record.id, 'Reissuing');
    for (let i = 0; i < 20; i++) {
      await bench.look();
      for (const name of ['cp-1', 'w-1']) await bench.obey(name);
      bench.say('w-2');
      await bench.clock.advance(10_000);
    }
    const { record: now, nodes } = bench.view(record.id);
    assert.equal(now.stage, 'Reissuing');
    assert.equal(nodes[2]?.state, 'Behind');
  });

  it('takes control-plane nodes in turns, and so many workers at once as the policy says', async () => {
    const names = Array.from({ length: 5 }, (_, i) => [`w-${i}`, 'worker'] as const);
    const planes = Array.from({ length: 3 }, (_, i) => [`cp-${i}`, 'control-plane'] as const);
    bench = await RotationBench.start({ nodes: Object.fromEntries([...names, ...planes]), policy: { maxConcurrent: 2 } });
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Reissuing');
    const marked = (): string[] =>
      bench.parts.model
        .nodesOf('demo')
        .filter((node) => Object.keys(node.renewIfIssuedBeforeMs).length > 0)
        .map(({ name }) => name);
    await bench.look();
    assert.deepEqual(marked(), ['cp-0', 'w-0', 'w-1']);
    await bench.obey('w-0');
    await bench.look();
    assert.deepEqual(marked(), ['cp-0', 'w-0', 'w-1', 'w-2']);
    // Issued, but its component has not said so: its turn is not over.
    await bench.renew('cp-0');
    await bench.look();
    assert.ok(!marked().includes('cp-1'));
    bench.say('cp-0');
    await bench.look();
    assert.ok(marked().includes('cp-1'));
    await bench.ended(record.id);
  });

  it('rotates to another algorithm, and one CA after the other', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate({ authorities: ['cluster-ca', 'etcd-ca'], keyAlgorithm: 'ecdsa-p384' });
    assert.deepEqual(record.following, ['demo/etcd-ca']);
    await bench.until(() => bench.parts.records.list('demo').length === 2);
    const [second] = bench.parts.records.list('demo');
    assert.equal(second?.authority, 'etcd-ca');
    assert.equal(bench.authority.keyAlgorithm, 'ecdsa-p384');
    await bench.ended(second!.id);
    assert.equal(bench.parts.model.authority('demo', 'etcd-ca')?.keyAlgorithm, 'ecdsa-p384');
  });

  it('refuses a second rotation of the same CA, a CA whose key is elsewhere, and what does not exist', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await assert.rejects(bench.rotate(), { code: 'FailedPrecondition', message: new RegExp(record.id) });
    await assert.rejects(bench.rotate({ authorities: ['front-proxy-ca'] }), { code: 'NotFound' });
    await assert.rejects(bench.rotate({ cluster: 'nowhere' }), { code: 'NotFound' });
    await assert.rejects(bench.rotate({ cluster: '', authorities: ['etcd-ca'] }), { code: 'InvalidArgument' });
    await bench.put('/evercert/v1/cas/demo/etcd-ca', { ...bench.parts.model.authority('demo', 'etcd-ca'), keyId: '' });
    await assert.rejects(bench.rotate({ authorities: ['etcd-ca'] }), { code: 'FailedPrecondition', message: /not at this coordinator/ });
  });

  it('says what it would do, and does nothing', async () => {
    bench = await RotationBench.start();
    bench.switchOff('w-2');
    await bench.clock.advance(61_000);
    for (const name of ['cp-1', 'w-1']) bench.say(name);
    const { nodes } = await bench.rotate({ dryRun: true, reason: 'compromise' });
    assert.deepEqual(
      nodes.map(({ node, state, certificatesLeft, cutOff }) => [node, state, certificatesLeft, cutOff]),
      [
        ['cp-1', 'Waiting', 1, false],
        ['w-1', 'Waiting', 1, false],
        ['w-2', 'Away', 1, true],
      ],
    );
    assert.deepEqual(bench.parts.records.list(''), []);
  });

  it('does nothing while it is paused, and goes on from there', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Spreading');
    const paused = await bench.parts.rotations.set(record.id, { type: 'pause' }, 'lunch', 'admin/ann');
    assert.match(paused.waitingFor, /^paused by admin\/ann at /);
    await bench.parts.rotations.set(record.id, { type: 'pause' }, '', 'admin/bob');
    for (let i = 0; i < 5; i++) {
      await bench.look();
      await bench.obeyAll();
      await bench.clock.advance(10_000);
    }
    assert.equal(bench.view(record.id).record.stage, 'Spreading');
    assert.equal(bench.view(record.id).record.pausedBy, 'admin/ann');
    await bench.parts.rotations.set(record.id, { type: 'resume' }, '', 'admin/ann');
    assert.equal((await bench.ended(record.id)).record.stage, 'Completed');
  });

  it('destroys the old key after its last certificate has ended, and not before', async () => {
    bench = await RotationBench.start();
    const old = bench.authority;
    const { record } = await bench.rotate();
    await bench.ended(record.id);
    await bench.parts.care.look();
    assert.ok(bench.keys.held.has(old.keyId));
    await bench.clock.advance(3600_000);
    await bench.parts.care.look();
    assert.ok(!bench.keys.held.has(old.keyId));
    const [, earlier] = generationsOf(await bench.stored());
    assert.deepEqual([earlier?.generation.serial, earlier?.keyDestroyed], [old.serial, true]);
  });

  it('leaves no key behind when the process ends between record and key', async () => {
    bench = await RotationBench.start();
    const old = bench.authority;
    const { record } = await bench.rotate();
    await bench.ended(record.id);
    await bench.clock.advance(3600_000);
    const { delete: remove } = bench.keys;
    bench.keys.delete = () => Promise.reject(new Error('the process ends'));
    await bench.parts.care.look();
    bench.keys.delete = remove;
    assert.ok(bench.keys.held.has(old.keyId));
    await bench.parts.care.look();
    assert.ok(!bench.keys.held.has(old.keyId));
  });
});
