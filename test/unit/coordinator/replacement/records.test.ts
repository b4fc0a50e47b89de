import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { removalName } from '@evercert/coordinator/replacement';
import { cluster, oldNode, replacementId, SagaBench } from '../../../support/saga-bench.ts';

describe('the removal of a node', () => {
  let bench: SagaBench;

  before(async () => {
    bench = await SagaBench.start();
    await bench.parts.saga.stop();
  });
  after(() => bench.close());

  it('is refused while the node is being replaced, and says how to end that', async () => {
    const removal = bench.parts.removal.remove(cluster, oldNode, 'admin/root', 'zzzzzzzzzz');
    await assert.rejects(removal, { code: 'FailedPrecondition', message: new RegExp(`evercert replacement cancel ${replacementId}`) });
  });

  it('revokes what the node has, forgets what is known of it, and frees its addresses', async () => {
    await bench.parts.registry.update(cluster, oldNode, ({ replacement: _ended, ...node }) => node);
    await bench.parts.removal.remove(cluster, oldNode, 'admin/root', 'zzzzzzzzzz');
    const prefixes = [layout.node(cluster, ''), layout.currents(cluster, oldNode), layout.addresses(cluster)];
    for (const prefix of prefixes) assert.deepEqual((await bench.store.range({ prefix })).entries, [], prefix);
    const revocation = bench.parts.revocations.get(cluster, 'removed-w-1-zzzzzzzzzz');
    assert.deepEqual([revocation?.entries.length, revocation?.description], [1, 'node w-1 was removed by admin/root']);
    assert.ok(bench.parts.removed.knows(cluster, oldNode));
    await assert.rejects(bench.parts.removal.remove(cluster, oldNode, 'admin/root', 'y'), { code: 'NotFound' });
  });

  it('is told at most once a minute for each node that comes back, and counted', async () => {
    const visit = { cluster, serial: '11'.repeat(16), peer: '192.0.2.1:4711' };
    for (let visits = 0; visits < 5; visits++) bench.parts.removed.cameBack(visit);
    bench.parts.removed.cameBack({ ...visit, serial: '10'.repeat(16) });
    bench.parts.removed.cameBack({ ...visit, serial: 'ff'.repeat(16) });
    await bench.clock.advance(61_000);
    bench.parts.removed.cameBack(visit);
    await bench.clock.advance(1000);
    assert.equal((await bench.events()).filter(({ reason }) => reason === 'RemovedNodeReturned').length, 2);
    assert.equal(bench.parts.removed.find(cluster, visit.serial)?.returned, 7);
  });

  it('names its revocation as Kubernetes names objects, however long the name of the node', () => {
    const name = removalName(`${'node.'.repeat(10)}ab`, 'abcdefghij-12');
    assert.match(name, /^removed-[a-z0-9]([-a-z0-9]*[a-z0-9])?$/);
    assert.ok(name.length <= 63 && name.endsWith('-abcdefghij-12'));
  });
});
