import assert from 'node:assert/strict';
import { BridgeStatus, Controller, WorkQueue, type WorkResult } from '@evercert/coordinator/kubernetes';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { FakeApi, httpError, type Thing } from '../../../support/fake-kubernetes-api.ts';

describe('a controller of an API server', () => {
  let clock: FakeClock;
  let server: FakeApi;
  let status: BridgeStatus;
  let controller: Controller<Thing>;
  let seen: [string, number | undefined][];
  let work: (key: string, object: Thing | undefined) => Promise<WorkResult>;

  beforeEach(async () => {
    clock = new FakeClock();
    server = new FakeApi();
    status = new BridgeStatus(clock);
    seen = [];
    work = async (key, object) => {
      seen.push([key, object?.value]);
      return undefined;
    };
    controller = new Controller<Thing>({
      name: 'things',
      api: server.api,
      path: '/things',
      reconcile: (key, object) => work(key, object),
      status,
      clock,
      logger: silentLogger,
      random: () => 0.5,
    });
    server.put('a', 1);
  });
  afterEach(() => controller.stop());

  async function started(): Promise<void> {
    controller.start();
    await clock.advance(0);
  }

  it('works on what is there, on what changes, and on what goes', async () => {
    await started();
    server.put('b', 2);
    server.put('a', 3);
    server.remove('b');
    await clock.advance(0);
    assert.deepEqual(
      seen.filter(([key]) => key === 'a'),
      [
        ['a', 1],
        ['a', 3],
      ],
    );
    assert.deepEqual(seen.filter(([key]) => key === 'b').at(-1), ['b', undefined]);
    assert.deepEqual([status.view().state, controller.synced], ['Connected', true]);
  });

  it('takes a watch that ends, or breaks off, up where it was, without reading anything again', async () => {
    await started();
    server.put('b', 2);
    await clock.advance(60_000);
    server.watching.end();
    await clock.advance(0);
    assert.deepEqual([server.watches.length, server.watching.request.resourceVersion], [2, String(server.version)]);
    server.watching.end(new EvercertError('Unavailable', 'the connection broke'));
    await clock.advance(0);
    assert.equal(status.view().state, 'Disconnected');
    await clock.advance(1000);
    assert.deepEqual([server.watches.length, server.lists, status.view().state], [3, 1, 'Connected']);
  });

  it('goes on from a bookmark', async () => {
    await started();
    server.watching.push({ type: 'BOOKMARK', object: { metadata: { resourceVersion: '77' } } as Thing });
    await clock.advance(2000);
    server.watching.end();
    await clock.advance(0);
    assert.equal(server.watching.request.resourceVersion, '77');
    assert.deepEqual(seen, [['a', 1]]);
  });

  it('reads everything again where the server has forgotten what came between, and misses no deletion', async () => {
    await started();
    server.remove('a', { silent: true });
    server.put('c', 4, { silent: true });
    server.watching.end(httpError(410));
    await clock.advance(1000);
    assert.equal(server.lists, 2);
    assert.deepEqual(seen.slice(1).sort(), [
      ['a', undefined],
      ['c', 4],
    ]);
  });

  for (const code of [403, 429, 500, 504])
    it(`waits and reads everything again when the watch is refused with HTTP ${code}`, async () => {
      await started();
      server.watchFaults.push(httpError(code, code === 429 ? 7000 : undefined));
      await clock.advance(2000);
      server.watching.end();
      await clock.advance(0);
      assert.notEqual(status.view().state, 'Connected');
      if (code === 429) {
        await clock.advance(6000);
        assert.equal(server.lists, 1, 'not before the time that the server asked for');
      }
      await clock.advance(5000);
      assert.deepEqual([server.lists, status.view().state], [2, 'Connected']);
    });

  it('backs off while the server is away, and never for long', async () => {
    server.listFaults.push(...Array.from({ length: 8 }, () => new EvercertError('DeadlineExceeded', 'no answer')));
    await started();
    assert.deepEqual([status.view().state, controller.synced], ['Disconnected', false]);
    await clock.advance(3000);
    assert.ok(server.lists <= 4, `${server.lists} tries in 3 s`);
    await clock.advance(90_000);
    assert.deepEqual([server.lists, status.view().state, seen.length], [9, 'Connected', 1]);
  });

  it('does not ask without a pause when every watch ends at once', async () => {
    await started();
    for (let i = 0; i < 50; i++) {
      server.watching.end();
      await clock.advance(100);
    }
    assert.ok(server.watches.length < 15, `${server.watches.length} watches in 5 s`);
  });

  it('reads everything again after a time, whatever the watch has told', async () => {
    await started();
    server.put('quiet', 5, { silent: true });
    for (let i = 0; i < 11; i++) {
      await clock.advance(60_000);
      server.watching.end();
    }
    await clock.advance(0);
    assert.ok(seen.some(([key]) => key === 'quiet'));
  });

  it('tries again what failed, less and less often, and says so', async () => {
    let failures = 0;
    work = async () => {
      failures += 1;
      throw httpError(500);
    };
    await started();
    await clock.advance(60_000);
    assert.ok(failures > 5 && failures < 15, `${failures} tries in a minute`);
    assert.equal(status.view().state, 'Disconnected');
    work = async () => undefined;
    await clock.advance(31_000);
    assert.equal(status.view().state, 'Connected');
  });

  it('takes a conflict for nothing worth telling, and works again with what came meanwhile', async () => {
    let first = true;
    work = async (key, object) => {
      seen.push([key, object?.value]);
      if (!first) return;
      first = false;
      throw httpError(409);
    };
    await started();
    server.put('a', 9);
    await clock.advance(1000);
    assert.equal(status.view().state, 'Connected');
    assert.deepEqual(seen.at(-1), ['a', 9]);
  });

  it('reads again what was in the way of a write, where the watch does not tell', async () => {
    work = async (key, object) => {
      seen.push([key, object?.value]);
      if (object?.value === 1) throw httpError(409);
    };
    await started();
    server.put('a', 7, { silent: true });
    await clock.advance(5000);
    assert.deepEqual([seen.at(-1), status.view().state], [['a', 7], 'Connected']);
  });

  it('finds out by a conflict that an object is gone', async () => {
    work = async (key, object) => {
      seen.push([key, object?.value]);
      if (object) throw httpError(409);
    };
    await started();
    server.remove('a', { silent: true });
    await clock.advance(5000);
    assert.deepEqual([seen.at(-1), status.view().state], [['a', undefined], 'Connected']);
  });

  it('is not misled by old states and old ends that are told once more', async () => {
    await started();
    const old = server.things.get('a') as Thing;
    server.put('a', 2);
    server.watching.push({ type: 'MODIFIED', object: old });
    server.watching.push({ type: 'DELETED', object: old });
    await clock.advance(2000);
    assert.deepEqual([controller.get('a')?.value, seen.at(-1)], [2, ['a', 2]]);
    server.watching.end();
    await clock.advance(0);
    assert.equal(server.watching.request.resourceVersion, String(server.version), 'goes on from the newest');
  });

  it('ends when it is told to, with its watch', async () => {
    await started();
    await controller.stop();
    assert.equal(server.watching.request.signal.aborted, true);
    server.put('z', 1);
    await clock.advance(1000);
    assert.deepEqual(seen, [['a', 1]]);
  });
});

describe('a work queue', () => {
  const clock = new FakeClock();
  const queueOf = (work: (key: string) => Promise<WorkResult>, concurrency = 2): WorkQueue =>
    new WorkQueue({ work, concurrency, clock, random: () => 1 });

  it('works on a key once at a time, and again when it was added meanwhile', async () => {
    let running = 0;
    let most = 0;
    let runs = 0;
    const queue = queueOf(async () => {
      most = Math.max(most, ++running);
      runs += 1;
      await clock.sleep(10);
      running -= 1;
    });
    for (let i = 0; i < 5; i++) queue.add('a');
    await clock.advance(100);
    assert.deepEqual([most, runs], [1, 2]);
  });

  it('works on so many keys at once and no more', async () => {
    let running = 0;
    let most = 0;
    const queue = queueOf(async () => {
      most = Math.max(most, ++running);
      await clock.sleep(10);
      running -= 1;
    }, 3);
    for (let i = 0; i < 20; i++) queue.add(`key-${i}`);
    await clock.advance(1000);
    assert.deepEqual([most, queue.length], [3, 0]);
  });

  it('keeps an appointment, which a change brings forward', async () => {
    let runs = 0;
    const queue = queueOf(async () => {
      runs += 1;
      return runs === 1 ? { againAfterMs: 5000 } : undefined;
    });
    queue.add('a');
    await clock.advance(4000);
    assert.equal(runs, 1);
    queue.add('a');
    await clock.advance(4000);
    assert.equal(runs, 2, 'the earlier appointment is off');
  });

  it('waits as long as the server asks', async () => {
    let runs = 0;
    const queue = queueOf(async () => {
      runs += 1;
      if (runs === 1) throw httpError(429, 20_000);
    });
    queue.add('a');
    await clock.advance(19_000);
    assert.equal(runs, 1);
    await clock.advance(2000);
    assert.equal(runs, 2);
  });
});
