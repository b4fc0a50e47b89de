import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { createSystemdNotifier, watchdogIntervalMs } from '@evercert/shared/systemd';

describe('systemd notifications', () => {
  let folder: string;
  let command: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-systemd-'));
    command = join(folder, 'notify');
    await writeFile(command, `#!/bin/sh\nprintf '%s\\n' "$@" >> ${join(folder, 'sent')}\n`, { mode: 0o755 });
  });
  afterEach(() => rm(folder, { recursive: true }));

  const sent = async (): Promise<string[]> => (await readFile(join(folder, 'sent'), 'utf8')).trim().split('\n');
  const notifier = (env: NodeJS.ProcessEnv, clock = new FakeClock()) =>
    createSystemdNotifier({ env, clock, logger: silentLogger, pid: 42, command });

  it('sends readiness, one-line states and the stop', async () => {
    const systemd = notifier({ NOTIFY_SOCKET: '/none' });
    await systemd.ready('all\nwell');
    await systemd.status('x'.repeat(500));
    await systemd.stopping();
    assert.deepEqual(await sent(), ['READY=1', 'STATUS=all well', `STATUS=${'x'.repeat(200)}`, 'STOPPING=1']);
  });

  it('does nothing without a socket', async () => {
    const systemd = notifier({});
    await systemd.ready('well');
    assert.equal(systemd.enabled, false);
    await assert.rejects(sent(), { code: 'ENOENT' });
  });

  it('does not fail when the program is missing', async () => {
    const systemd = createSystemdNotifier({
      env: { NOTIFY_SOCKET: '/none' },
      clock: new FakeClock(),
      logger: silentLogger,
      command: join(folder, 'absent'),
    });
    await systemd.ready('well');
    await assert.rejects(sent(), { code: 'ENOENT' });
  });

  it('feeds the watchdog at half its time, only while the loop is alive', async () => {
    const clock = new FakeClock();
    let asked = 0;
    const stop = notifier({ NOTIFY_SOCKET: '/none', WATCHDOG_USEC: '20000000' }, clock).startWatchdog(() => {
      asked += 1;
      return false;
    });
    await clock.advance(35_000);
    assert.equal(asked, 4);
    stop();
    assert.equal(clock.pending, 0);
    await assert.rejects(sent(), { code: 'ENOENT' });
  });

  const table: [NodeJS.ProcessEnv, number | undefined][] = [
    [{}, undefined],
    [{ WATCHDOG_USEC: 'soon' }, undefined],
    [{ WATCHDOG_USEC: '30000000' }, 15_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '42' }, 15_000],
    [{ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '41' }, undefined],
  ];
  for (const [env, expected] of table) {
    it(`reads the watchdog of ${JSON.stringify(env)} as ${expected}`, () => assert.equal(watchdogIntervalMs(env, 42), expected));
  }
});
