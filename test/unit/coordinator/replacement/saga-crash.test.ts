import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { cluster, oldNode, SagaBench, type SagaBenchOptions } from '../../../support/saga-bench.ts';

const steps = ['cordon', 'drain', 'remove', 'allocate', 'create', 'join', 'verify'];
const places = [
  ...steps.flatMap((step) => ['begun', 'acted', 'done'].map((when) => `replacement-${step}-${when}`)),
  'replacement-remove-withdrawn',
];
const firstIsDead: SagaBenchOptions = {
  policy: { joinTimeoutSeconds: 60, backoffSeconds: 10 },
  machine: (attempt) => (attempt === 1 ? 'dead' : 'ready'),
};
const otherName: SagaBenchOptions = { ...firstIsDead, nameOf: ({ attempt }) => `w-new-${attempt}` };

/** What holds wherever the process ended. */
async function assertClean(bench: SagaBench, { attempts, machine }: { attempts: number; machine: string }): Promise<void> {
  const record = await bench.ended();
  assert.deepEqual([record.state, record.attempt], ['Succeeded', attempts]);
  assert.deepEqual(bench.provisioner.machines, [machine], 'one machine, and none left over');
  const { effects, calls } = bench.provisioner;
  assert.equal(new Set(effects.map(({ key }) => key)).size, effects.length);
  for (const { action, key } of calls) assert.match(key, new RegExp(`^${record.id}-\\d+-${action}$`));
  assert.equal(effects.filter(({ action }) => action === 'remove').length, 1);
  assert.equal(effects.filter(({ action }) => action === 'create').length, attempts);
  assert.equal((await bench.store.range({ prefix: layout.tokens })).entries.length, 0, 'no token is left over');
  assert.equal(bench.node(machine)?.replacement, undefined);
  assert.equal(bench.node(machine)?.identitySerials.length, 1);
  assert.deepEqual(bench.parts.model.nodesOf(cluster).length, 1);
}

describe('a replacement whose coordinator is killed', () => {
  for (const place of places) {
    it(`at ${place} is taken up where it was, and does nothing twice`, async () => {
      const bench = await SagaBench.start();
      try {
        assert.ok(await bench.crash(place), 'it comes there');
        await bench.takeOver();
        await assertClean(bench, { attempts: 1, machine: oldNode });
      } finally {
        await bench.close();
      }
    });
  }

  for (const when of ['begun', 'acted', 'done']) {
    for (const [how, options, machine] of [
      ['of the same name', firstIsDead, oldNode],
      ['of another name', otherName, 'w-new-2'],
    ] as const) {
      it(`at replacement-discard-${when}, with machines ${how}, leaves no machine over`, async () => {
        const bench = await SagaBench.start(options);
        try {
          assert.ok(await bench.crash(`replacement-discard-${when}`), 'it comes there');
          await bench.takeOver();
          await assertClean(bench, { attempts: 2, machine });
        } finally {
          await bench.close();
        }
      });
    }
  }

  it('records another token after a crash, since secrets are not stored, and forgets both in the end', async () => {
    const bench = await SagaBench.start({ machine: () => 'dead' });
    try {
      assert.ok(await bench.crash('replacement-create-acted'));
      const [first] = bench.record.tokenIds;
      await bench.takeOver();
      await bench.until(() => bench.record.step === 'Join');
      assert.equal(bench.record.tokenIds.length, 2);
      assert.equal(bench.record.tokenIds[0], first, 'the machine may hold the first one');
      assert.equal(bench.provisioner.effects.filter(({ action }) => action === 'create').length, 1);
      await bench.joins(oldNode);
      bench.ready.add(oldNode);
      await assertClean(bench, { attempts: 1, machine: oldNode });
    } finally {
      await bench.close();
    }
  });

  it('gives the new machine its whole time again: what the coordinator was away does not count', async () => {
    const bench = await SagaBench.start({ policy: { joinTimeoutSeconds: 60 }, machine: () => 'dead' });
    try {
      assert.ok(await bench.crash('replacement-join-begun'));
      await bench.clock.advance(3600_000);
      await bench.takeOver();
      await bench.clock.advance(30_000);
      await bench.joins(oldNode);
      bench.ready.add(oldNode);
      await assertClean(bench, { attempts: 1, machine: oldNode });
    } finally {
      await bench.close();
    }
  });
});
