import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { readAgentConfig } from '@evercert/agent/config';
import { EvercertError } from '@evercert/shared/errors';
import { describeProvisionerContract } from '../contract/provisioner.ts';
import { until } from '../support/live.ts';
import { runOk } from '../support/tools.ts';
import { makeBareImage, needMachines } from './debian.ts';
import { Inside } from './inside.ts';
import { createCall, NspawnFixture } from './nspawn-fixture.ts';
import type { RunningMachine } from './nspawn-machines.ts';

const bridge = `evt${process.pid}`;

describe('machines that systemd-nspawn boots', function () {
  this.timeout(180_000);
  let fixture: NspawnFixture;

  before(async function () {
    this.timeout(900_000);
    needMachines(this);
    fixture = new NspawnFixture();
    await makeBareImage(fixture.image);
  });

  after(() => fixture?.dispose());

  afterEach(async () => {
    assert.deepEqual(await fixture.reset(), []);
  });

  describeProvisionerContract('nspawn', async () => ({
    open: () => fixture.open(),
    machines: async () => fixture.machines(),
    cleanup: async () => undefined,
  }));

  function only(): RunningMachine {
    const machines = fixture.machines();
    assert.equal(machines.length, 1);
    return machines[0] as RunningMachine;
  }

  function child(key: string, name: string): ChildProcess {
    const script = join(import.meta.dirname, 'nspawn-child.ts');
    return spawn(process.execPath, [script, JSON.stringify(fixture.config()), join(fixture.stateDir), key, name], { stdio: 'inherit' });
  }

  async function killedWhen(process: ChildProcess, what: string, isSo: () => boolean): Promise<void> {
    const ended = new Promise((resolve) => process.once('exit', resolve));
    await until(what, 60_000, isSo, 10);
    process.kill('SIGKILL');
    await ended;
  }

  it('are their own: host name, machine id, and a configuration that they cannot change', async () => {
    const provisioner = await fixture.open({ agent: { scanInterval: '10s' } });
    for (const name of ['w1', 'w2']) await provisioner.create(createCall({ name, addresses: ['192.0.2.1'] }));
    const ids = new Set<string>();
    for (const { name, initPid, root } of fixture.machines()) {
      const inside = new Inside(initPid);
      assert.equal((await inside.run('hostname')).trim(), name);
      ids.add((await inside.run('cat', '/etc/machine-id')).trim());
      assert.equal((await inside.run('stat', '-c', '%a %U', '/etc/evercert-agent/token')).trim(), '600 root');
      assert.equal(await inside.run('cat', '/etc/evercert-agent/token'), 'abcdef.0123456789abcdef\n');
      assert.notEqual((await inside.tryRun('touch', '/etc/evercert-agent/agent.yaml')).status, 0);
      const config = readAgentConfig(join(root, '../agent/agent.yaml'));
      assert.deepEqual(config.node, { name, addresses: ['192.0.2.1'], role: 'worker' });
      assert.deepEqual([config.scanInterval, config.tokenFile], [10_000, '/etc/evercert-agent/token']);
    }
    assert.equal(ids.size, 2);
    assert.ok([...ids].every((id) => /^[0-9a-f]{32}$/.test(id)));
  });

  it('are finished by the next coordinator when the first is killed as it copies, and nothing of its copy is left', async () => {
    const isCopying = (): boolean =>
      existsSync(fixture.machinesDir) &&
      readdirSync(fixture.machinesDir).some((name) => existsSync(join(fixture.machinesDir, name, 'root')));
    await killedWhen(child('rp-killed', 'w1'), 'the copy to begin', isCopying);
    assert.deepEqual(fixture.machines(), []);
    await (await fixture.open()).create(createCall({ name: 'w1' }, { idempotencyKey: 'rp-killed' }));
    assert.deepEqual(readdirSync(fixture.machinesDir), ['demo.w1']);
    only();
  });

  it('run on when the coordinator is killed as they boot, and are found again', async () => {
    await killedWhen(child('rp-killed', 'w1'), 'the machine to run', () => fixture.machines().length > 0);
    const { id } = only();
    const provisioner = await fixture.open();
    const call = createCall({ name: 'w1' }, { idempotencyKey: 'rp-killed' });
    await provisioner.create({ ...call, join: { ...call.join, token: 'another.0123456789abcdef' } });
    assert.equal(only().id, id);
    const token = await new Inside(only().initPid).run('cat', '/etc/evercert-agent/token');
    assert.equal(token, 'another.0123456789abcdef\n', 'a repeat brings the token that is valid now');
  });

  it('are left where they are when an action is given up, and made or removed by its repeat', async () => {
    const provisioner = await fixture.open();
    const create = createCall({ name: 'w1' });
    await assert.rejects(provisioner.create({ ...create, signal: AbortSignal.timeout(50) }), isCancelled);
    assert.deepEqual(fixture.machines(), []);
    await provisioner.create(create);
    process.kill(Number(only().initPid), 'SIGSTOP');
    const remove = createCall({ name: 'w1' });
    await assert.rejects(provisioner.remove({ ...remove, signal: AbortSignal.timeout(500) }), isCancelled);
    const { initPid } = only();
    process.kill(Number(initPid), 'SIGCONT');
    await provisioner.remove(remove);
    assert.deepEqual(fixture.leftovers(), []);
  });

  it('are killed when they do not power off', async () => {
    const provisioner = await fixture.open({ stopTimeout: '1s' });
    await provisioner.create(createCall({ name: 'w1' }));
    process.kill(Number(only().initPid), 'SIGSTOP');
    assert.match((await provisioner.remove(createCall({ name: 'w1' }))).message, /was killed, and is deleted/);
    assert.deepEqual(fixture.leftovers(), []);
  });

  it('are ended also when their systemd-nspawn was killed', async () => {
    const provisioner = await fixture.open();
    await provisioner.create(createCall({ name: 'w1' }));
    const { initPid } = only();
    const supervisor = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${initPid}/status`, 'utf8'))?.[1];
    process.kill(Number(supervisor), 'SIGKILL');
    await until('systemd-nspawn to be gone', 5000, () => !existsSync(`/proc/${supervisor}/root`));
    await provisioner.remove(createCall({ name: 'w1' }));
    await until('process 1 to be gone', 5000, () => !existsSync(`/proc/${initPid}`));
    assert.deepEqual(fixture.leftovers(), []);
  });

  it('are deleted without what links and mounts lead to', async () => {
    const provisioner = await fixture.open();
    await provisioner.create(createCall({ name: 'w1' }));
    const outside = join(fixture.folder, 'outside');
    mkdirSync(outside);
    writeFileSync(join(outside, 'kept'), 'kept');
    const { root } = only();
    symlinkSync(outside, join(root, 'srv/link'));
    mkdirSync(join(root, 'srv/a mount'));
    await runOk('mount', ['--bind', outside, join(root, 'srv/a mount')]);
    await provisioner.remove(createCall({ name: 'w1' }));
    assert.deepEqual(fixture.leftovers(), []);
    assert.deepEqual(readdirSync(outside), ['kept']);
    rmSync(outside, { recursive: true });
  });

  it('start again after their host was started anew, and not when only the coordinator was', async () => {
    const provisioner = await fixture.open();
    await provisioner.create(createCall({ name: 'w1' }));
    process.kill(Number(only().initPid), 'SIGKILL');
    await until('the machine to be gone', 10_000, () => fixture.machines().length === 0);
    await fixture.open();
    assert.deepEqual(fixture.machines(), []);
    writeFileSync(join(fixture.stateDir, 'here/boot-id'), 'another');
    await fixture.open();
    await until('the machine to run', 10_000, () => fixture.machines().length === 1);
  });

  it('stay when a replacement discards a machine that it has not made', async () => {
    const provisioner = await fixture.open();
    await provisioner.create(createCall({ name: 'w1' }));
    const { id } = only();
    const { message } = await provisioner.discard(createCall({ name: 'w1' }, { replacementId: 'rp-other' }));
    assert.match(message, /is not of replacement rp-other but of rp-test: it stays/);
    assert.equal(only().id, id);
  });

  it('are not made where another machine or folder has the name, nor without an image', async () => {
    const provisioner = await fixture.open();
    await provisioner.create(createCall({ name: 'w1' }));
    await assert.rejects(provisioner.create(createCall({ name: 'w1' })), refusal(/there is a machine demo\.w1 already/));
    mkdirSync(join(fixture.machinesDir, 'demo.w2'));
    await assert.rejects(provisioner.create(createCall({ name: 'w2' })), refusal(/is no machine that this provisioner has made/));
    const without = await fixture.open({ image: `${fixture.image}-none` });
    await assert.rejects(without.create(createCall({ name: 'w3' })), refusal(/there is no image .*make-image\.sh/));
  });

  describe('on a bridge of their own', () => {
    const subnet = '198.18.77.0/24';
    let server: Server;
    let port: number;

    before(async () => {
      await runOk('ip', ['link', 'add', bridge, 'type', 'bridge']);
      await runOk('ip', ['address', 'add', '198.18.77.1/24', 'dev', bridge]);
      await runOk('ip', ['link', 'set', bridge, 'up']);
      server = createServer((socket) => socket.end('hello'));
      await new Promise<void>((resolve) => server.listen(0, '198.18.77.1', resolve));
      port = (server.address() as { port: number }).port;
    });

    after(async () => {
      server?.close();
      await runOk('ip', ['link', 'delete', bridge]);
    });

    it('have the registered address and reach the host; the interface goes with them', async () => {
      const provisioner = await fixture.open({ network: { bridge, subnets: [subnet], gateway: '198.18.77.1' } });
      await provisioner.create(createCall({ name: 'w1', addresses: ['203.0.113.9', '198.18.77.11'] }));
      const inside = new Inside(only().initPid);
      const greeting = ['bash', '-c', `exec 3<>/dev/tcp/198.18.77.1/${port} && cat <&3`];
      await until('the host to be reached', 20_000, async () => (await inside.tryRun(...greeting)).stdout === 'hello', 250);
      assert.match(await inside.run('cat', '/proc/net/fib_trie'), /198\.18\.77\.11/);
      await provisioner.remove(createCall({ name: 'w1' }));
      assert.deepEqual(fixture.leftovers(), []);
    });

    it('are not made for a node without an address there, nor on a bridge that is none', async () => {
      const provisioner = await fixture.open({ network: { bridge, subnets: [subnet] } });
      await assert.rejects(
        provisioner.create(createCall({ name: 'w1', addresses: ['203.0.113.9'] })),
        refusal(/no registered address in 198\.18\.77\.0\/24 \(it has 203\.0\.113\.9\)/),
      );
      const loopback = await fixture.open({ network: { bridge: 'lo' } });
      await assert.rejects(loopback.create(createCall({ name: 'w2' })), refusal(/no network bridge lo/));
    });
  });
});

function isCancelled(error: unknown): boolean {
  return error instanceof EvercertError && error.code === 'Cancelled';
}

function refusal(text: RegExp): (error: unknown) => boolean {
  return (error) => error instanceof EvercertError && error.code === 'FailedPrecondition' && text.test(error.message);
}
