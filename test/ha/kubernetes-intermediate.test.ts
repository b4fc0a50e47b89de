import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { detachedJws, readInfo } from '@evercert/coordinator/kubernetes';
import { type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { type CertificateAuthorityRotation, CreateTokenRequest, ImportClusterRequest, Role } from '@evercert/proto';
import {
  certificatesFromPem,
  certificatesToPem,
  createCsr,
  generateKeyPair,
  privateKeyToPem,
  publicKeyPin,
  toPem,
} from '@evercert/shared/x509';
import { stringify } from 'yaml';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { evercert, offlinePassphrase } from '../support/rotating-ca.ts';
import { kubeBinary, needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const infoPath = '/api/v1/namespaces/kube-public/configmaps/cluster-info';
const requestsPath = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
const kubeadmGroup = 'system:bootstrappers:kubeadm:default-node-token';

describe('a real API server whose cluster CA goes under an offline root', function () {
  this.timeout(300_000);
  let kubeadm: string;
  let kubernetes: TestKubernetes;
  let cluster: LocalCluster;
  let runDir: string;
  let oldRoot: Buffer;
  let root: Buffer;
  let token: string;
  const client = { chain: '', key: '' };
  let old: typeof client;

  const rotation = async (): Promise<CertificateAuthorityRotation> => {
    const api = await cluster.admin();
    const { rotations } = await api.call(api.client.listCertificateAuthorityRotations, { cluster: 'demo', id: '', all: true });
    return rotations[0]!;
  };
  const untilStage = async (...stages: string[]): Promise<void> => {
    await until(`the rotation to be ${stages.join(' or ')}`, 60_000, async () => {
      const { stage, lastError } = await rotation();
      assert.equal(lastError, '');
      return stages.includes(stage);
    });
  };
  const info = async (): Promise<Record<string, string>> => (await kubernetes.send('GET', infoPath)).body.data ?? {};
  const clientCas = (): string => join(kubernetes.folder, 'client-ca.crt');
  /** Who kube-apiserver takes a client for; undefined: for nobody. */
  const userOf = (cert: string, key: string): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const call = request(
        `${kubernetes.server}/api/v1/nodes`,
        { ca: readFileSync(kubernetes.pki.caFile), cert, key, agent: false },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => resolve(/User \\"([^"\\]+)\\"/.exec(Buffer.concat(chunks).toString())?.[1]));
        },
      );
      call.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve(undefined) : reject(error)));
      call.end();
    });
  /** What a CertificateSigningRequest that somebody approves is answered with. */
  const requested = async (name: string): Promise<typeof client> => {
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const csr = toPem('CERTIFICATE REQUEST', await createCsr({ privateKey, commonName: name, organizations: ['team-a'] }));
    const spec = {
      request: Buffer.from(csr).toString('base64'),
      signerName: 'kubernetes.io/kube-apiserver-client',
      usages: ['digital signature', 'client auth'],
    };
    const object = { apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', metadata: { name }, spec };
    const made = await kubernetes.ok('POST', requestsPath, object);
    const condition = { type: 'Approved', status: 'True', reason: 'Test', message: 'by the test' };
    await kubernetes.ok('PUT', `${requestsPath}/${name}/approval`, { ...made, status: { conditions: [condition] } });
    let chain = '';
    await until(`the certificate of ${name}`, 20_000, async () => {
      const { status } = await kubernetes.ok('GET', `${requestsPath}/${name}`);
      chain = Buffer.from(status?.certificate ?? '', 'base64').toString();
      return chain !== '';
    });
    return { chain, key: privateKeyToPem(privateKey) };
  };
  /** As far as kubeadm comes without a container runtime. */
  const preflight = (caHash: string): Promise<RunResult> => {
    const config = join(runDir, 'join.yaml');
    const discovery = {
      bootstrapToken: { apiServerEndpoint: new URL(kubernetes.server).host, token, caCertHashes: [caHash] },
      timeout: '20s',
    };
    const nodeRegistration = { name: 'worker-1' };
    writeFileSync(config, stringify({ apiVersion: 'kubeadm.k8s.io/v1beta2', kind: 'JoinConfiguration', discovery, nodeRegistration }));
    return run(kubeadm, ['join', 'phase', 'preflight', '--config', config, '--ignore-preflight-errors=all', '--v=5'], {
      timeoutMs: 90_000,
    });
  };

  before(async function () {
    kubeadm = needTool(this, 'kubeadm', kubeBinary);
    kubernetes = await startKubernetes(needKubernetes(this));
    for (const file of ['bridge-rbac.yaml', 'bootstrap-rbac.yaml'])
      await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes', file), 'utf8'));
    runDir = temporaryFolder('kubernetes-intermediate');
    const kubeconfig = await kubernetes.kubeconfigFor('bridge', { commonName: 'evercert:bridge' });
    const bridge = { kubeconfig, bootstrapTokens: true, signers: true, requestTimeout: '5s' };
    cluster = await prepareLocalCluster({
      runDir,
      controlPlanes: 1,
      workers: 0,
      autoRestart: false,
      coordinatorConfig: { kubernetes: { demo: bridge } },
    });
    await cluster.coordinator.start();
    const api = await cluster.admin();
    const certificatesPem = readFileSync(kubernetes.pki.caFile, 'utf8');
    const authority = {
      name: 'cluster-ca',
      certificatesPem,
      privateKeyPem: readFileSync(kubernetes.pki.caKeyFile, 'utf8'),
      source: 'ca.crt',
    };
    const spec = { controlPlaneEndpoint: new URL(kubernetes.server).host, keyAlgorithm: 'ecdsa-p384', layout: 'kubeadm' };
    await api.call(api.client.importCluster, ImportClusterRequest.fromPartial({ name: 'demo', spec, authorities: [authority] }));
    [oldRoot] = certificatesFromPem(certificatesPem) as [Buffer];
    const order = {
      cluster: 'demo',
      role: Role.WORKER,
      maxUses: 0,
      kubernetes: true,
      kubernetesGroups: [kubeadmGroup],
      lifetime: { seconds: 3600, nanos: 0 },
    };
    ({ token } = await api.call(api.client.createToken, CreateTokenRequest.fromPartial(order)));
    // Nobody renews it here: the rotation waits for its end.
    old = await requested('bob');
  });

  after(async () => {
    await cluster?.stop();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  it('waits for what the offline root signs, and goes on with it', async () => {
    const api = await cluster.admin();
    const order = {
      cluster: 'demo',
      certificateAuthorities: ['cluster-ca'],
      reason: 'requested',
      note: '',
      keyAlgorithm: '',
      intermediate: true,
    };
    await api.call(api.client.rotateCertificateAuthority, { ...order, deadline: undefined, dryRun: false });
    await untilStage('AwaitingCertificate');
    const { id, requestPem } = await rotation();
    writeFileSync(join(runDir, 'passphrase'), offlinePassphrase, { mode: 0o600 });
    writeFileSync(join(runDir, 'ca.csr'), requestPem);
    const passphrase = ['--passphrase-file', 'passphrase'];
    await evercert(runDir, 'ca', 'init-root', '--out', 'root', '--common-name', 'demo cluster-ca root', ...passphrase);
    const signer = ['--root-certificate', 'root/root.crt', '--root-key', 'root/root.key'];
    await evercert(runDir, 'ca', 'sign-request', ...signer, '--request', 'ca.csr', '--out', 'ca.pem', '--yes', ...passphrase);
    [root] = certificatesFromPem(readFileSync(join(runDir, 'root/root.crt'))) as [Buffer];
    // What the agents of its nodes would do with the bundle.
    appendFileSync(clientCas(), certificatesToPem([root]));
    const chainPem = readFileSync(join(runDir, 'ca.pem'), 'utf8');
    await api.call(api.client.installCertificateAuthorityCertificate, { id, chainPem });
    await untilStage('Reissuing');
    assert.match((await rotation()).waitingFor, /bob\.csr/);
  });

  it('has both roots in cluster-info, signed for each token', async () => {
    const data = await info();
    assert.deepEqual(readInfo(data)?.authorities, [oldRoot, root]);
    const [id = '', secret = ''] = token.split('.');
    assert.equal(data[`jws-kubeconfig-${id}`], detachedJws({ id, secret }, data['kubeconfig'] ?? ''));
  });

  it('is found by the real kubeadm with the pin of either root, and not with that of the intermediate', async () => {
    const [intermediate] = certificatesFromPem(readFileSync(join(runDir, 'ca.pem'))) as [Buffer];
    for (const der of [oldRoot, root]) {
      const { stdout, stderr } = await preflight(publicKeyPin(der));
      assert.match(stdout + stderr, /Cluster info signature and contents are valid and TLS certificate validates against pinned roots/);
    }
    const { stdout, stderr } = await preflight(publicKeyPin(intermediate));
    assert.match(stdout + stderr, /none of the public keys/);
  });

  it('answers CertificateSigningRequests with the leaf and the intermediate', async () => {
    Object.assign(client, await requested('alice'));
    assert.equal(certificatesFromPem(client.chain).length, 2);
  });

  it('knows a client by its chain once it has read its client CAs again, and not by the leaf alone', async () => {
    await until('kube-apiserver to know alice', 90_000, async () => (await userOf(client.chain, client.key)) === 'alice');
    const [leaf] = certificatesFromPem(client.chain) as [Buffer];
    assert.equal(await userOf(certificatesToPem([leaf]), client.key), undefined);
  });

  it('knows the clients of the old key all the while', async () => {
    assert.equal(certificatesFromPem(old.chain).length, 1);
    assert.equal(await userOf(old.chain, old.key), 'bob');
  });
});
