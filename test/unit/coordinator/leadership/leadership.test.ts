import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { type Controllers, CoordinatorLease, type FencedStore, StoreLeadership } from '@evercert/coordinator/leadership';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { type Line, SharedStore } from '../../../support/shared-store.ts';

const ttlMs = 10_000;
const second = 1000;

/** A clock of one process, which can stand still with it: no timer fires, and then it is later. */
class ProcessClock extends FakeClock {
  #pausedMs = 0;
  override monotonicMs(): number {
    return super.monotonicMs() + this.#pausedMs;
  }
  pass(ms: number): void {
    this.#pausedMs += ms;
  }
}

/** One coordinator, as far as it stands for election. */
class Candidate {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly lease: CoordinatorLease;
  readonly leadership: StoreLeadership;
  readonly events: string[] = [];
  fenced: FencedStore | undefined;
  /** What the controllers' start waits for, and fails with. */
  starting: Promise<void> = Promise.resolve();
  stopping: Promise<void> = Promise.resolve();

  constructor(name: string, store: Store, clock: FakeClock) {
    this.store = store;
    this.clock = clock;
    this.lease = new CoordinatorLease({ store, clock, logger: silentLogger, ttlMs });
    const address = (): string => `${name}:7443`;
    this.leadership = new StoreLeadership({ store, lease: this.lease, id: name, address, clock, logger: silentLogger, pollMs: ttlMs / 2 });
  }

  async begin(): Promise<this> {
    await this.lease.start();
    await this.leadership.start();
    const controllers: Controllers = {
      start: async (fenced) => {
        this.events.push('start');
        await this.starting;
        this.fenced = fenced;
        this.events.push('started');
      },
      stop: async () => {
        this.events.push('stop');
        await this.stopping;
        this.events.push('stopped');
      },
    };
    this.leadership.run(controllers);
    return this;
  }

  get leads(): boolean {
    return this.leadership.isLeader();
  }

  async end(): Promise<void> {
    await this.leadership.stop();
    await this.lease.end();
  }
}

describe('the election of a leader among coordinators', () => {
  let clock: FakeClock;
  let shared: SharedStore;
  let candidates: Candidate[];

  beforeEach(async () => {
    clock = new FakeClock();
    shared = await SharedStore.open(clock);
    candidates = [];
  });
  afterEach(async () => {
    for (const { store } of candidates) Object.assign(store, { cut: false, hanging: false });
    await Promise.all(candidates.map((candidate) => candidate.end()));
    await shared.close();
  });

  const candidate = async (name: string, own: FakeClock = clock): Promise<Candidate & { store: Line }> => {
    const made = new Candidate(name, shared.line(), own);
    candidates.push(made);
    return (await made.begin()) as Candidate & { store: Line };
  };
  /** Lets time pass by small steps, in which never two lead. */
  const advance = async (ms: number, also: readonly FakeClock[] = []): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 250) {
      for (const one of [clock, ...also]) await one.advance(250);
      const leaders = candidates.filter(({ leads }) => leads).map(({ leadership }) => leadership.id);
      assert.ok(leaders.length <= 1, `both ${leaders.join(' and ')} lead`);
    }
  };

  it('makes the first one lead, and tells the others where it is', async () => {
    const a = await candidate('a');
    await advance(second);
    const b = await candidate('b');
    await advance(ttlMs * 3);
    assert.deepEqual([a.leads, b.leads], [true, false]);
    assert.deepEqual([a.events, b.events], [['start', 'started'], []]);
    assert.deepEqual([a.leadership.leaderAddress(), b.leadership.leaderAddress()], ['a:7443', 'a:7443']);
  });

  it('hands over at a planned stop, without waiting for the lease, when all is stopped', async () => {
    const a = await candidate('a');
    await advance(second);
    const b = await candidate('b');
    const held = Promise.withResolvers<void>();
    a.stopping = held.promise;
    const ended = a.end();
    await advance(second);
    assert.deepEqual([a.leads, b.leads], [true, false], 'controllers may write until they have stopped');
    held.resolve();
    await ended;
    await advance(second);
    assert.deepEqual([a.leads, b.leads, b.events], [false, true, ['start', 'started']]);
  });

  it('replaces one that has died when its lease is over', async () => {
    const own = new FakeClock();
    const a = await candidate('a', own);
    await advance(second, [own]);
    const b = await candidate('b');
    await advance(ttlMs - 3 * second);
    assert.equal(b.leads, false);
    await advance(6 * second);
    assert.equal(b.leads, true);
    // It has stood still since, and its clock with it: whatever it believes, it writes nothing any more.
    await assert.rejects(
      async () => a.fenced?.transact([], [{ type: 'put', key: '/x', value: Buffer.from('late') }]),
      (error: EvercertError) => error.code === 'NotLeader' && error.metadata['leader'] === 'b:7443',
    );
    assert.equal(a.leads, false);
    assert.equal(await shared.store.get('/x'), undefined);
  });

  it('is known to be lost by a process that stood still, before it does anything else', async () => {
    const own = new ProcessClock();
    const a = await candidate('a', own);
    await advance(second, [own]);
    own.pass(ttlMs);
    assert.equal(a.leads, false);
    const late = [{ type: 'put' as const, key: '/x', value: Buffer.from('late') }];
    await assert.rejects(async () => a.fenced?.transact([], late), { code: 'NotLeader' });
    await advance(3 * second, [own]);
    assert.deepEqual(a.events, ['start', 'started', 'stop', 'stopped', 'start', 'started'], 'nobody else was there: it leads anew');
    assert.equal(a.leads, true);
    assert.equal(await shared.store.get('/x'), undefined);
  });

  it('ends before another can begin where the store is not reached', async () => {
    const a = await candidate('a');
    await advance(second);
    const b = await candidate('b');
    a.store.cut = true;
    await advance(ttlMs * 2);
    assert.deepEqual([a.leads, b.leads], [false, true]);
    a.store.cut = false;
    await advance(ttlMs * 2);
    assert.deepEqual([a.leads, b.leads], [false, true]);
    assert.deepEqual(a.events, ['start', 'started', 'stop', 'stopped']);
    assert.equal(a.leadership.leaderAddress(), 'b:7443');
  });

  it('ends as well where the store gives no answers', async () => {
    const a = await candidate('a');
    await advance(second);
    const b = await candidate('b');
    a.store.hanging = true;
    await advance(ttlMs * 2);
    assert.deepEqual([a.leads, b.leads], [false, true]);
    a.store.hanging = false;
  });

  it('comes back to the one that had it when the store was away for all', async () => {
    const a = await candidate('a');
    await advance(second);
    a.store.cut = true;
    await advance(ttlMs * 3);
    assert.equal(a.leads, false);
    a.store.cut = false;
    await advance(ttlMs);
    assert.equal(a.leads, true);
    assert.deepEqual(a.events.slice(-2), ['start', 'started']);
  });

  it('is lost when somebody deletes the key', async () => {
    const a = await candidate('a');
    await advance(second);
    await shared.store.transact([], [{ type: 'delete', key: layout.leader }]);
    await advance(second);
    assert.deepEqual(a.events, ['start', 'started', 'stop', 'stopped', 'start', 'started']);
  });

  it('is given up by one whose controllers cannot start, and another takes it', async () => {
    const failing = Promise.reject(new EvercertError('StoreFailure', 'a fault'));
    failing.catch(() => {});
    const made = new Candidate('a', shared.line(), clock);
    made.starting = failing;
    candidates.push(made);
    const a = await made.begin();
    const b = await candidate('b');
    await advance(2 * second);
    assert.deepEqual([a.leads, b.leads], [false, true]);
    assert.ok(!a.events.includes('stop'), 'what has not started is not stopped');
  });

  it('waits at a stop for controllers that are just starting', async () => {
    const started = Promise.withResolvers<void>();
    const a = new Candidate('a', shared.line(), clock);
    a.starting = started.promise;
    candidates.push(await a.begin());
    await advance(second);
    let ended = false;
    const ending = a.end().then(() => {
      ended = true;
    });
    await advance(second);
    assert.equal(ended, false);
    started.resolve();
    await ending;
    assert.deepEqual(a.events, ['start', 'started', 'stop', 'stopped']);
    assert.equal(await shared.store.get(layout.leader), undefined);
  });

  it('is not kept from anybody by what was left where one had its store for itself, and was moved since', async () => {
    await shared.store.transact(
      [],
      [{ type: 'put', key: layout.leader, value: Buffer.from('{"v":1,"id":"gone","address":"x","electedAtMs":0}') }],
    );
    const a = await candidate('a');
    await advance(second);
    assert.equal(a.leads, true);
  });

  it('tells a comparison that failed from a leadership that is lost', async () => {
    const a = await candidate('a');
    await advance(second);
    const { succeeded } = (await a.fenced?.transact([{ key: '/x', modRevision: 7 }], [{ type: 'delete', key: '/x' }])) ?? {};
    assert.equal(succeeded, false);
    assert.equal(a.leads, true);
  });
});

describe('a coordinator that has its store for itself', () => {
  it('leads at once, whatever one that has crashed has left, and for as long as it runs', async () => {
    const clock = new FakeClock();
    const store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
    await store.transact(
      [],
      [{ type: 'put', key: layout.leader, value: Buffer.from('{"v":1,"id":"gone","address":"x","electedAtMs":0}') }],
    );
    const only = await new Candidate('only', store, clock).begin();
    while (!only.events.includes('started')) await new Promise(setImmediate);
    assert.equal(only.leads, true);
    await clock.advance(3600_000);
    assert.deepEqual([only.leads, only.events], [true, ['start', 'started']]);
    await only.end();
    assert.deepEqual([only.leads, await store.get(layout.leader)], [false, undefined]);
    await store.close();
  });
});
