/** The agent as a process of its own, with nobody to talk to. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchStatus } from '@evercert/agent/status';
import { systemClock } from '@evercert/shared/clock';

const program = fileURLToPath(new URL('../../agent/bin/evercert-agent', import.meta.url));

describe('the agent process without a coordinator', () => {
  let folder: string;
  let child: ChildProcess | undefined;
  let log = '';
  let ended: Promise<number | null>;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-agent-'));
  });
  afterEach(async () => {
    if (child?.exitCode === null) child.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true });
  });

  async function start(change: Record<string, unknown> = {}, env: NodeJS.ProcessEnv = {}): Promise<void> {
    const config = {
      coordinator: { endpoints: ['127.0.0.1:1'], caPins: [`sha256:${'0'.repeat(64)}`] },
      node: { name: 'node-1' },
      token: 'abcdef.0123456789abcdef',
      tokenFile: join(folder, 'token'),
      stateDir: join(folder, 'state'),
      rootDir: join(folder, 'root'),
      statusSocket: join(folder, 's.sock'),
      ...change,
    };
    await writeFile(join(folder, 'config.yaml'), JSON.stringify(config));
    log = '';
    const started = spawn(program, ['--config', join(folder, 'config.yaml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...env },
    });
    started.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
    ended = new Promise((resolve) => started.once('close', resolve));
    child = started;
  }

  async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
    for (let turn = 0; turn < 400; turn += 1) {
      if (await condition()) return;
      await systemClock.sleep(25);
    }
    assert.fail(`never: ${what}\n${log}`);
  }

  it('stays alive, says what it waits for, looks at its files on SIGHUP, and stops on SIGTERM', async () => {
    await start();
    await until('waiting for the coordinator', () => log.includes('cannot reach the coordinator at 127.0.0.1:1'));
    const status = await fetchStatus(join(folder, 's.sock'));
    assert.equal(status.identity.state, 'Joining');
    assert.ok(!log.includes('abcdef.'), 'the token is in the log');
    child?.kill('SIGHUP');
    await until('SIGHUP noticed', () => log.includes('SIGHUP'));
    child?.kill('SIGTERM');
    assert.equal(await ended, 0);
    for (const line of log.trim().split('\n')) assert.equal(JSON.parse(line).node, 'node-1');
  });

  it('tells systemd that it is ready though the coordinator is away, feeds the watchdog, and tells that it stops', async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    await writeFile(join(bin, 'systemd-notify'), `#!/bin/sh\nprintf '%s\\n' "$@" >> ${folder}/sent\n`, { mode: 0o755 });
    await start({}, { NOTIFY_SOCKET: '/none', WATCHDOG_USEC: '400000', PATH: `${bin}:${process.env['PATH']}` });
    const sent = (): Promise<string> => readFile(join(folder, 'sent'), 'utf8').catch(() => '');
    await until('ready and watched', async () => (await sent()).includes('READY=1') && (await sent()).split('WATCHDOG=1').length > 3);
    child?.kill('SIGINT');
    assert.equal(await ended, 0);
    assert.match(await sent(), /STOPPING=1/);
  });

  it('does not start a second time on the same socket', async () => {
    await start();
    await until('running', () => log.includes('The agent is running'));
    const first = child;
    const firstEnded = ended;
    await start();
    assert.equal(await ended, 5);
    assert.match(log, /another agent already serves/);
    first?.kill('SIGTERM');
    assert.equal(await firstEnded, 0);
  });

  it('ends with a clear message when it cannot write its state', async () => {
    await writeFile(join(folder, 'file'), '');
    await start({ stateDir: join(folder, 'file', 'state') });
    assert.equal(await ended, 1);
    assert.match(log, /The agent cannot run/);
  });
});
