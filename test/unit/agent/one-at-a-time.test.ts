import assert from 'node:assert/strict';
import { oneAtATime, type ReloadRequest, shareReloads } from '@evercert/agent/reload';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { EventLog } from './support.ts';

const restart: ReloadSpec = { type: 'systemd', unit: 'kube-apiserver.service', action: 'restart', oneAtATime: true };
const minute = 60_000;

describe('a restart of one node at a time', () => {
  function setUp() {
    const clock = new FakeClock();
    const events = new EventLog();
    const log: string[] = [];
    const world = { refusals: [] as EvercertError[], always: undefined as EvercertError | undefined, reloadFails: false, answersAfter: 0 };
    const stopping = new AbortController();
    const reload = oneAtATime(
      async ({ type }) => {
        log.push(`reload ${type}`);
        if (world.reloadFails) throw new EvercertError('ReloadFailed', 'no');
      },
      {
        api: {
          acquireRestartLease: async ({ component, durationMs }) => {
            const error = world.always ?? world.refusals.shift();
            log.push(error ? `refused ${error.code}` : `acquired ${component} ${durationMs / 1000}s`);
            if (error) throw error;
          },
          releaseRestartLease: async ({ serving }) => void log.push(`released ${serving}`),
        },
        clock,
        random: () => 0,
        logger: silentLogger,
        events,
        stopped: stopping.signal,
        answers: async () => {
          world.answersAfter -= 1;
          return world.answersAfter < 0;
        },
      },
    );
    return { clock, events, log, world, reload, stopping };
  }
  const conflict = (retryAfterMs: number) => new EvercertError('Conflict', 'cp-2 restarts etcd', { retryAfterMs });
  const away = new EvercertError('Unavailable', 'no connection');

  it('asks for the lease, restarts, and gives it back when the component answers again', async () => {
    const { reload, log, world, clock } = setUp();
    world.answersAfter = 2;
    const done = reload(restart, { verify: 'tls://127.0.0.1:6443' });
    await clock.advance(100);
    assert.deepEqual(log, ['acquired kube-apiserver 150s', 'reload systemd']);
    await clock.advance(1000);
    await done;
    assert.equal(log.at(-1), 'released true');
  });

  it('asks for none where none is wanted', async () => {
    const { reload, log } = setUp();
    await reload({ ...restart, oneAtATime: false });
    assert.deepEqual(log, ['reload systemd']);
  });

  it('gives it back as not serving when the restart fails, or nothing answers within a minute', async () => {
    const failed = setUp();
    failed.world.reloadFails = true;
    await assert.rejects(failed.reload(restart), { code: 'ReloadFailed' });
    assert.equal(failed.log.at(-1), 'released false');
    const silent = setUp();
    silent.world.answersAfter = 10_000;
    const done = silent.reload(restart, { verify: 'tls://127.0.0.1:6443' });
    await silent.clock.advance(2 * minute);
    await done;
    assert.equal(silent.log.at(-1), 'released false');
  });

  it('waits as the coordinator hints while another node restarts', async () => {
    const { reload, log, world, clock } = setUp();
    world.refusals = [conflict(7000), conflict(3000)];
    const done = reload(restart, { lifeLeftMs: 24 * 60 * minute });
    await clock.advance(6999);
    assert.deepEqual(log, ['refused Conflict']);
    await clock.advance(1);
    assert.equal(log.length, 2);
    await clock.advance(3000);
    await done;
    assert.deepEqual(log.slice(2), ['acquired kube-apiserver 150s', 'reload systemd', 'released true']);
  });

  for (const [what, error, part] of [
    ['a quarter of the life that is left when the coordinator cannot be reached', away, 1 / 4],
    ['half of the life that is left when others restart all the while', conflict(2000), 1 / 2],
  ] as const) {
    it(`goes without the lease after ${what}, and says so`, async () => {
      const { reload, log, world, clock, events } = setUp();
      world.always = error;
      const done = reload(restart, { lifeLeftMs: 40 * minute });
      await clock.advance(40 * minute * part - 1);
      assert.ok(!log.includes('reload systemd'));
      await clock.advance(20_000);
      await done;
      assert.ok(log.includes('reload systemd'));
      assert.ok(!log.some((line) => line.startsWith('released')));
      assert.deepEqual(events.reasons(), ['RestartWithoutLease']);
    });
  }

  it('goes without at once where the coordinator will never give it', async () => {
    const { reload, world, log, events } = setUp();
    world.always = new EvercertError('PermissionDenied', 'a worker');
    await reload(restart);
    assert.deepEqual(log, ['refused PermissionDenied', 'reload systemd']);
    assert.deepEqual(events.reasons(), ['RestartWithoutLease']);
  });

  it('is never done twice at once on this node, whatever the component', async () => {
    const { reload, log, world, clock } = setUp();
    world.answersAfter = 3;
    const both = Promise.all([
      reload(restart, { verify: 'tls://127.0.0.1:6443' }),
      reload({ ...restart, type: 'systemd', unit: 'etcd.service' }),
    ]);
    await clock.advance(5000);
    await both;
    assert.deepEqual(
      log.map((line) => line.split(' ').slice(0, 2).join(' ')),
      ['acquired kube-apiserver', 'reload systemd', 'released true', 'acquired etcd', 'reload systemd', 'released true'],
    );
  });

  it('ends its waiting when the agent stops', async () => {
    const { reload, world, stopping, clock, log } = setUp();
    world.always = conflict(1000);
    const done = assert.rejects(reload(restart), { code: 'Cancelled' });
    await clock.advance(500);
    stopping.abort();
    await done;
    assert.ok(!log.includes('reload systemd'));
  });

  it('is as patient as the shortest life of those who share it', async () => {
    const clock = new FakeClock();
    const requests: (ReloadRequest | undefined)[] = [];
    const reload = shareReloads(async (_spec, request) => void requests.push(request), clock);
    const all = Promise.all([
      reload(restart, { lifeLeftMs: 500, signal: new AbortController().signal }),
      reload(restart, { lifeLeftMs: 300, verify: 'tls://127.0.0.1:1' }),
      reload(restart),
    ]);
    await clock.advance(1000);
    await all;
    assert.deepEqual(requests, [{ lifeLeftMs: 300, verify: 'tls://127.0.0.1:1' }]);
  });
});
