import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { cluster, oldNode, SagaBench, type SagaBenchOptions } from '../../../support/saga-bench.ts';

describe('a replacement that an admin ends', () => {
  let bench: SagaBench;
  const start = async (options?: SagaBenchOptions): Promise<void> => {
    bench = await SagaBench.start(options);
  };

  afterEach(() => bench.close());

  it('before the removal breaks off the call under way, uncordons the node, and leaves all as it was', async () => {
    await start();
    bench.provisioner.hang('drain');
    await bench.until(() => bench.provisioner.keysOf('drain').length === 1);
    await bench.cancel();
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.provisioner.cordoned.size, bench.provisioner.machines], ['Cancelled', 0, [oldNode]]);
    assert.deepEqual([bench.node()?.identitySerials.length, bench.node()?.replacement], [2, undefined]);
    assert.match(record.message, /^cancelled by admin\/root: node w-1 stays; .*'evercert cordon w-1'/);
  });

  it('ends although it is paused', async () => {
    await start();
    bench.provisioner.hang('drain');
    await bench.until(() => bench.record.step === 'Drain');
    await bench.parts.pauses.set({ cluster, paused: true, reason: '' }, 'admin/root');
    await bench.cancel();
    assert.equal((await bench.ended()).state, 'Cancelled');
  });

  it('ends although uncordoning does not come about, with a warning', async () => {
    await start();
    bench.provisioner.hang('drain');
    bench.provisioner.break('uncordon');
    await bench.until(() => bench.provisioner.keysOf('drain').length === 1);
    await bench.cancel();
    const record = await bench.ended();
    assert.deepEqual([record.state, record.steps.at(-1)?.step, record.steps.at(-1)?.result], ['Cancelled', 'Uncordon', 'Skipped']);
  });

  it('while the machine is being removed says that it may still be there; the node stays registered without an identity', async () => {
    await start();
    bench.provisioner.break('remove');
    await bench.until(() => bench.record.failures > 0);
    await bench.cancel();
    const record = await bench.ended();
    assert.equal(record.state, 'Cancelled');
    assert.match(record.message, /its machine may still be there and is accepted no more.*token create --role worker --node-name w-1/);
    assert.deepEqual([bench.node()?.identitySerials, bench.node()?.replacement], [[], undefined]);
  });

  it('discards a new machine that has not joined, and takes its token back', async () => {
    await start({ machine: () => 'dead' });
    await bench.until(() => bench.record.step === 'Join');
    await bench.cancel();
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.provisioner.machines], ['Cancelled', []]);
    assert.equal((await bench.store.range({ prefix: layout.tokens })).entries.length, 0);
    assert.match(record.message, /its machine was removed.*the node stays registered/);
  });

  it('keeps a new machine that has joined', async () => {
    await start({ machine: () => 'joins' });
    await bench.until(() => bench.record.step === 'Verify');
    await bench.cancel();
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.provisioner.machines, bench.node()?.identitySerials.length], ['Cancelled', [oldNode], 1]);
    assert.match(record.message, /has joined and stays/);
  });

  it('deletes the node where somebody else names machines', async () => {
    await start({ nameOf: () => 'w-new', machine: () => 'dead' });
    await bench.until(() => bench.record.step === 'Join');
    await bench.cancel();
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.provisioner.machines, bench.parts.model.nodesOf(cluster)], ['Cancelled', [], []]);
    assert.match(record.message, /the node was deleted/);
  });

  it('ends while it backs off, without waiting', async () => {
    await start({ policy: { joinTimeoutSeconds: 10, backoffSeconds: 3600 }, machine: () => 'dead' });
    await bench.until(() => bench.record.state === 'BackingOff');
    await bench.cancel();
    await bench.clock.advance(5000);
    assert.equal(bench.record.state, 'Cancelled');
  });

  it('ends in the same way when the coordinator is killed in the midst of it', async () => {
    await start({ machine: () => 'dead' });
    await bench.until(() => bench.record.step === 'Join');
    bench.crashAt = 'replacement-discard-acted';
    await bench.cancel();
    await bench.clock.advance(5000);
    await bench.takeOver();
    const record = await bench.ended();
    assert.deepEqual([record.state, bench.provisioner.machines], ['Cancelled', []]);
    assert.equal(bench.provisioner.effects.filter(({ action }) => action === 'discard').length, 1);
  });
});
