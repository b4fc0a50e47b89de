import assert from 'node:assert/strict';
import { layout, NodeStatuses, Sessions } from '@evercert/coordinator';
import { CoordinatorLease, Coordinators } from '@evercert/coordinator/leadership';
import { StatusReport } from '@evercert/proto';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { type Line, SharedStore } from '../../../support/shared-store.ts';

const second = 1000;
const ttlMs = 10 * second;
const quietAfterMs = 20 * second;
const cluster = 'demo';

/** What one coordinator knows of streams and reports. */
class Peer {
  readonly id: string;
  readonly store: Line;
  readonly clock: FakeClock;
  readonly lease: CoordinatorLease;
  readonly sessions: Sessions;
  readonly statuses: NodeStatuses;
  readonly coordinators: Coordinators;
  readonly takenOver: string[] = [];

  constructor(id: string, store: Line, clock: FakeClock, random: () => number) {
    const common = { store, clock, logger: silentLogger };
    this.id = id;
    this.store = store;
    this.clock = clock;
    this.lease = new CoordinatorLease({ ...common, ttlMs });
    this.sessions = new Sessions({ ...common, lease: this.lease, id, quietAfterMs });
    this.statuses = new NodeStatuses({ ...common, sessions: this.sessions });
    this.coordinators = new Coordinators({ ...common, lease: this.lease, random, nodesAt: (of) => this.sessions.nodesAt(of) });
  }

  async start(): Promise<this> {
    await this.lease.start();
    await this.sessions.start();
    await this.statuses.start();
    await this.coordinators.start();
    this.sessions.look((of, node) => this.statuses.heardHereMs(of, node));
    this.sessions.onTakenOver((_cluster, node) => this.takenOver.push(node));
    await this.coordinators.join({ id: this.id, address: `${this.id}:7443`, version: '1', startedAtMs: this.clock.nowMs() });
    return this;
  }

  attach(node: string): void {
    this.sessions.attached(cluster, node);
    this.statuses.seen(cluster, node, '1');
  }

  report(node: string, appliedRevision: string): void {
    this.statuses.reported(cluster, node, StatusReport.fromPartial({ appliedRevision }));
  }

  /** Undefined: nothing is known of it. */
  revisionOf(node: string): string | undefined {
    return this.statuses.get(cluster, node)?.report?.appliedRevision;
  }

  async stop(): Promise<void> {
    await this.coordinators.leave();
    await this.statuses.stop();
    await this.sessions.stop();
    await this.coordinators.stop();
    await this.lease.end();
  }
}

describe('what coordinators tell each other of their nodes', () => {
  let clock: FakeClock;
  let shared: SharedStore;
  let peers: Peer[];
  let draws: number[];

  beforeEach(async () => {
    clock = new FakeClock();
    shared = await SharedStore.open(clock);
    peers = [];
    draws = [];
  });
  afterEach(async () => {
    for (const { store } of peers) store.cut = false;
    await Promise.all(peers.map((peer) => peer.stop()));
    await shared.close();
  });

  const peer = async (id: string): Promise<Peer> => {
    const made = await new Peer(id, shared.line(), clock, () => draws.shift() ?? 0.5).start();
    peers.push(made);
    return made;
  };
  const advance = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 500) await clock.advance(500);
  };
  const silent = (one: Peer, node: string): number | undefined => one.statuses.silentMs(cluster, node);

  it('is where each stream is, for as long as it is there', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    await advance(second);
    assert.deepEqual([b.sessions.isConnected(cluster, 'n'), b.sessions.isHere(cluster, 'n'), b.sessions.nodesAt('a')], [true, false, 1]);
    a.sessions.detached(cluster, 'n');
    await advance(second);
    assert.deepEqual([b.sessions.isConnected(cluster, 'n'), b.sessions.nodesAt('a')], [false, 0]);
  });

  it('comes in few transactions, for a herd too', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    const before = shared.transactions;
    for (let at = 0; at < 5000; at += 1) a.attach(`n-${at}`);
    await advance(5 * second);
    assert.equal(b.sessions.nodesAt('a'), 5000);
    assert.ok(shared.transactions - before <= 60, `${shared.transactions - before} transactions`);
  });

  it('lets the newest stream win, and the coordinator that had the older one end it', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    await advance(second);
    b.attach('n');
    await advance(second);
    assert.deepEqual([a.takenOver, b.takenOver], [['n'], []]);
    a.sessions.detached(cluster, 'n');
    await advance(second);
    assert.deepEqual([a.sessions.elsewhere(cluster, 'n')?.record.coordinator, b.sessions.isHere(cluster, 'n')], ['b', true]);
  });

  it('leaves sessions alone that others have taken over while many end at once', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    for (let at = 0; at < 150; at += 1) a.attach(`n-${at}`);
    await advance(second);
    for (let at = 0; at < 150; at += 1) {
      a.sessions.detached(cluster, `n-${at}`);
      if (at % 10 === 0) b.attach(`n-${at}`);
    }
    await advance(3 * second);
    assert.deepEqual([a.sessions.nodesAt('b'), b.sessions.nodesAt('a')], [15, 0]);
  });

  it('ends with a coordinator that has died, and gives its nodes their whole time from then on', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    a.report('n', 'r1');
    await advance(10 * second);
    assert.equal(silent(b, 'n'), 0);
    a.store.cut = true;
    await advance(ttlMs);
    await advance(3 * second);
    const since = silent(b, 'n') ?? -1;
    assert.ok(since >= 0 && since <= 4 * second, `${since} ms`);
    await advance(10 * second);
    assert.equal(silent(b, 'n'), since + 10 * second);
    assert.equal(b.revisionOf('n'), 'r1');
  });

  it('comes back with another lease where the store was away for longer than the lease', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    await advance(second);
    a.store.cut = true;
    await advance(3 * ttlMs);
    assert.equal(b.sessions.isConnected(cluster, 'n'), false);
    assert.deepEqual(b.coordinators.endpoints(), ['b:7443']);
    a.store.cut = false;
    await advance(2 * ttlMs);
    assert.equal(b.sessions.elsewhere(cluster, 'n')?.record.coordinator, 'a');
    assert.deepEqual(b.coordinators.endpoints().toSorted(), ['a:7443', 'b:7443']);
  });

  it('includes that nothing is heard on a stream, and that something is again', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    a.report('n', 'r1');
    await advance(quietAfterMs + 6 * second);
    assert.ok((silent(b, 'n') ?? 0) > quietAfterMs, `${silent(b, 'n')} ms`);
    const before = silent(b, 'n') ?? 0;
    await advance(10 * second);
    assert.equal(silent(b, 'n'), before + 10 * second);
    a.statuses.seen(cluster, 'n');
    await advance(6 * second);
    assert.equal(silent(b, 'n'), 0);
  });

  it('includes their reports, written by the coordinator that has the stream alone', async () => {
    const [a, b, c] = [await peer('a'), await peer('b'), await peer('c')];
    a.attach('n');
    a.report('n', 'r1');
    await advance(2 * second);
    assert.deepEqual([b.revisionOf('n'), c.revisionOf('n')], ['r1', 'r1']);
    assert.equal(b.statuses.get(cluster, 'n')?.fresh, true);
    const before = shared.transactions;
    await advance(10 * second);
    assert.equal(shared.transactions, before, 'nobody writes what is known');
    b.attach('n');
    b.report('n', 'r2');
    await advance(2 * second);
    assert.deepEqual([a.revisionOf('n'), c.revisionOf('n')], ['r2', 'r2']);
  });

  it('does not repeat reports that say the same, but for once a minute', async () => {
    const [a] = [await peer('a')];
    a.attach('n');
    await advance(second);
    const puts = async (): Promise<number> => (await shared.store.get(layout.nodeStatus(cluster, 'n')))?.version ?? 0;
    for (let at = 0; at < 30; at += 1) {
      a.report('n', 'same');
      await advance(4 * second);
    }
    const written = await puts();
    assert.ok(written >= 2 && written <= 3, `${written} times`);
  });

  it('brings a report that the store could not take as soon as it can, and not with the next one', async () => {
    const [a, b] = [await peer('a'), await peer('b')];
    a.attach('n');
    a.report('n', 'r1');
    await advance(2 * second);
    a.store.cut = true;
    a.report('n', 'r2');
    await advance(3 * second);
    assert.equal(b.revisionOf('n'), 'r1');
    a.store.cut = false;
    await advance(3 * second);
    assert.equal(b.revisionOf('n'), 'r2');
  });

  it('gives a coordinator that starts now the reports of all nodes as they are', async () => {
    const a = await peer('a');
    a.attach('n');
    a.report('n', 'r1');
    await advance(2 * second);
    const late = await peer('late');
    assert.deepEqual([late.revisionOf('n'), late.statuses.get(cluster, 'n')?.fresh, silent(late, 'n')], ['r1', true, 0]);
  });

  it('does not name coordinators that were left where one had its store for itself, and was moved since', async () => {
    const value = Buffer.from('{"v":1,"id":"gone","address":"gone:7443","version":"1","startedAtMs":0}');
    await shared.store.transact([], [{ type: 'put', key: layout.coordinator('gone'), value }]);
    const a = await peer('a');
    await advance(second);
    assert.deepEqual(a.coordinators.endpoints(), ['a:7443']);
  });

  it('is where to send agents: those with fewer nodes first, mostly', async () => {
    const [a, b, c] = [await peer('a'), await peer('b'), await peer('c')];
    for (let at = 0; at < 100; at += 1) b.attach(`n-${at}`);
    await advance(2 * second);
    assert.deepEqual(a.coordinators.endpoints().toSorted(), ['a:7443', 'b:7443', 'c:7443']);
    assert.deepEqual(a.coordinators.others(), ['c:7443', 'b:7443']);
    draws = [0.9999, 0.1];
    assert.deepEqual(a.coordinators.others(), ['b:7443', 'c:7443'], 'the fuller one gets some, too');
    await c.coordinators.leave();
    await advance(second);
    assert.deepEqual(a.coordinators.others(), ['b:7443']);
    assert.deepEqual(c.coordinators.endpoints().toSorted(), ['a:7443', 'b:7443']);
  });
});
