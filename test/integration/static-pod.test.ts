/** Static pods are started anew for a real kube-apiserver, by whatever does for them what kubelet does. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { staticPodFaultPoints } from '@evercert/agent/reload';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { freePort, SupervisedProcess } from '@evercert/local';
import { ClusterSpec, type Node, type NodeCondition } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { publicKeyPin } from '@evercert/shared/x509';
import { stringify } from 'yaml';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator, type TestNode } from '../support/coordinator.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { withCode } from '../support/node-calls.ts';
import { manifestPath, staticPodFiles } from '../support/static-pod-child.ts';
import { StaticPodKubelet } from '../support/static-pod-kubelet.ts';
import { kubeBinary, needTool, repositoryRoot, run } from '../support/tools.ts';

describe('a static pod’s manifest that is out when the agent is killed', function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(() => {
    folder = temporaryFolder('static-pod-crash');
    mkdirSync(join(folder, 'root/etc/kubernetes/manifests'), { recursive: true });
    writeFileSync(join(folder, 'root', manifestPath), 'kind: Pod\n', { mode: 0o600 });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  for (const point of staticPodFaultPoints) {
    it(`at ${point} is back after the next start`, async () => {
      const child = join(repositoryRoot, 'test/support/static-pod-child.ts');
      const { signal } = await run(process.execPath, [child, folder], { env: { EVERCERT_FAULT_POINT: point } });
      assert.equal(signal, 'SIGKILL', 'the child did not pass the point');
      const files = staticPodFiles(folder);
      await files.recover();
      assert.equal(readFileSync(join(folder, 'root', manifestPath), 'utf8'), 'kind: Pod\n');
      assert.deepEqual(readdirSync(join(folder, 'root/etc/kubernetes/manifests')), ['kube-apiserver.yaml']);
      const away = join(folder, 'root/etc/kubernetes/.evercert-static-pods');
      assert.deepEqual(existsSync(away) ? readdirSync(away) : [], []);
      assert.deepEqual(await files.recover(), []);
    });
  }
});

describe('kube-apiserver as a static pod', function () {
  this.timeout(180_000);
  const nodeName = 'cp-1';
  const pod = 'kube-apiserver.yaml';
  let folder: string;
  let coordinator: TestCoordinator;
  let etcd: SupervisedProcess;
  let kubelet: StaticPodKubelet;
  let other: TestNode;
  let port: number;
  let ended: Promise<void>;
  const abort = new AbortController();

  before(async function () {
    const etcdBinary = needTool(this, 'etcd');
    const apiServer = needTool(this, 'kube-apiserver', kubeBinary);
    folder = temporaryFolder('static-pod');
    const taken = new Set<number>();
    const freshPort = (): Promise<number> => freePort('127.0.0.1', Math.random, taken);
    port = await freshPort();
    const etcdUrl = `http://127.0.0.1:${await freshPort()}`;
    etcd = await startEtcd(etcdBinary, etcdUrl, `http://127.0.0.1:${await freshPort()}`);
    coordinator = await startTestCoordinator();
    const { admin } = coordinator;
    const spec = ClusterSpec.fromPartial({ leafLifetimeSeconds: 3600, layout: 'kubeadm' });
    await unary(admin.createCluster.bind(admin), { name: 'demo', spec }, deadline);
    await unary(
      admin.apply.bind(admin),
      { cluster: 'demo', documents: [{ source: 'test.yaml', yaml: manifests() }], dryRun: false },
      deadline,
    );
    mkdirSync(root('/etc/kubernetes/manifests'), { recursive: true });
    kubelet = new StaticPodKubelet({ folder: root('/etc/kubernetes/manifests'), logFolder: folder, checkMs: 500 });
    other = await enroll(coordinator, { token: await createToken(coordinator, 'demo', { nodeName: 'cp-2' }), name: 'cp-2' });
    await startAgent();
    await until('the certificates', 30_000, async () => {
      const { certificates = [], keyPairs = [] } = (await status()) ?? {};
      return certificates.length > 8 && [...certificates, ...keyPairs].every(({ state }) => state === 'Ready');
    });
    writeFileSync(root(manifestPath), podManifest(apiServer, etcdUrl));
    kubelet.start();
    await untilServed();
  });

  after(async () => {
    abort.abort();
    await ended;
    await kubelet?.stop();
    await etcd?.stop();
    other?.client.close();
    await coordinator?.dispose();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const root = (path: string): string => join(folder, 'root', path);

  async function startEtcd(binary: string, client: string, peer: string): Promise<SupervisedProcess> {
    const args = [
      `--data-dir=${join(folder, 'etcd')}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
    ];
    const logPath = join(folder, 'etcd.log');
    const process = new SupervisedProcess(
      { name: 'etcd', command: binary, args, cwd: folder, logPath, graceMs: 5000, autoRestart: false },
      systemClock,
      () => undefined,
    );
    await process.start();
    return process;
  }

  /** As the shipped set for static pods says it, with this test's port; and restarted for each renewal, although kube-apiserver would read it by itself within a minute. */
  function manifests(): string {
    return `
apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: apiserver }
spec:
  selector: { role: control-plane }
  issuer: cluster-ca
  subject: { commonName: kube-apiserver }
  dnsNames: ["{{ node.name }}", kubernetes]
  ipAddresses: ["{{ cluster.serviceIP }}", "{{ node.address }}"]
  usages: [digital signature, server auth]
  files: { certificate: /etc/kubernetes/pki/apiserver.crt, privateKey: /etc/kubernetes/pki/apiserver.key }
  verify: "tls://{{ node.address }}:${port}"
  reload:
    staticPod: { manifest: ${manifestPath}, watch: "https://{{ node.address }}:${port}/readyz", timeout: 60s }
    oneAtATime: true
---
apiVersion: evercert.io/v1
kind: TrustBundleManifest
metadata: { name: cluster-ca }
spec:
  issuer: cluster-ca
  file: /etc/kubernetes/pki/ca.crt
  verify: "tls://{{ node.address }}:${port}"
`;
  }

  function podManifest(binary: string, etcdUrl: string): string {
    const pki = (name: string): string => root(`/etc/kubernetes/pki/${name}`);
    const command = [
      binary,
      `--etcd-servers=${etcdUrl}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${port}`,
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/12',
      `--cert-dir=${join(folder, 'generated')}`,
      `--tls-cert-file=${pki('apiserver.crt')}`,
      `--tls-private-key-file=${pki('apiserver.key')}`,
      `--client-ca-file=${pki('ca.crt')}`,
      `--requestheader-client-ca-file=${pki('front-proxy-ca.crt')}`,
      `--service-account-key-file=${pki('sa.pub')}`,
      `--service-account-signing-key-file=${pki('sa.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--authorization-mode=Node,RBAC',
    ];
    return stringify({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'kube-apiserver', namespace: 'kube-system' },
      spec: { hostNetwork: true, containers: [{ name: 'kube-apiserver', command }] },
    });
  }

  async function startAgent(): Promise<void> {
    const token = await createToken(coordinator, 'demo', { nodeName, addresses: ['127.0.0.1'] });
    const config = agentConfigSchema.parse({
      coordinator: { endpoints: [coordinator.address], caPins: [publicKeyPin(coordinator.anchors[0]!)] },
      node: { name: nodeName },
      token,
      stateDir: join(folder, 'agent'),
      rootDir: join(folder, 'root'),
      statusSocket: join(folder, 'agent.sock'),
      scanInterval: '1s',
      staticPods: { fileCheckPeriod: '1s' },
    });
    const rest = { clock: systemClock, random: Math.random, logger: silentLogger, env: process.env, pid: process.pid };
    ended = new Agent({ config, ...rest, onReady: () => {}, onStatus: () => {} }).run(abort.signal);
  }

  async function status(): Promise<AgentStatus | undefined> {
    try {
      return await fetchStatus(join(folder, 'agent.sock'));
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  }

  const apiserver = async () => (await status())?.certificates.find(({ name }) => name === 'apiserver');
  const untilServed = (): Promise<void> => until('it to be served', 90_000, async () => (await apiserver())?.served === 'Served', 100);
  const renew = async (): Promise<void> => {
    const { admin } = coordinator;
    const before = (await apiserver())?.serial;
    await unary(
      admin.renewCertificates.bind(admin),
      { cluster: 'demo', node: nodeName, certificates: ['apiserver'], reason: 'test' },
      deadline,
    );
    await until('another certificate', 20_000, async () => {
      const now = await apiserver();
      return now?.state === 'Ready' && now.serial !== before;
    });
  };
  const events = async (): Promise<string[]> => {
    const { admin } = coordinator;
    const request = { cluster: 'demo', node: '', certificate: '', reason: '', renewalLog: false, pageSize: 1000, pageToken: '' };
    return (await unary(admin.listEvents.bind(admin), request, deadline)).events.map(({ reason }) => reason);
  };
  const node = async (): Promise<Node | undefined> => {
    const { admin } = coordinator;
    return (await unary(admin.listNodes.bind(admin), { cluster: 'demo', name: nodeName }, deadline)).nodes[0];
  };

  it('names the CAs of the bundle to its clients, as node and coordinator tell', async () => {
    await until(
      'the bundle to be seen',
      20_000,
      async () => (await status())?.bundles.find(({ name }) => name === 'cluster-ca')?.served === 'Served',
    );
    let seen: NodeCondition | undefined;
    const serving = async (): Promise<boolean> => {
      seen = (await node())?.status?.conditions.find(({ type }) => type === 'ComponentsServing');
      return seen?.status === 'True';
    };
    await until('the condition', 15_000, serving).catch((error: unknown) => assert.fail(`${String(error)}: ${JSON.stringify(seen)}`));
  });

  it('is started anew for a renewed certificate, under the lease, and serves it', async () => {
    const starts = kubelet.starts.get(pod) ?? 0;
    const pid = kubelet.pid(pod);
    await renew();
    await until('the restart', 60_000, () => kubelet.starts.get(pod) === starts + 1);
    await untilServed();
    assert.notEqual(kubelet.pid(pod), pid);
    assert.deepEqual(readdirSync(root('/etc/kubernetes/manifests')), [pod]);
    await until('the lease to be given back', 10_000, async () => (await events()).includes('RestartLeaseReleased'));
    assert.ok((await events()).includes('RestartLeaseAcquired'));
  });

  it('waits while another node of the control plane restarts', async () => {
    const lease = (duration: { seconds: number; nanos: number } | undefined) =>
      unary(other.client.acquireRestartLease.bind(other.client), { component: 'kube-apiserver', duration }, deadline);
    await lease({ seconds: 120, nanos: 0 });
    const starts = kubelet.starts.get(pod) ?? 0;
    await renew();
    await until('it to be told to wait', 20_000, async () => (await events()).includes('RestartDeferred'));
    await systemClock.sleep(1500);
    assert.equal(kubelet.starts.get(pod), starts);
    assert.notEqual((await apiserver())?.served, 'Served');
    await unary(other.client.releaseRestartLease.bind(other.client), { serving: true }, deadline);
    await until('the restart', 60_000, () => kubelet.starts.get(pod) === starts + 1);
    await assert.rejects(lease({ seconds: 120, nanos: 0 }), withCode('Conflict'));
    await untilServed();
  });

  it('is not restarted for a lease that a worker asks for: none gets one', async () => {
    const token = await createToken(coordinator, 'demo', { nodeName: 'worker-1', role: 2 });
    const worker = await enroll(coordinator, { token, name: 'worker-1' });
    const request = { component: 'kube-apiserver', duration: { seconds: 60, nanos: 0 } };
    await assert.rejects(unary(worker.client.acquireRestartLease.bind(worker.client), request, deadline), withCode('PermissionDenied'));
    worker.client.close();
  });
});
