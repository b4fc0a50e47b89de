import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReloader, shareReloads } from '@evercert/agent/reload';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';

describe('the reloader', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-reload-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const reloader = (change: object = {}) =>
    createReloader({
      rootDir: folder,
      clock: systemClock,
      logger: silentLogger,
      env: { PATH: process.env['PATH'], SECRET: 'x' },
      ...change,
    });
  const shell = (script: string, timeoutSeconds = 5): ReloadSpec => ({ type: 'command', argv: ['sh', '-c', script], timeoutSeconds });

  it('runs a command with its arguments as they are and nothing of its own environment but the PATH', async () => {
    await reloader()({ type: 'command', argv: ['sh', '-c', `echo "$1 [$SECRET]" > ${folder}/out`, 'sh', '$HOME;`id`'], timeoutSeconds: 5 });
    assert.equal(await readFile(join(folder, 'out'), 'utf8'), '$HOME;`id` []\n');
  });

  it('fails with the exit code and the output of the command', async () => {
    await assert.rejects(reloader()(shell('echo went wrong >&2; exit 3')), { code: 'ReloadFailed', message: /exit code 3: went wrong/ });
  });

  it('keeps only the beginning of a long output', async () => {
    await assert.rejects(reloader()(shell('yes | head -c 1000000; exit 1')), (error: Error) => error.message.length < 1000);
  });

  it('kills a command that takes too long, with its children', async () => {
    const started = performance.now();
    await assert.rejects(reloader()(shell(`sleep 30 & echo $! > ${folder}/child; wait`, 0.2)), {
      code: 'ReloadFailed',
      message: /longer than 0.2 s/,
    });
    assert.ok(performance.now() - started < 5000);
    const child = Number(await readFile(join(folder, 'child'), 'utf8'));
    for (let turn = 0; turn < 100 && exists(child); turn += 1) await systemClock.sleep(10);
    assert.equal(exists(child), false);
  });

  it('does not wait for a daemon that the command leaves behind', async () => {
    const started = performance.now();
    await reloader()(shell('sleep 3 & exit 0'));
    assert.ok(performance.now() - started < 2000);
  });

  it('says that a program is missing', async () => {
    await assert.rejects(reloader()({ type: 'command', argv: [join(folder, 'absent')], timeoutSeconds: 1 }), {
      code: 'ReloadFailed',
      message: /cannot be started/,
    });
  });

  it('asks systemctl without a shell', async () => {
    const systemctl = join(folder, 'systemctl');
    await writeFile(systemctl, `#!/bin/sh\nprintf '%s|' "$@" > ${folder}/asked\n`, { mode: 0o755 });
    await reloader({ systemctl })({ type: 'systemd', unit: 'etcd.service; reboot', action: 'reload-or-restart' });
    assert.equal(await readFile(join(folder, 'asked'), 'utf8'), '--no-ask-password|reload-or-restart|--|etcd.service; reboot|');
  });

  it('signals the process of the pid file under the root folder', async () => {
    const sent: [number, unknown][] = [];
    await writeFile(join(folder, 'etcd.pid'), '4242\n');
    await reloader({ kill: (pid: number, signal: unknown) => sent.push([pid, signal]) })({
      type: 'signal',
      pidPath: '/etcd.pid',
      signal: 'SIGHUP',
    });
    assert.deepEqual(sent, [
      [4242, 0],
      [4242, 'SIGHUP'],
    ]);
  });

  for (const content of ['0', '1', '-5', 'abc', '', '1e3', String(process.pid)]) {
    it(`signals nobody for a pid file with ${JSON.stringify(content === String(process.pid) ? 'our own pid' : content)}`, async () => {
      await writeFile(join(folder, 'pid'), content);
      const kill = (): never => assert.fail('a signal was sent');
      await assert.rejects(reloader({ kill })({ type: 'signal', pidPath: '/pid', signal: 'SIGHUP' }), { code: 'ReloadFailed' });
    });
  }

  it('tells nothing of what a file holds that is no pid file', async () => {
    await writeFile(join(folder, 'shadow'), 'root:$6$salt$hash:19000:0:99999:7:::');
    await assert.rejects(
      reloader()({ type: 'signal', pidPath: '/shadow', signal: 'SIGHUP' }),
      (error: EvercertError) => error.code === 'ReloadFailed' && !error.message.includes('$6$') && !error.message.includes('root'),
    );
  });

  it('does not wait for the writer of a FIFO, nor read a device without an end', async () => {
    execFileSync('mkfifo', [join(folder, 'fifo')]);
    await symlink('/dev/zero', join(folder, 'zero'));
    for (const pidPath of ['/fifo', '/zero']) {
      await assert.rejects(reloader()({ type: 'signal', pidPath, signal: 'SIGHUP' }), { code: 'ReloadFailed', message: /no regular file/ });
    }
  });

  it('fails for a process that is gone and for a missing pid file', async () => {
    const kill = (): never => {
      throw Object.assign(new Error('kill ESRCH'), { code: 'ESRCH' });
    };
    await writeFile(join(folder, 'pid'), '4242');
    await assert.rejects(reloader({ kill })({ type: 'signal', pidPath: '/pid', signal: 'SIGHUP' }), {
      code: 'ReloadFailed',
      message: /process 4242/,
    });
    await assert.rejects(reloader()({ type: 'signal', pidPath: '/absent', signal: 'SIGHUP' }), {
      code: 'ReloadFailed',
      message: /cannot be read/,
    });
  });
});

describe('shared reloads', () => {
  it('make one run of equal requests that come together, and another of one that comes later', async () => {
    const clock = new FakeClock();
    const runs: string[] = [];
    const reload = shareReloads(async (spec) => void runs.push(spec.type === 'systemd' ? spec.unit : ''), clock);
    const etcd: ReloadSpec = { type: 'systemd', unit: 'etcd', action: 'restart' };
    const all = Promise.all([reload({ ...etcd }), reload({ ...etcd }), reload({ ...etcd, unit: 'nginx' })]);
    await clock.advance(300);
    await all;
    assert.deepEqual(runs, ['etcd', 'nginx']);
    const later = reload(etcd);
    await clock.advance(300);
    await later;
    assert.deepEqual(runs, ['etcd', 'nginx', 'etcd']);
  });

  it('never run two equal reloads at once, and each caller gets the outcome of its own run', async () => {
    const clock = new FakeClock();
    let running = 0;
    let runs = 0;
    const reload = shareReloads(async () => {
      running += 1;
      assert.equal(running, 1);
      runs += 1;
      const mine = runs;
      await clock.sleep(1000);
      running -= 1;
      if (mine === 1) throw new EvercertError('ReloadFailed', 'the first one');
    }, clock);
    const spec: ReloadSpec = { type: 'systemd', unit: 'etcd', action: 'restart' };
    const first = assert.rejects(reload(spec), { code: 'ReloadFailed' });
    await clock.advance(500);
    const second = reload(spec);
    await clock.advance(5000);
    await first;
    await second;
    assert.equal(runs, 2);
  });
});

/** False also for a process that is dead and only waits to be reaped. */
function exists(pid: number): boolean {
  return existsSync(`/proc/${pid}/stat`) && !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
}
