/** Revocation, expiry and repair in a whole local cluster with a real etcd: processes, files and the `evercert` command. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { findEtcd, type LocalCluster, type LocalNode, startLocalCluster, type WriterMember, waitUntil } from '@evercert/local';
import type { CertificateStatus, Node } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { getKey, putKey } from '../support/etcd-data.ts';
import { needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const lifeSeconds = 20;
const readyMs = 60_000;
const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
const evercertAgent = join(repositoryRoot, 'agent', 'bin', 'evercert-agent');

describe('the repair of a local cluster', function () {
  this.timeout(150_000);
  let cluster: LocalCluster;

  before(async function () {
    const etcdBinary = needTool(this, 'etcd', () => findEtcd());
    cluster = await startLocalCluster({
      controlPlanes: 3,
      workers: 1,
      leafLifetimeSeconds: lifeSeconds,
      identityLifetimeSeconds: lifeSeconds,
      etcdBinary,
      autoRestart: false,
      coordinatorConfig: { repair: { silentAfter: '10s' } },
    });
    await cluster.waitUntilReady(readyMs);
    await cluster.waitUntilWriting(readyMs);
  });
  after(() => cluster?.stop());

  const cli = (...args: string[]): Promise<RunResult> =>
    run(evercert, args, { env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml') }, timeoutMs: 120_000 });

  async function node(name: string): Promise<Node> {
    const found = (await (await cluster.admin()).listNodes(cluster.name)).find((each) => each.name === name);
    assert.ok(found);
    return found;
  }

  async function certificate(nodeName: string, name: string): Promise<CertificateStatus> {
    const found = (await node(nodeName)).status?.certificates.find((each) => each.name === name);
    assert.ok(found);
    return found;
  }

  async function apply(yaml: string): Promise<void> {
    const admin = await cluster.admin();
    await admin.call(admin.client.apply, { cluster: cluster.name, documents: [{ source: 'test.yaml', yaml }], dryRun: false });
  }

  async function deleteRevocation(name: string): Promise<void> {
    const admin = await cluster.admin();
    await admin.call(admin.client.deleteRevocation, { cluster: cluster.name, name, dryRun: false });
  }

  /** Until the agent was refused, then until the certificate has run out; the refusal comes within one renewal. */
  async function refusedThenExpired(nodeName: string, names: string[]): Promise<void> {
    for (const name of names) {
      const refused = async (): Promise<boolean> => (await certificate(nodeName, name)).lastErrorCode === 'Revoked';
      await waitUntil(systemClock, refused, { timeoutMs: lifeSeconds * 1000, what: `the refusal of ${nodeName}/${name}` });
    }
    for (const name of names) {
      const expired = async (): Promise<boolean> => ((await certificate(nodeName, name)).notAfter?.getTime() ?? 0) < systemClock.nowMs();
      await waitUntil(systemClock, expired, { timeoutMs: lifeSeconds * 1500, what: `the end of ${nodeName}/${name}` });
    }
  }

  const revocation = (name: string, entries: string[]): string =>
    `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: ${name}, namespace: kube-system }\nspec:\n  revocations:\n${entries.map((entry) => `  - ${entry}\n`).join('')}`;
  const member = (name: string): WriterMember => cluster.node(name).etcdClient as WriterMember;

  it('finds nothing to do in a healthy cluster', async () => {
    const repaired = await cli('repair', cluster.name);
    assert.equal(repaired.status, 0, repaired.stdout);
    const planned = await cli('repair', cluster.name, '--dry-run');
    assert.equal(planned.status, 0, planned.stdout);
    assert.match(planned.stdout, /cp-3 +skip +0 +the certificates are in order/);
  });

  it('brings back a node whose certificates were revoked by serial and ran out, one node, without a failed write', async () => {
    const names = ['apiserver', 'etcd-server', 'etcd-peer'];
    const statuses = await Promise.all(names.map((name) => certificate('cp-2', name)));
    await apply(
      revocation(
        'stolen',
        statuses.map(({ serial }) => `{ kind: serialnumber, serialNumber: "${serial}" }`),
      ),
    );
    await refusedThenExpired('cp-2', names);
    const { status, stdout } = await cli('repair', cluster.name);
    assert.equal(status, 0, stdout);
    assert.match(stdout, /one node at a time/);
    assert.match(stdout, /cp-2 +Repaired/);
    assert.match(stdout, /cp-[13] +Healthy/);
    await cluster.waitUntilReady(readyMs);
    for (const [index, name] of names.entries()) assert.notEqual((await certificate('cp-2', name)).serial, statuses[index]?.serial);
    assert.equal(cluster.writerStatistics?.writesFailed, 0, cluster.writerStatistics?.lastError ?? 'no error is known');
    await deleteRevocation('stolen');
  });

  it('brings back nodes that were revoked by group up to a time, one at a time', async () => {
    await apply(
      revocation('kubelets', [`{ kind: Group, group: "system:nodes", notBefore: "${new Date(systemClock.nowMs()).toISOString()}" }`]),
    );
    for (const name of ['cp-1', 'cp-2', 'cp-3']) await refusedThenExpired(name, ['kubelet-client']);
    const { status, stdout } = await cli('repair', cluster.name, '-o', 'json');
    assert.equal(status, 0, stdout);
    const messages = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(messages[0].strategy, 'serial');
    assert.deepEqual(messages.filter(({ step }) => step === 'QuorumChecked').length, 2);
    assert.deepEqual(
      messages.at(-1).outcomes.map(({ result }: { result: string }) => result),
      ['Repaired', 'Repaired', 'Repaired'],
    );
    const worker = await cli('repair', cluster.name, '--node', 'worker-1');
    assert.equal(worker.status, 0, worker.stdout);
    await cluster.waitUntilReady(readyMs);
    assert.equal(cluster.writerStatistics?.writesFailed, 0, cluster.writerStatistics?.lastError ?? 'no error is known');
    await deleteRevocation('kubelets');
  });

  it('refuses what an entry without notBefore matches, names it, and repairs once it has one', async () => {
    await apply(revocation('forever', ['{ kind: DNS, dns: "kubernetes.default.svc." }']));
    const refused = await cli('repair', cluster.name);
    assert.equal(refused.status, 1, refused.stdout);
    assert.match(
      refused.stdout,
      /cp-1 +Refused .*apiserver cannot be issued: entry 1 \(DNS kubernetes\.default\.svc\) of RenewRevocation forever.*Set notBefore/,
    );
    await apply(
      revocation('forever', [`{ kind: DNS, dns: "kubernetes.default.svc.", notBefore: "${new Date(systemClock.nowMs()).toISOString()}" }`]),
    );
    const { status, stdout } = await cli('repair', cluster.name);
    assert.equal(status, 0, stdout);
    await cluster.waitUntilReady(readyMs);
    await deleteRevocation('forever');
  });

  it('brings back what was revoked by address on one node, and by DNS suffix on all', async () => {
    const notBefore = new Date(systemClock.nowMs()).toISOString();
    await apply(
      revocation('names', [
        `{ kind: IP, ip: "${cluster.node('cp-3').address}", notBefore: "${notBefore}" }`,
        `{ kind: DNS, dns: ".svc.cluster.local", notBefore: "${notBefore}" }`,
      ]),
    );
    await refusedThenExpired('cp-3', ['etcd-server', 'etcd-peer', 'apiserver']);
    await refusedThenExpired('cp-1', ['apiserver']);
    assert.equal((await certificate('cp-1', 'etcd-server')).lastErrorCode, '');
    const { status, stdout } = await cli('repair', cluster.name);
    assert.equal(status, 0, stdout);
    for (const name of ['cp-1', 'cp-2', 'cp-3']) assert.match(stdout, new RegExp(`${name} +Repaired`));
    await cluster.waitUntilReady(readyMs);
    assert.equal(cluster.writerStatistics?.writesFailed, 0, cluster.writerStatistics?.lastError ?? 'no error is known');
    await deleteRevocation('names');
  });

  it('brings a dark cluster back within a minute, with the old data in etcd', async () => {
    await cluster.stopWriter();
    await putKey(member('cp-1'), 'from-before', 'the dark');
    for (const { etcd } of cluster.nodes) await etcd?.stop();
    await Promise.all(cluster.nodes.map(({ agent }) => agent.stop()));
    await cluster.coordinator.stop();
    await systemClock.sleep((lifeSeconds + 5) * 1000);
    await cluster.coordinator.start();
    await Promise.all(cluster.nodes.flatMap(({ agent, etcd }) => [agent.start(), etcd?.start()]));
    await assert.rejects(getKey(member('cp-1'), 'from-before'));
    const start = performance.now();
    const { status, stdout } = await cli('repair', cluster.name);
    const tookMs = performance.now() - start;
    assert.equal(status, 0, stdout);
    assert.ok(tookMs < 60_000, `${tookMs} ms`);
    process.stdout.write(`      three dark control-plane nodes were back after ${(tookMs / 1000).toFixed(1)} s\n`);
    assert.match(stdout, /all nodes at once/);
    assert.equal(await getKey(member('cp-3'), 'from-before'), 'the dark');
    await putKey(member('cp-2'), 'from-after', 'the light');
    for (const name of ['cp-1', 'cp-2', 'cp-3']) assert.equal((await node(name)).status?.phase, 'Ready');
    // Nobody asked for the worker.
    assert.notEqual((await node('worker-1')).status?.phase, 'Ready');
  });

  it('has a command on the node for a node that does not come back', async () => {
    const worker: LocalNode = cluster.node('worker-1');
    const token = (await cli('token', 'create', '-c', cluster.name, '--role', 'worker', '--node-name', 'worker-1')).stdout.trim();
    const { status, stdout, stderr } = await run(evercertAgent, ['recover', '--config', worker.configPath, '--token', token]);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /Node worker-1 is back/);
    await cluster.waitUntilReady(readyMs);
  });

  it('tells of a silent node and what to run on it, and is well when called again after it came', async () => {
    const { agent } = cluster.node('cp-3');
    await agent.stop();
    await systemClock.sleep((lifeSeconds + 2) * 1000);
    const silent = await cli('repair', cluster.name);
    assert.equal(silent.status, 1, silent.stdout);
    assert.match(silent.stdout, /cp-3 +Silent .*evercert-agent recover --token/);
    await agent.start();
    await cluster.waitUntilReady(readyMs);
    const again = await cli('repair', cluster.name);
    assert.equal(again.status, 0, again.stdout);
    assert.equal(await getKey(member('cp-3'), 'from-after'), 'the light');
  });
});
