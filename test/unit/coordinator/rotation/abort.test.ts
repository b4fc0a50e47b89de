import assert from 'node:assert/strict';
import { generationsOf } from '@evercert/coordinator/ca';
import type { RotationView } from '@evercert/coordinator/rotation';
import { RotationBench } from '../../../support/rotation-bench.ts';

describe('the abort of a rotation', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  const abort = (id: string): Promise<RotationView> => bench.parts.rotations.set(id, { type: 'abort' }, 'not today', 'admin/ann');

  for (const stage of ['Preparing', 'Spreading', 'Activating', 'Reissuing'] as const) {
    it(`at ${stage} leaves nodes with the old CA alone`, async () => {
      bench = await RotationBench.start();
      const before = bench.authority;
      const { record } = await bench.rotate({ authorities: ['cluster-ca', 'etcd-ca'] });
      // At the place where the process would end, it is aborted from outside.
      bench.crashAt = `rotation-${stage.toLowerCase()}-acted`;
      await bench.until(() => bench.passed.includes(bench.crashAt!) || bench.view(record.id).record.stage === 'Completed');
      assert.equal(bench.view(record.id).record.stage, stage);
      await (await bench.takeOver())();
      await abort(record.id);
      await abort(record.id);
      const { record: ended } = await bench.ended(record.id);
      assert.equal(ended.stage, 'Aborted');
      const after = bench.authority;
      assert.equal(after.serial, before.serial);
      assert.deepEqual(after.bundle, before.bundle);
      assert.deepEqual(
        [...bench.nodes.values()].map(({ trusts, leaf }) => [trusts, leaf?.issuerSerial]),
        [...bench.nodes].map(() => [before.bundle, before.serial]),
      );
      // What signed leaves is never forgotten; what signed nothing leaves no key.
      const kept = generationsOf(after).map(({ state }) => state);
      assert.deepEqual(kept, stage === 'Reissuing' ? ['current', 'retired'] : ['current']);
      assert.deepEqual(bench.missingKeys(after), []);
      assert.equal(bench.parts.records.list('demo').length, 1);
      await bench.rotate();
    });
  }

  it('is refused once nodes have begun to distrust the old CA, and after the end', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Retiring');
    await assert.rejects(abort(record.id), { code: 'FailedPrecondition', message: /cannot be aborted at Retiring/ });
    await bench.ended(record.id);
    await assert.rejects(abort(record.id), { code: 'FailedPrecondition', message: /has ended already \(Completed\)/ });
    await assert.rejects(abort('ro-0000000000'), { code: 'NotFound' });
  });

  it('destroys the key of the new CA too, once its last certificate has ended', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Reissuing');
    await bench.obeyAll();
    const dropped = bench.authority.keyId;
    await abort(record.id);
    await bench.ended(record.id);
    assert.ok(bench.keys.held.has(dropped));
    await bench.clock.advance(3600_000);
    await bench.parts.care.look();
    assert.ok(!bench.keys.held.has(dropped));
  });

  it('goes back step by step: what the new CA has issued is renewed before it is distrusted', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate();
    await bench.reaches(record.id, 'Reissuing');
    await bench.obeyAll();
    const fresh = bench.authority.serial;
    assert.equal(bench.node('w-1').leaf?.issuerSerial, fresh);
    await abort(record.id);
    await bench.look();
    const { record: now, nodes } = bench.view(record.id);
    assert.equal(now.stage, 'AbortReissuing');
    assert.deepEqual(
      nodes.map(({ state, certificatesLeft }) => [state, certificatesLeft]),
      [
        ['Waiting', 1],
        ['Waiting', 1],
        ['Waiting', 1],
      ],
    );
    assert.equal(bench.authority.bundle.length, 2);
  });
});

describe('the rotation of a compromised CA', () => {
  let bench: RotationBench;
  afterEach(() => bench.close());

  it('distrusts it as soon as every node that is heard has renewed, and names who is cut off', async () => {
    bench = await RotationBench.start();
    bench.switchOff('w-2');
    const old = bench.authority.serial;
    const { record } = await bench.rotate({ reason: 'compromise' });
    const ended = await bench.ended(record.id);
    assert.ok(ended.record.endedAtMs! < bench.node('w-2').leaf!.notAfterMs);
    const [, earlier] = generationsOf(bench.authority);
    assert.deepEqual([earlier?.generation.serial, earlier?.compromised], [old, true]);
    const told = (await bench.events()).find(({ reason }) => reason === 'RotationRetiring');
    assert.match(told?.message ?? '', /cut off until they are repaired: w-2/);
  });

  it('waits for nodes that are heard until the deadline, and no longer', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate({ reason: 'compromise', deadlineAfterMs: 3600_000 });
    const behind = async (untilMs: number): Promise<void> => {
      while (bench.clock.monotonicMs() < untilMs) {
        await bench.look();
        for (const name of ['cp-1', 'w-1']) await bench.obey(name);
        bench.say('w-2');
        await bench.clock.advance(30_000);
      }
    };
    await behind(1800_000);
    assert.equal(bench.view(record.id).record.stage, 'Spreading');
    await bench.parts.rotations.set(record.id, { type: 'deadline', afterMs: 60_000 }, 'now', 'admin/ann');
    await behind(1900_000);
    assert.equal(bench.view(record.id).record.stage, 'Completed');
    const told = await bench.events();
    assert.match(told.find(({ reason }) => reason === 'RotationActivating')?.message ?? '', /these nodes do not trust the new CA yet: w-2/);
    assert.match(told.find(({ reason }) => reason === 'RotationRetiring')?.message ?? '', /w-2/);
  });

  it('cannot be gone back to once the new one signs', async () => {
    bench = await RotationBench.start();
    const { record } = await bench.rotate({ reason: 'compromise' });
    await bench.reaches(record.id, 'Reissuing');
    await assert.rejects(bench.parts.rotations.set(record.id, { type: 'abort' }, '', 'admin/ann'), {
      code: 'FailedPrecondition',
      message: /strange hands/,
    });
  });
});
