import assert from 'node:assert/strict';
import { EventRecorder, NodeHealth, type NodeHealthOptions } from '@evercert/coordinator';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

const count = 10_000;
const unreachableAfterMs = 40_000;

/** Ten thousand joined nodes for which nothing is declared, without a store full of them. */
function fleet(clock: FakeClock) {
  let looked = 0;
  const seen = new Map<string, number>();
  const names = Array.from({ length: count }, (_, at) => `n-${at}`);
  const nodes = new Map(
    names.map((name) => [name, { cluster: 'c', name, role: 'worker', identitySerials: ['01'], identityNotAfterMs: clock.nowMs() + 1e9 }]),
  );
  const beat = (name: string): void => void seen.set(name, clock.monotonicMs());
  const never = { subscribe: () => () => undefined };
  const sources = {
    model: {
      node: (_cluster: string, name: string) => nodes.get(name),
      nodes: { ...never, list: () => [...nodes.values()] },
      currents: { get: () => undefined },
    },
    desired: {
      ...never,
      plan: () => ({
        resolved: { certificates: [] },
        desired: { certificates: [], bundles: [], revocationLists: [], keyPairs: [] },
        problems: [],
      }),
    },
    statuses: {
      ...never,
      get: (_cluster: string, name: string) => ({
        lastSeenAtMs: clock.nowMs(),
        lastSeenMonotonicMs: seen.get(name),
        fresh: true,
        report: { certificates: [], bundles: [], components: [], revocationLists: [], keyPairs: [] },
      }),
      silentMs: (_cluster: string, name: string) => clock.monotonicMs() - (seen.get(name) ?? 0),
      excuse: () => assert.fail('this coordinator was never away'),
    },
    revocations: { matchSerial: () => undefined },
    windows: {
      isOpen: () => {
        looked += 1;
        return false;
      },
    },
  };
  return {
    names,
    beat,
    looks: () => looked,
    sources: sources as unknown as Pick<NodeHealthOptions, 'model' | 'desired' | 'statuses' | 'revocations' | 'windows'>,
    nodes,
  };
}

describe('the health of ten thousand nodes', () => {
  let store: Store;
  const clock = new FakeClock();
  before(async () => {
    store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
  });
  after(() => store.close());

  it('is looked at where time may have made a difference, and nowhere else', async () => {
    const { names, beat, sources, looks, nodes } = fleet(clock);
    const events = new EventRecorder(store, clock, silentLogger);
    const health = new NodeHealth({ ...sources, store, events, clock, logger: silentLogger, unreachableAfterMs });
    const pass = async (seconds: number, heard: readonly string[]): Promise<number> => {
      const before = looks();
      for (let second = 0; second < seconds; second += 10) {
        for (const name of heard) beat(name);
        await clock.advance(Math.min(10, seconds - second) * 1000);
      }
      return looks() - before;
    };
    for (const name of names) beat(name);
    await health.start();
    assert.equal(await pass(1, names), 2000, 'a sweep has a bound');
    assert.equal(await pass(9, names), count - 2000);
    assert.equal(await pass(120, names), 0, 'heartbeats cost nothing');
    assert.equal(await pass(60, names.slice(1)), 1, 'one is silent');
    assert.equal(health.of(nodes.get('n-0') as never).phase, 'Unreachable');
    assert.equal(health.of(nodes.get('n-1') as never).phase, 'Ready');
    await clock.step(3600_000);
    assert.equal(await pass(10, names.slice(1)), count, 'after a step of the wall clock all are looked at');
    assert.equal(health.of(nodes.get('n-1') as never).phase, 'Ready');
    await health.stop();
    const { entries } = await store.range({ prefix: '/evercert/v1/node-health/' });
    assert.equal(entries.length, count);
    const told = await store.range({ prefix: '/evercert/v1/events/' });
    assert.equal(told.entries.filter(({ key }) => key.endsWith('NodeUnreachable')).length, 1);
  });
});
