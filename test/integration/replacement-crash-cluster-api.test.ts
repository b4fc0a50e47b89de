import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { allReady } from '@evercert/agent/status';
import { type AdminApi, type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { ClusterSpec, type Replacement, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { stringify } from 'yaml';
import { AgentMachines } from '../support/agent-machines.ts';
import { ClusterApi, coordinatorKubeconfig, namespace, prepareClusterApi } from '../support/cluster-api.ts';
import { DoomedCoordinator, replacementsOf, setPause, usableTokens } from '../support/doomed-coordinator.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { endedReplacement } from '../support/replacements.ts';

const lifeSeconds = 20;
const address = '127.0.0.21';
const coordinatorUser = 'system:serviceaccount:evercert:evercert-coordinator';

const inSteps = (steps: string[]): string[] => steps.flatMap((step) => ['begun', 'acted', 'done'].map((when) => `${step}-${when}`));
/** `npm run test:kubernetes` dies at every one of them; the integration suite where this driver has most to find again. */
const points =
  process.env['EVERCERT_ALL_FAULT_POINTS'] === '1'
    ? [...inSteps(['cordon', 'drain', 'remove', 'allocate', 'create', 'join', 'verify', 'discard', 'uncordon']), 'remove-withdrawn']
    : ['create-acted'];

describe('a coordinator killed in the middle of a replacement by Cluster API', function () {
  this.timeout(120_000);
  let folder: string;
  let kubernetes: TestKubernetes;
  let prepared: { stop(): void } | undefined;
  let local: LocalCluster;
  let machines: AgentMachines;
  let admin: AdminApi;
  let doomed: DoomedCoordinator;
  /** By the fault point, which is also the name of a cluster with one worker. */
  const clusters = new Map<string, ClusterApi>();

  before(async function () {
    this.timeout(300_000);
    const binaries = needKubernetes(this);
    folder = temporaryFolder('kills');
    kubernetes = await startKubernetes(binaries, { apiServerFlags: auditFlags() });
    prepared = await prepareClusterApi(kubernetes);
    machines = new AgentMachines(join(folder, 'machines'));
    const capi = {
      type: 'cluster-api',
      kubeconfig: await coordinatorKubeconfig(kubernetes),
      namespace,
      bootstrap: { agent: { node: { addresses: [address] } } },
    };
    local = await prepareLocalCluster({
      runDir: join(folder, 'run'),
      controlPlanes: 1,
      workers: 0,
      autoRestart: false,
      coordinatorConfig: { provisioners: { capi } },
    });
    await local.coordinator.start();
    admin = await local.admin();
    doomed = new DoomedCoordinator(local.coordinator, folder);
    const waiting = [...points];
    await Promise.all(
      [1, 2].map(async () => {
        for (let point = waiting.shift(); point !== undefined; point = waiting.shift()) await hangWorker(point);
      }),
    );
    await systemClock.sleep(lifeSeconds * 1000);
  });

  after(async () => {
    for (const cluster of clusters.values()) await cluster.stop();
    await machines?.endAll();
    await local?.stop();
    prepared?.stop();
    await kubernetes?.stop();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  for (const [index, point] of points.entries()) {
    it(`goes on after it died at ${point}, and leaves no machine over`, async () => {
      const api = clusters.get(point) as ClusterApi;
      api.suspended = false;
      await doomed.runningFor(point);
      doomed.arm(point);
      if (point.startsWith('uncordon')) await cancelled(point);
      else await setPause(admin, point, false);
      assert.equal((await local.coordinator.process.waitForExit(60_000))?.signal, 'SIGKILL', point);
      await doomed.runningFor(points[index + 1]);
      const replacement = await endedReplacement(() => replacementsOf(admin, point), 90_000);
      await setPause(admin, point, true);
      if (point.startsWith('uncordon')) await assertCancelled(point, api, replacement);
      else await assertSucceeded(point, api, replacement);
      api.suspended = true;
      for (const { metadata } of await api.machines()) await machines.end(metadata.name);
    });
  }

  it('and the tokens of all machines stand in no log', () => {
    const tokens = [...clusters.values()].flatMap(({ booted }) => [...booted.values()]).flatMap(({ write_files }) => write_files);
    const secrets = tokens.filter(({ path }) => path.endsWith('/token')).map(({ content }) => content.trim());
    assert.ok(secrets.length > 0);
    const logs = [local.coordinator.process.spec.logPath, auditLog()].map((path) => readFileSync(path, 'utf8')).join('');
    for (const secret of secrets) assert.ok(!logs.includes(secret));
  });

  /** A worker that joined, got everything, and then hangs for ever: its certificates expire, its Machine is still there. */
  async function hangWorker(point: string): Promise<void> {
    const replacement = {
      provisioner: 'capi',
      mode: 'active',
      graceSeconds: 1,
      maxUnhealthy: '1',
      maxConcurrent: 1,
      maxPerHour: 100,
      drainTimeoutSeconds: 60,
      joinTimeoutSeconds: point.startsWith('discard') ? 10 : 60,
      backoffSeconds: 1,
      maxBackoffSeconds: 1,
    };
    const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds };
    await admin.createCluster(
      point,
      ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'], ...lives, replacement }),
    );
    await setPause(admin, point, true);
    const api = new ClusterApi(kubernetes, point, machines);
    clusters.set(point, api);
    await api.start(1);
    const { metadata } = await api.adopt(oldNode(point));
    await kubernetes.ok('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: oldNode(point) } });
    const { token, caPin } = await admin.createToken(point, { name: oldNode(point), role: Role.WORKER, addresses: [address] });
    const agent = {
      coordinator: { endpoints: [local.coordinator.address], caPins: [caPin] },
      node: { name: oldNode(point) },
      tokenFile: '/etc/evercert-agent/token',
    };
    const write_files = [
      { path: '/etc/evercert-agent/agent.yaml', content: stringify(agent) },
      { path: agent.tokenFile, permissions: '0600', content: token },
    ];
    await machines.start(metadata.name, { write_files, runcmd: [] });
    await untilReady(metadata.name, 60_000);
    machines.signal(metadata.name, 'SIGSTOP');
    api.suspended = true;
    if (point.startsWith('discard')) api.failNext = 1;
  }

  async function untilReady(machine: string, timeoutMs: number): Promise<void> {
    await until(`the agent of ${machine} to be Ready`, timeoutMs, async () => {
      const status = await machines.status(machine);
      return status !== undefined && status.connection.state === 'Connected' && status.certificates.length > 0 && allReady(status);
    });
  }

  /** A pod that does not end, of a kubelet that answers, holds the drain up; then an admin ends the replacement. */
  async function cancelled(point: string): Promise<void> {
    const node = oldNode(point);
    await kubernetes.ok('PATCH', `/api/v1/nodes/${node}/status`, { status: { conditions: [{ type: 'Ready', status: 'True' }] } });
    await kubernetes.ok('POST', '/api/v1/namespaces/default/pods', {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: node },
      spec: { nodeName: node, terminationGracePeriodSeconds: 3600, containers: [{ name: 'main', image: 'example.com/none' }] },
    });
    await setPause(admin, point, false);
    let id = '';
    await until('the drain', 30_000, async () => {
      const [replacement] = await replacementsOf(admin, point);
      id = replacement?.id ?? '';
      const { metadata } = await kubernetes.ok('GET', `/api/v1/namespaces/default/pods/${node}`);
      return replacement?.step === 'Drain' && metadata.deletionTimestamp !== undefined;
    });
    // The answer may be lost: the coordinator dies once it takes the cordon back.
    await admin.call(admin.client.cancelReplacement, { cluster: point, id }).catch((error: unknown) => {
      assert.ok(error instanceof EvercertError && error.code === 'Unavailable', String(error));
    });
  }

  async function assertSucceeded(point: string, api: ClusterApi, { state, attempt, newNode }: Replacement): Promise<void> {
    const again = point.startsWith('discard');
    assert.equal(state, 'Succeeded');
    assert.equal(attempt, again ? 2 : 1);
    assert.equal(api.made.length, attempt + 1, 'a MachineSet makes one Machine for each that is deleted');
    assert.equal(newNode, api.made.at(-1));
    assert.deepEqual(
      (await api.machines()).map(({ metadata }) => metadata.name),
      [newNode],
    );
    assert.deepEqual(deletions(api), api.made.slice(0, -1), 'each Machine was deleted once');
    assert.deepEqual(
      machines.running().filter((name) => name.startsWith(point)),
      [newNode],
    );
    await untilReady(newNode, 10_000);
    const nodes = await admin.listNodes(point);
    assert.deepEqual(
      nodes.map(({ name, status }) => ({ name, phase: status?.phase })),
      [{ name: newNode, phase: 'Ready' }],
    );
    assert.deepEqual(await usableTokens(admin, point), []);
  }

  async function assertCancelled(point: string, api: ClusterApi, { state }: Replacement): Promise<void> {
    assert.equal(state, 'Cancelled');
    assert.equal(api.made.length, 1);
    assert.deepEqual(deletions(api), []);
    const { spec, metadata } = await kubernetes.ok('GET', `/api/v1/nodes/${oldNode(point)}`);
    assert.equal(spec.unschedulable, undefined);
    assert.deepEqual([metadata.annotations ?? {}, (await api.machineSet()).metadata.annotations ?? {}], [{}, {}]);
  }

  /** Machines that the coordinator has deleted, by the API server's own account. */
  function deletions({ made }: ClusterApi): string[] {
    const lines = readFileSync(auditLog(), 'utf8').trim().split('\n');
    return lines
      .map((line) => JSON.parse(line) as { user: { username: string }; objectRef: { name: string }; responseStatus: { code: number } })
      .filter(({ user, responseStatus }) => user.username === coordinatorUser && responseStatus.code === 200)
      .map(({ objectRef }) => objectRef.name)
      .filter((name) => made.includes(name));
  }

  function auditFlags(): string[] {
    const policy = join(folder, 'audit-policy.yaml');
    const rules = [
      { level: 'Metadata', verbs: ['delete'], resources: [{ group: 'cluster.x-k8s.io', resources: ['machines'] }] },
      { level: 'None' },
    ];
    writeFileSync(policy, stringify({ apiVersion: 'audit.k8s.io/v1', kind: 'Policy', omitStages: ['RequestReceived'], rules }));
    return [`--audit-policy-file=${policy}`, `--audit-log-path=${auditLog()}`, '--audit-log-mode=blocking'];
  }

  function auditLog(): string {
    return join(folder, 'audit.log');
  }

  function oldNode(point: string): string {
    return `old-${point}`;
  }
});
