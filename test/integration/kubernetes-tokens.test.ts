import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { detachedJws } from '@evercert/coordinator/kubernetes';
import { type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { ClusterSpec, CreateTokenRequest, ImportClusterRequest, Role, type Token } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { publicKeyPin } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';
import { enroll } from '../support/coordinator.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { kubeBinary, needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercertBinary = join(repositoryRoot, 'cli', 'bin', 'evercert');
const secrets = '/api/v1/namespaces/kube-system/secrets';
const infoPath = '/api/v1/namespaces/kube-public/configmaps/cluster-info';
const kubeadmGroup = 'system:bootstrappers:kubeadm:default-node-token';

describe('bootstrap tokens of an API server', function () {
  this.timeout(240_000);
  let kubeadm: string;
  let kubernetes: TestKubernetes;
  let cluster: LocalCluster;
  let runDir: string;
  let pin: string;
  let endpoint: string;

  before(async function () {
    kubeadm = needTool(this, 'kubeadm', kubeBinary);
    kubernetes = await startKubernetes(needKubernetes(this));
    const { host } = new URL(kubernetes.server);
    endpoint = host;
    for (const file of ['bridge-rbac.yaml', 'bootstrap-rbac.yaml'])
      await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes', file), 'utf8'));
    await kubernetes.create(kubeadmConfiguration(endpoint));
    runDir = temporaryFolder('kubernetes-tokens');
    cluster = await coordinatorOf(kubernetes, runDir);
    pin = publicKeyPin(new X509Certificate(readFileSync(kubernetes.pki.caFile)).raw);
  });

  after(async () => {
    await cluster?.stop();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  const evercert = (...args: string[]): Promise<RunResult> =>
    run(evercertBinary, [...args, '-c', 'demo'], {
      env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml'), HOME: runDir },
    });
  const create = async (...args: string[]): Promise<string> => {
    const { status, stdout, stderr } = await evercert('token', 'create', '--role', 'worker', '--kubernetes', ...args);
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  const tokens = async (): Promise<Token[]> => {
    const api = await cluster.admin();
    return (await api.call(api.client.listTokens, { cluster: 'demo' })).tokens;
  };
  const idOf = (token: string): string => token.slice(0, 6);
  // biome-ignore lint/suspicious/noExplicitAny: as the server tells it.
  const secretOf = async (id: string): Promise<any> => {
    const { status, body } = await kubernetes.send('GET', `${secrets}/bootstrap-token-${id}`);
    return status === 404 ? undefined : body;
  };
  const untilGone = async (id: string): Promise<void> => {
    await until(`the Secret of ${id} to be gone`, 30_000, async () => (await secretOf(id)) === undefined);
    await until(`the signature of ${id} to be gone`, 30_000, async () => (await signatureOf(id)) === undefined);
  };
  const info = async (): Promise<Record<string, string>> => (await kubernetes.send('GET', infoPath)).body.data ?? {};
  const signatureOf = async (id: string): Promise<string | undefined> => (await info())[`jws-kubeconfig-${id}`];
  const untilSigned = async (token: string): Promise<void> => {
    const [id = '', secret = ''] = token.split('.');
    const signed = async (): Promise<boolean> => {
      const data = await info();
      return data[`jws-kubeconfig-${id}`] === detachedJws({ id, secret }, data['kubeconfig'] ?? '');
    };
    await until(`cluster-info to be signed with ${id}`, 20_000, signed);
  };

  /** As far as kubeadm comes without a container runtime: it finds the cluster, trusts it, and reads its configuration as the token's user. */
  const preflight = (token: string, caHash: string, timeout = '20s'): Promise<RunResult> => {
    const config = join(runDir, 'join.yaml');
    const discovery = { bootstrapToken: { apiServerEndpoint: endpoint, token, caCertHashes: [caHash] }, timeout };
    const nodeRegistration = { name: 'worker-1' };
    writeFileSync(config, stringify({ apiVersion: 'kubeadm.k8s.io/v1beta2', kind: 'JoinConfiguration', discovery, nodeRegistration }));
    return run(kubeadm, ['join', 'phase', 'preflight', '--config', config, '--ignore-preflight-errors=all', '--v=5'], {
      timeoutMs: 90_000,
    });
  };

  it('are Secrets there when they are told, as Kubernetes wants them', async () => {
    const token = await create('--ttl', '2h', '--description', 'for a rack');
    const { type, data } = await secretOf(idOf(token));
    const text = Object.fromEntries(
      Object.entries(data as Record<string, string>).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]),
    );
    assert.equal(type, 'bootstrap.kubernetes.io/token');
    const { expiration = '', ...rest } = text;
    assert.deepEqual(rest, {
      'token-id': idOf(token),
      'token-secret': token.slice(7),
      'usage-bootstrap-authentication': 'true',
      'usage-bootstrap-signing': 'true',
      'auth-extra-groups': kubeadmGroup,
      description: 'for a rack',
    });
    assert.match(expiration, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.ok(Math.abs(Date.parse(expiration) - Date.now() - 7_200_000) < 60_000, expiration);
    const [shown] = (await tokens()).filter(({ id }) => id === idOf(token));
    assert.deepEqual([shown?.kubernetes, shown?.kubernetesGroups], [true, [kubeadmGroup]]);
    // Groups are the admin's choice.
    const other = await create('--groups', 'system:bootstrappers:a', 'system:bootstrappers:b');
    const groups = (await secretOf(idOf(other))).data['auth-extra-groups'];
    assert.equal(Buffer.from(groups, 'base64').toString(), 'system:bootstrappers:a,system:bootstrappers:b');
    const wrong = await evercert('token', 'create', '--role', 'worker', '--kubernetes', '--groups', 'system:masters');
    assert.equal(wrong.status, 2, wrong.stderr);
  });

  it('are kept by the coordinator as a hash alone', async () => {
    const token = await create();
    const folders = [cluster.coordinator.dataDir, cluster.folder.logs];
    const files = folders.flatMap((folder) =>
      readdirSync(folder, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile()),
    );
    for (const { parentPath, name } of files) {
      const path = join(parentPath, name);
      assert.equal(readFileSync(path).includes(token.slice(7)), false, `${path} holds the token's secret`);
    }
  });

  it('sign cluster-info, which anybody may read', async () => {
    const token = await create();
    await untilSigned(token);
    const { data } = await anonymously(kubernetes, infoPath);
    const { clusters } = parse(data['kubeconfig']);
    assert.equal(clusters[0].cluster.server, kubernetes.server);
    assert.equal(
      Buffer.from(clusters[0].cluster['certificate-authority-data'], 'base64').toString().trim(),
      readFileSync(kubernetes.pki.caFile, 'utf8').trim(),
    );
    assert.equal(data[`jws-kubeconfig-${idOf(token)}`], await signatureOf(idOf(token)));
  });

  describe('with the real kubeadm', () => {
    it('a machine with nothing but token and pin finds the cluster, trusts it and is let in', async () => {
      const token = await create();
      await untilSigned(token);
      const { status, stderr, stdout } = await preflight(token, pin);
      const said = stdout + stderr;
      assert.match(said, /Requesting info from ".*" again to validate TLS against the pinned public key/);
      assert.match(said, /Cluster info signature and contents are valid and TLS certificate validates against pinned roots/);
      assert.match(said, /Reading configuration from the cluster/);
      assert.equal(status, 0, said);
    });

    it('a wrong pin is refused', async () => {
      const token = await create();
      await untilSigned(token);
      const { status, stderr, stdout } = await preflight(token, `sha256:${'0'.repeat(64)}`);
      assert.notEqual(status, 0);
      assert.match(stdout + stderr, /none of the public keys/);
    });

    it('a token that was deleted finds nothing', async () => {
      const token = await create();
      await untilSigned(token);
      assert.equal((await evercert('token', 'delete', token)).status, 0);
      assert.equal(await secretOf(idOf(token)), undefined, 'its Secret is gone when that is told');
      await untilGone(idOf(token));
      const { status, stderr, stdout } = await preflight(token, pin, '6s');
      assert.notEqual(status, 0);
      assert.match(stdout + stderr, /could not find a JWS signature|couldn't validate the identity|timed out/);
    });

    it('signs with tokens that kubeadm makes, and takes the signature back when kubeadm deletes them', async () => {
      const args = ['--kubeconfig', kubernetes.adminKubeconfig];
      const { stdout, stderr, status } = await run(kubeadm, ['token', 'create', ...args]);
      assert.equal(status, 0, stderr);
      const token = stdout.trim();
      await untilSigned(token);
      assert.equal((await preflight(token, pin)).status, 0);
      assert.equal(
        (await tokens()).some(({ id }) => id === idOf(token)),
        false,
      );
      assert.equal((await run(kubeadm, ['token', 'delete', idOf(token), ...args])).status, 0);
      await untilGone(idOf(token));
    });
  });

  it('go when they expire', async () => {
    const token = await create('--ttl', '4s');
    assert.ok(await secretOf(idOf(token)));
    await untilGone(idOf(token));
  });

  it('go when they are used up by agents', async () => {
    const token = await create('--uses', '1');
    const anchors = [new X509Certificate(readFileSync(join(cluster.coordinator.adminDir, 'ca.crt'))).raw];
    const node = await enroll({ address: cluster.coordinator.address, anchors }, { token, name: 'used-up', role: Role.WORKER });
    node.client.close();
    await untilGone(idOf(token));
    const api = await cluster.admin();
    const filter = {
      cluster: 'demo',
      node: '',
      certificate: '',
      reason: 'TokenSecretDeleted',
      renewalLog: false,
      pageSize: 10,
      pageToken: '',
    };
    const { events } = await api.call(api.client.listEvents, filter);
    assert.ok(events.some(({ message }) => message.includes(idOf(token)) && message.includes('used up')));
  });

  it('are not made where the API server refuses them, or is away', async () => {
    const before = (await tokens()).length;
    const role = '/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings/evercert-bootstrap-tokens';
    const binding = await kubernetes.ok('GET', role);
    await kubernetes.ok('DELETE', role);
    const refused = await evercert('token', 'create', '--role', 'worker', '--kubernetes');
    assert.equal(refused.status, 6, refused.stderr);
    assert.match(refused.stderr, /did not take the token, and none was made: .*bridge-rbac\.yaml/);
    const { metadata, ...rest } = binding;
    await kubernetes.ok('POST', role.replace(/\/[^/]+$/, ''), { ...rest, metadata: { name: metadata.name } });
    const left = await create();
    await kubernetes.restartApiServer(async () => {
      const away = await evercert('token', 'create', '--role', 'worker', '--kubernetes');
      assert.equal(away.status, 7, away.stderr);
      const deleted = await evercert('token', 'delete', left);
      assert.equal(deleted.status, 7, deleted.stderr);
      assert.match(deleted.stderr, /is deleted, but its Secret at the API server is still there/);
      // Nobody remembers but the API server.
      await cluster.coordinator.stop();
      await cluster.coordinator.start();
    });
    await untilGone(idOf(left));
    assert.equal((await tokens()).length, before);
  });

  for (const point of ['coordinator.kubernetes.token-recorded', 'coordinator.kubernetes.token-written']) {
    it(`have a Secret only where there is a record, after a crash at ${point}`, async () => {
      await cluster.coordinator.stop();
      await cluster.coordinator.start({ EVERCERT_FAULT_POINT: point });
      const { status } = await evercert('token', 'create', '--role', 'worker', '--kubernetes');
      assert.notEqual(status, 0);
      assert.equal((await cluster.coordinator.process.waitForExit(20_000))?.signal, 'SIGKILL');
      await cluster.coordinator.start();
      const known = new Set((await tokens()).map(({ id }) => id));
      const { items } = await kubernetes.ok('GET', `${secrets}?fieldSelector=type=bootstrap.kubernetes.io/token`);
      for (const { metadata } of items) assert.ok(known.has(metadata.name.slice(-6)), `${metadata.name} has no token`);
      await untilSigned(await create());
    });
  }

  it('sign again whatever somebody changes in cluster-info, and what changes in the cluster', async () => {
    const token = await create();
    await untilSigned(token);
    await kubernetes.ok('PATCH', infoPath, {
      data: { kubeconfig: 'apiVersion: v1\nkind: Config\n', 'jws-kubeconfig-zzzzzz': 'x', mine: 'kept' },
    });
    await until('it to be put right', 20_000, async () => parse((await info())['kubeconfig'] ?? '')?.clusters?.length === 1);
    await untilSigned(token);
    assert.deepEqual([(await info())['mine'], await signatureOf('zzzzzz')], ['kept', undefined]);
    const api = await cluster.admin();
    const yaml = `apiVersion: evercert.io/v1\nkind: Cluster\nmetadata: { name: demo }\nspec: { controlPlaneEndpoint: "api.example:443" }\n`;
    await api.call(api.client.apply, { cluster: 'demo', documents: [{ source: 'c.yaml', yaml }], dryRun: false });
    await until('the new endpoint', 20_000, async () => (await info())['kubeconfig']?.includes('https://api.example:443') ?? false);
    await untilSigned(token);
    await kubernetes.ok('DELETE', infoPath);
    await untilSigned(token);
    const back = yaml.replace('api.example:443', endpoint);
    await api.call(api.client.apply, { cluster: 'demo', documents: [{ source: 'c.yaml', yaml: back }], dryRun: false });
    await until('the old endpoint', 20_000, async () => (await info())['kubeconfig']?.includes(kubernetes.server) ?? false);
  });

  it('say what is missing where there is no bridge', async () => {
    const api = await cluster.admin();
    await api.createCluster('other', ClusterSpec.fromPartial({}));
    const refused = await run(evercertBinary, ['token', 'create', '--role', 'worker', '--kubernetes', '-c', 'other'], {
      env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml'), HOME: runDir },
    });
    assert.equal(refused.status, 6);
    assert.match(refused.stderr, /no bridge to the API server of cluster other/);
  });
});

describe('bootstrap tokens beside those of kube-controller-manager', function () {
  this.timeout(240_000);
  let kubernetes: TestKubernetes;
  let cluster: LocalCluster;
  let runDir: string;

  before(async function () {
    kubernetes = await startKubernetes(needKubernetes(this), { controllers: ['bootstrapsigner', 'tokencleaner'] });
    await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes/bridge-rbac.yaml'), 'utf8'));
    runDir = temporaryFolder('kubernetes-tokens');
    cluster = await coordinatorOf(kubernetes, runDir);
  });

  after(async () => {
    await cluster?.stop();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  it('are signed alike: once it is written, nobody writes cluster-info again until something changes', async () => {
    const api = await cluster.admin();
    const create = async (seconds: number): Promise<string> => {
      const lifetime = { seconds, nanos: 0 };
      const order = { cluster: 'demo', role: Role.WORKER, maxUses: 0, kubernetes: true, lifetime };
      return (await api.call(api.client.createToken, CreateTokenRequest.fromPartial(order))).token;
    };
    // biome-ignore lint/suspicious/noExplicitAny: as the server tells it.
    const info = async (): Promise<any> => (await kubernetes.send('GET', infoPath)).body;
    const token = await create(3600);
    const short = await create(5);
    const signed = (one: string) => async (): Promise<boolean> => (await info()).data?.[`jws-kubeconfig-${one.slice(0, 6)}`] !== undefined;
    await until('both signatures', 20_000, async () => (await signed(token)()) && (await signed(short)()));
    await until('the short one to be gone', 30_000, async () => !(await signed(short)()));
    await until('its Secret to be gone', 30_000, async () => {
      const { items } = await kubernetes.ok('GET', `${secrets}?fieldSelector=type=bootstrap.kubernetes.io/token`);
      return items.length === 1;
    });
    const { metadata } = await info();
    await systemClock.sleep(3000);
    assert.equal((await info()).metadata.resourceVersion, metadata.resourceVersion);
    assert.equal((await api.call(api.client.listClusters, {})).clusters[0]?.kubernetes?.state, 'Connected');
  });
});

/** A coordinator with a bridge for tokens, and with the CA that the API server's own certificate comes from. */
async function coordinatorOf(kubernetes: TestKubernetes, runDir: string): Promise<LocalCluster> {
  const kubeconfig = await kubernetes.kubeconfigFor('bridge', { commonName: 'evercert:bridge' });
  const cluster = await prepareLocalCluster({
    runDir,
    controlPlanes: 1,
    workers: 0,
    autoRestart: false,
    coordinatorConfig: { kubernetes: { demo: { kubeconfig, bootstrapTokens: true, requestTimeout: '5s' } } },
  });
  await cluster.coordinator.start();
  const api = await cluster.admin();
  const certificatesPem = readFileSync(kubernetes.pki.caFile, 'utf8');
  const privateKeyPem = readFileSync(kubernetes.pki.caKeyFile, 'utf8');
  const authority = { name: 'cluster-ca', certificatesPem, privateKeyPem, source: 'ca.crt' };
  const spec = { controlPlaneEndpoint: new URL(kubernetes.server).host, keyAlgorithm: 'ecdsa-p384', layout: 'kubeadm' };
  await api.call(api.client.importCluster, ImportClusterRequest.fromPartial({ name: 'demo', spec, authorities: [authority] }));
  return cluster;
}

/** What `kubeadm join` reads after discovery, and what allows it to, as `kubeadm init` leaves it. */
function kubeadmConfiguration(endpoint: string): string {
  const clusterConfiguration = stringify({
    apiVersion: 'kubeadm.k8s.io/v1beta2',
    kind: 'ClusterConfiguration',
    kubernetesVersion: 'v1.20.2',
    controlPlaneEndpoint: endpoint,
    networking: { serviceSubnet: '10.96.0.0/16', dnsDomain: 'cluster.local' },
  });
  const kubeletConfiguration = stringify({ apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' });
  const proxyConfiguration = stringify({ apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' });
  const map = (name: string, data: Record<string, string>): object => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, namespace: 'kube-system' },
    data,
  });
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: { name: 'kubeadm:nodes-kubeadm-config', namespace: 'kube-system' },
    rules: [
      {
        apiGroups: [''],
        resources: ['configmaps'],
        resourceNames: ['kubeadm-config', 'kubelet-config-1.20', 'kube-proxy'],
        verbs: ['get'],
      },
    ],
  };
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: role.metadata,
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: role.metadata.name },
    subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: kubeadmGroup }],
  };
  const objects = [
    map('kubeadm-config', { ClusterConfiguration: clusterConfiguration, ClusterStatus: '' }),
    map('kubelet-config-1.20', { kubelet: kubeletConfiguration }),
    map('kube-proxy', { 'config.conf': proxyConfiguration }),
    role,
    binding,
  ];
  return objects.map((object) => stringify(object)).join('---\n');
}

// biome-ignore lint/suspicious/noExplicitAny: as the server tells it.
function anonymously(kubernetes: TestKubernetes, path: string): Promise<any> {
  return new Promise((resolve, reject) => {
    const call = request(kubernetes.server + path, { ca: readFileSync(kubernetes.pki.caFile) }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString())));
    });
    call.on('error', reject);
    call.end();
  });
}
