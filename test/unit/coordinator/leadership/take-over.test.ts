/** What the next leader, and the coordinators that do not lead, know of what another has done. */
import assert from 'node:assert/strict';
import { EventRecorder, layout, NodeStatuses } from '@evercert/coordinator';
import { StoreOfLeader } from '@evercert/coordinator/leadership';
import { ClockMark, Refusals } from '@evercert/coordinator/recovery';
import { Availability, type AvailabilityFacts } from '@evercert/coordinator/replacement';
import type { Store } from '@evercert/coordinator/store';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { SharedStore } from '../../../support/shared-store.ts';
import { StatusWorld, statusCluster } from '../../../support/status-service.ts';

const second = 1000;
const minute = 60 * second;
const logger = silentLogger;

describe('a coordinator that takes over', () => {
  let clock: FakeClock;
  let shared: SharedStore;
  let ends: (() => unknown)[];

  beforeEach(async () => {
    clock = new FakeClock();
    shared = await SharedStore.open(clock);
    ends = [];
  });
  afterEach(async () => {
    for (const end of ends.reverse()) await end();
    await shared.close();
  });

  const following = (own: FakeClock = clock, unreached?: () => { why: string; sinceMs: number } | undefined): Availability => {
    const made = new Availability({
      store: shared.line(),
      clock: own,
      logger,
      mark: { behindMs: () => 0 },
      ...(unreached && { unreached }),
    });
    made.follow();
    ends.push(() => made.end());
    return made;
  };
  const newest = ({ outages }: AvailabilityFacts): string | undefined => outages.at(-1)?.why;

  it('counts no outage of the time in which it served all along', async () => {
    const [first, next] = [following(), following()];
    await first.start();
    const { healthySinceMs } = first.facts();
    await clock.advance(10 * minute);
    assert.equal(next.facts().healthySinceMs, undefined, 'it does not lead yet');
    first.end();
    // As long as a lease and an election may take, and more.
    await clock.advance(30 * second);
    await next.start();
    assert.deepEqual([next.facts().healthySinceMs, next.facts().problem], [healthySinceMs, '']);
    assert.equal(newest(next.facts()), 'nothing is known of the time before');
  });

  it('counts the time before it came where nobody served', async () => {
    const first = following();
    await first.start();
    await clock.advance(minute);
    first.end();
    await clock.advance(10 * minute);
    const next = following();
    await clock.advance(minute);
    await next.start();
    assert.equal(newest(next.facts()), 'the coordinator did not run');
    const { outages, healthySinceMs = 0 } = next.facts();
    const { fromMs = 0, untilMs = 0 } = outages.at(-1) ?? {};
    assert.ok(untilMs - fromMs >= 10 * minute && untilMs - fromMs <= 10 * minute + 10 * second, `${untilMs - fromMs} ms`);
    assert.equal(healthySinceMs, untilMs);
  });

  it('counts time in which it did not reach the store, for nobody else did', async () => {
    let why: { why: string; sinceMs: number } | undefined;
    const first = following();
    await first.start();
    const next = following(clock, () => why);
    await clock.advance(minute);
    first.end();
    why = { why: 'no quorum', sinceMs: clock.nowMs() };
    await clock.advance(5 * minute);
    why = undefined;
    await clock.advance(2 * second);
    await next.start();
    assert.match(newest(next.facts()) ?? '', /its store is not reached: no quorum/);
    assert.ok((next.facts().healthySinceMs ?? 0) >= clock.nowMs() - 3 * second);
  });

  it('bears that its clock is a little behind', async () => {
    const first = following();
    await first.start();
    const { healthySinceMs } = first.facts();
    const behind = new FakeClock(clock.nowMs() - 2 * second);
    const next = following(behind);
    for (let at = 0; at < 60; at += 1) for (const one of [clock, behind]) await one.advance(second);
    await first.stop();
    await next.start();
    assert.equal(next.facts().healthySinceMs, healthySinceMs);
  });

  it('gives the record up and may take it again', async () => {
    const [a, b] = [following(), following()];
    await a.start();
    const { healthySinceMs } = a.facts();
    for (const one of [b, a, b]) {
      const other = one === a ? b : a;
      await clock.advance(minute);
      await other.stop();
      await clock.advance(second);
      await one.start();
      assert.equal(one.facts().healthySinceMs, healthySinceMs);
      assert.equal(other.facts().healthySinceMs, undefined);
    }
  });

  it('knows the latest time that another has seen', async () => {
    const ahead = new ClockMark({ store: shared.line(), clock, logger });
    const behind = new FakeClock(clock.nowMs() - 10 * minute);
    const mark = new ClockMark({ store: shared.line(), clock: behind, logger });
    ends.push(
      () => ahead.stop(),
      () => mark.stop(),
    );
    await mark.start();
    assert.equal(mark.behindMs(), 0);
    await ahead.start();
    await clock.advance(second);
    assert.ok(mark.behindMs() >= 10 * minute - 2 * second, `${mark.behindMs()} ms`);
    assert.throws(() => mark.check(), { code: 'FailedPrecondition' });
  });

  it('has its time raised by one of them once a minute', async () => {
    const marks = [1, 2, 3].map(() => new ClockMark({ store: shared.line(), clock, logger }));
    for (const mark of marks) {
      await mark.start();
      ends.push(() => mark.stop());
    }
    await clock.advance(second);
    const before = shared.transactions;
    for (let at = 0; at < 10; at += 1) await clock.advance(minute);
    assert.ok(shared.transactions - before <= 12, `${shared.transactions - before} writes`);
  });

  it('knows of recoveries that another has refused, but for those that a window mends', async () => {
    const open = async (coordinator: string): Promise<Refusals> => {
      const store = shared.line();
      const made = new Refusals({ clock, logger, events: new EventRecorder(store, clock, logger), shared: { store, coordinator } });
      await made.start();
      ends.push(() => made.stop());
      return made;
    };
    const [asked, leader] = [await open('asked'), await open('leader')];
    const node = { cluster: 'demo', name: 'cp-1' };
    const refuse = (code: 'RecoveryNotOpen' | 'Revoked'): void =>
      asked.tell({ node, serial: '0a', peer: '192.0.2.1:1', error: new EvercertError(code, `because of ${code}`) });
    refuse('RecoveryNotOpen');
    await clock.advance(second);
    assert.equal(leader.last('demo', 'cp-1'), undefined);
    refuse('Revoked');
    await clock.advance(second);
    const { error, serial, atMs } = leader.last('demo', 'cp-1') ?? {};
    assert.deepEqual([error?.code, error?.message, serial], ['Revoked', 'because of Revoked', '0a']);
    assert.ok(clock.monotonicMs() - (atMs ?? 0) <= second);
    asked.forget('demo', 'cp-1');
    await clock.advance(second);
    assert.equal(await shared.store.get(layout.refusedRecovery('demo', 'cp-1')), undefined);
  });

  it('forgets what is known of a node that another has deleted', async () => {
    const store = shared.line();
    const statuses = new NodeStatuses({ store, clock, logger, sessions: elsewhereAll });
    await statuses.start();
    ends.push(() => statuses.stop());
    const key = layout.nodeStatus('demo', 'n');
    const value = Buffer.from(JSON.stringify({ v: 1, cluster: 'demo', name: 'n', lastSeenAtMs: 1, agentVersion: '', report: '' }));
    await shared.store.transact([], [{ type: 'put', key, value }]);
    await clock.advance(second);
    assert.ok(statuses.get('demo', 'n'));
    await shared.store.transact([], [{ type: 'delete', key }]);
    await clock.advance(second);
    assert.equal(statuses.get('demo', 'n'), undefined);
  });
});

describe('CRLs at several coordinators', () => {
  let world: StatusWorld;
  const ends: (() => Promise<void>)[] = [];

  beforeEach(async () => {
    world = new StatusWorld();
    await world.open('cluster-ca');
  });
  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
    await world.dispose();
  });

  /** The world's store, as one that others have open too. */
  const sharedStore = (): Store => new Proxy(world.store, { get: (store, name) => (name === 'shared' ? true : bound(store, name)) });
  const fenced = (store: Store): StoreOfLeader =>
    new StoreOfLeader({
      store,
      fence: { key: layout.leader, modRevision: 0 },
      holds: () => true,
      lost: () => undefined,
      leaderAddress: () => undefined,
    });
  const until = async (is: () => boolean): Promise<void> => {
    // Signing takes real time on the thread pool, however many turns of the event loop that is.
    const deadlineMs = systemClock.monotonicMs() + 5000;
    while (!is() && systemClock.monotonicMs() < deadlineMs) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(is());
  };

  it('are made by the leader and read by the others', async () => {
    const [leading, other] = [sharedStore(), sharedStore()];
    const [a, b] = [await world.service({}, leading), await world.service({}, other)];
    assert.deepEqual([a.lists.get(statusCluster, 'cluster-ca'), b.lists.get(statusCluster, 'cluster-ca')], [undefined, undefined]);
    const maker = a.lists.maker(fenced(leading));
    await maker.start();
    const numbers = (): (number | undefined)[] => [a, b].map(({ lists }) => lists.get(statusCluster, 'cluster-ca')?.number);
    await until(() => numbers()[0] !== undefined && numbers()[0] === numbers()[1]);
    const [first = 0] = numbers();
    world.revoke('cluster-ca', '0a');
    await until(() => (numbers()[1] ?? 0) > first);
    assert.equal(world.events.filter((reason) => reason === 'RevocationListChanged').length, 1, 'one of them has made it');
    await maker.stop();
    const next = b.lists.maker(fenced(other));
    await next.start();
    world.revoke('cluster-ca', '0b');
    const [, before = 0] = numbers();
    await until(() => (numbers()[0] ?? 0) > before);
    assert.equal(numbers()[0], numbers()[1]);
    ends.push(() => next.stop());
  });
});

const elsewhereAll = { isHere: () => false, elsewhere: () => undefined, subscribe: () => () => undefined };

function bound(target: object, name: string | symbol): unknown {
  const value = Reflect.get(target, name, target);
  return typeof value === 'function' ? value.bind(target) : value;
}
