import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEtcd, type LocalCluster, type SupervisedProcess, startLocalCluster, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { needTool, repositoryRoot } from '../support/tools.ts';

const readyMs = 60_000;

describe('a small local cluster', () => {
  const notices: string[] = [];
  let cluster: LocalCluster;

  before(async () => {
    cluster = await startLocalCluster({
      controlPlanes: 1,
      workers: 1,
      leafLifetimeSeconds: 30,
      etcdBinary: findEtcd(),
      onNotice: ({ message }) => notices.push(message),
    });
    await cluster.waitUntilReady(readyMs);
  });

  after(() => cluster?.stop());

  const processes = (): SupervisedProcess[] => [cluster.coordinator.process, ...cluster.nodes.map((node) => node.agent)];

  it('has every certificate of the nodes’ roles, and tells so', async () => {
    const { nodes, ready, certificates } = cluster.summary();
    assert.deepEqual([nodes, ready], [2, 2]);
    assert.ok(certificates >= 12, `${certificates} certificates`);
    assert.ok(existsSync(join(cluster.node('cp-1').pkiDir, 'apiserver.crt')));
    const events = await (await cluster.admin()).listEvents(cluster.name, { node: 'worker-1' });
    assert.ok(events.some((event) => event.reason === 'CertificateIssued'));
  });

  it('writes through its etcd', async function () {
    needTool(this, 'etcd', () => cluster.settings.etcdBinary);
    await cluster.waitUntilWriting(readyMs);
    await cluster.waitUntil(() => (cluster.writerStatistics?.writes ?? 0) >= 40, 20_000, 'forty writes');
    assert.equal(cluster.writerStatistics?.writesFailed, 0, cluster.writerStatistics?.lastError ?? 'no error is known');
  });

  it('comes back from a killed coordinator and a killed agent, each started by hand', async () => {
    await Promise.all([cluster.coordinator.process.kill(), cluster.node('worker-1').agent.kill()]);
    assert.deepEqual(
      processes().map((each) => each.running),
      [false, true, false],
    );
    await cluster.coordinator.start();
    await cluster.node('worker-1').agent.start();
    await cluster.waitUntilReady(readyMs);
    assert.equal(cluster.restarts, 0);
  });

  it('starts an agent again that ends by itself', async () => {
    const { agent } = cluster.node('worker-1');
    agent.signal('SIGKILL');
    await cluster.waitUntil(() => agent.restarts === 1 && agent.running, 20_000, 'the restart');
    assert.ok(notices.some((message) => message.startsWith('worker-1 ended unexpectedly (SIGKILL')));
    await cluster.waitUntilReady(readyMs);
  });

  it('leaves no process and no folder behind', async () => {
    const pids = processes().map((each) => each.pid);
    await cluster.stop();
    assert.deepEqual(
      pids.filter((pid) => pid === undefined || isAlive(pid)),
      [],
    );
    assert.equal(existsSync(cluster.folder.path), false);
  });
});

describe('a parent that is killed without warning', () => {
  it('takes its children with it', async function () {
    needTool(this, 'setpriv');
    const folder = mkdtempSync(join(tmpdir(), 'evercert-parent-'));
    try {
      const script = `
        import { SupervisedProcess } from '@evercert/local';
        import { systemClock } from '@evercert/shared/clock';
        const spec = { name: 'child', command: 'sleep', args: ['60'], cwd: '.', logPath: ${JSON.stringify(join(folder, 'log'))}, graceMs: 100, autoRestart: true };
        const child = new SupervisedProcess(spec, systemClock, () => undefined);
        await child.start();
        console.log(child.pid);
        setInterval(() => undefined, 1000);`;
      const parent = spawn(process.execPath, ['--input-type=module', '--eval', script], {
        cwd: join(repositoryRoot, 'test'),
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(line.toString());
      assert.ok(isAlive(pid));
      parent.kill('SIGKILL');
      await waitUntil(systemClock, () => !isAlive(pid), { timeoutMs: 5000, what: 'the child to end', pollMs: 20 });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

function isAlive(pid: number): boolean {
  const status = existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/status`, 'utf8') : '';
  return status !== '' && !/^State:\s+Z/m.test(status);
}
