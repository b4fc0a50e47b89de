import assert from 'node:assert/strict';
import { EventRecorder, layout, type NodeRecord } from '@evercert/coordinator';
import { provisionersOf } from '@evercert/coordinator/provisioning';
import { NodeSwap, type ReplacementFacts, type ReplacementRecord, Replacements } from '@evercert/coordinator/replacement';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { defaultClusterPolicy, defaultReplacementPolicy, type ReplacementPolicy } from '@evercert/shared/manifest';
import { worker } from '../../../support/replacement.ts';
import { cluster, oldNode, replacementId, SagaBench } from '../../../support/saga-bench.ts';

const hour = 3600_000;

describe('the controller of replacements', () => {
  let bench: SagaBench;
  let controller: Replacements;
  const expired = new Set<string>();

  const policy = (change: Partial<ReplacementPolicy>): Promise<void> => {
    const replacement = { ...defaultReplacementPolicy, provisioner: 'fake', maxUnhealthy: '100%', ...change };
    return bench.put(layout.cluster(cluster), {
      name: cluster,
      uid: 'u',
      createdAtMs: 0,
      policy: { ...defaultClusterPolicy, replacement },
    });
  };
  const factsOf = ({ name, replacement, identitySerials }: NodeRecord): ReplacementFacts => {
    const nowMs = bench.clock.nowMs();
    const ended = { name: 'kubelet-client', dueMs: nowMs - 3 * hour, endMs: nowMs - 2 * hour };
    const isExpired = expired.has(name);
    return worker(name, {
      joined: identitySerials.length > 0,
      phase: isExpired ? 'Expired' : 'Ready',
      expired: isExpired ? [ended] : [],
      replacing: replacement && { id: replacement.id, step: '' },
    });
  };
  const open = (): Replacements => {
    const { clock, store } = bench;
    const { model, registry, records, pauses, removal } = bench.parts;
    const events = new EventRecorder(store, clock, silentLogger);
    const draft = (): never => {
      throw new EvercertError('Unavailable', 'there are no tokens in this test');
    };
    let ids = 0;
    return new Replacements({
      store,
      model,
      registry,
      records,
      pauses,
      swap: new NodeSwap({ registry, model, removal, tokens: { draft }, pauses, events, clock }),
      provisioners: provisionersOf(new Map([['fake', bench.provisioner]])),
      health: { of: () => assert.fail('nothing joins in this test'), subscribe: () => () => {} },
      availability: { facts: () => ({ healthySinceMs: 0, problem: '', outages: [] }), subscribe: () => () => {} },
      factsOf,
      events,
      clock,
      logger: silentLogger,
      random: () => 0.5,
      newId: () => `rp-000000000${++ids}`,
      join: () => ({ endpoints: [], caPins: [] }),
    });
  };
  const reasons = async (): Promise<string[]> => (await bench.events()).map(({ reason }) => reason);
  const withoutRecord = async (): Promise<void> => {
    await bench.parts.registry.update(cluster, oldNode, ({ replacement: _none, ...node }) => node);
    await bench.store.transact([], [{ type: 'delete', key: layout.replacement(cluster, replacementId) }]);
    await bench.clock.advance(0);
  };
  const running = (): ReplacementRecord[] => bench.parts.records.running(cluster);

  beforeEach(async () => {
    expired.clear();
    bench = await SagaBench.start();
    await bench.parts.saga.stop();
    bench.provisioner.hang('drain');
    await policy({});
    controller = open();
  });

  afterEach(async () => {
    await controller.stop();
    await bench.close();
  });

  it('begins a replacement of a worker that is due, once, with its mark on the node', async () => {
    await withoutRecord();
    controller.start();
    expired.add(oldNode);
    await bench.until(() => running().length > 0);
    const [record] = running();
    assert.deepEqual([record?.node, record?.provisioner, bench.node()?.replacement], [oldNode, 'fake', { id: record?.id }]);
    await bench.clock.advance(60_000);
    assert.equal(bench.parts.records.list(cluster).length, 1);
    assert.ok((await reasons()).includes('ReplacementStarted'));
    assert.deepEqual([controller.verdictOf({ cluster, name: oldNode })?.kind], ['Replacing']);
  });

  it('tells in a dry run whom it would replace, once, and does nothing', async () => {
    await withoutRecord();
    await policy({ mode: 'dry-run' });
    controller.start();
    expired.add(oldNode);
    await bench.until(() => controller.verdictOf({ cluster, name: oldNode })?.reason === 'DryRun');
    await bench.clock.advance(120_000);
    assert.equal((await reasons()).filter((reason) => reason === 'ReplacementWouldStart').length, 1);
    assert.deepEqual([running(), bench.provisioner.calls], [[], []]);
  });

  it('keeps since when a verdict is so, tells each change, and forgets a node that has recovered', async () => {
    await withoutRecord();
    await bench.parts.pauses.set({ cluster: '', paused: true, reason: '' }, 'admin/root');
    controller.start();
    const changes: string[] = [];
    controller.verdicts.subscribe((_cluster, node) => changes.push(node));
    expired.add(oldNode);
    await bench.until(() => controller.verdictOf({ cluster, name: oldNode })?.reason === 'Paused');
    const since = controller.verdictOf({ cluster, name: oldNode })?.sinceMs;
    await bench.clock.advance(60_000);
    assert.equal(controller.verdictOf({ cluster, name: oldNode })?.sinceMs, since);
    expired.delete(oldNode);
    await bench.until(() => controller.verdictOf({ cluster, name: oldNode }) === undefined);
    assert.deepEqual(changes, [oldNode, oldNode]);
    assert.equal((await reasons()).filter((reason) => reason === 'ReplacementHeld').length, 1);
  });

  it('goes on with a replacement that an earlier process began', async () => {
    expired.add(oldNode);
    controller.start();
    await bench.until(() => bench.provisioner.keysOf('drain').length > 0);
    assert.deepEqual(bench.provisioner.keysOf('drain'), [`${replacementId}-1-drain`]);
    assert.equal(bench.parts.records.list(cluster).length, 1);
  });

  it('cancels a replacement whose node has recovered before its machine is removed', async () => {
    bench.provisioner.mend('drain');
    controller.start();
    assert.equal((await bench.ended()).state, 'Cancelled');
    assert.deepEqual(bench.provisioner.keysOf('remove'), []);
  });

  it('leaves a node as it is while the provisioner that would remove its machine is not configured any more', async () => {
    expired.add(oldNode);
    bench.provisioner.mend('drain');
    await bench.parts.records.update(cluster, replacementId, (record) => ({ record: { ...record, provisioner: 'gone' } }));
    controller.start();
    await bench.until(() => bench.record.message !== '');
    await bench.clock.advance(hour / 4);
    assert.deepEqual([bench.record.state, bench.record.withdrawnAtMs], ['Running', undefined]);
    assert.match(bench.record.message, /no provisioner "gone" \(it has fake\)/);
  });

  it('ends one on an order, and answers when it has ended', async () => {
    expired.add(oldNode);
    controller.start();
    await bench.until(() => bench.provisioner.keysOf('drain').length > 0);
    const cancelled = controller.cancel(cluster, replacementId, 'admin/root');
    await bench.clock.advance(1000);
    assert.equal((await cancelled).state, 'Cancelled');
    await assert.rejects(controller.cancel(cluster, replacementId, 'admin/root'), { code: 'FailedPrecondition' });
    await assert.rejects(controller.cancel(cluster, 'rp-none', 'admin/root'), { code: 'NotFound' });
  });
});
