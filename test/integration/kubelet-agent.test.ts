/** A real kubelet that the agent brings in with its own join: no bootstrap kubeconfig, and no certificate manager of its own. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { freePort } from '@evercert/local';
import { ClusterSpec, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { publicKeyPin } from '@evercert/shared/x509';
import { parse } from 'yaml';
import { createToken, deadline, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { needKubelet, TestKubelet } from '../support/kubelet.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { temporaryFolder, until } from '../support/live.ts';

const node = 'worker-1';
const lifeSeconds = 30;

describe('a kubelet that the agent brings in', function () {
  this.timeout(180_000);
  let folder: string;
  let coordinator: TestCoordinator;
  let kubernetes: TestKubernetes;
  let kubelet: TestKubelet;
  let supervised: Promise<void>;
  let ended: Promise<void>;
  const abort = new AbortController();
  let stopping = false;

  before(async function () {
    const binaries = needKubernetes(this);
    const binary = needKubelet(this);
    folder = temporaryFolder('kubelet-agent');
    mkdirSync(path('kubelet'), { mode: 0o700 });
    coordinator = await startTestCoordinator();
    const { admin } = coordinator;
    const allowedPaths = ['/etc/kubernetes', '/var/lib/kubelet/pki', folder];
    const spec = ClusterSpec.fromPartial({ leafLifetimeSeconds: lifeSeconds, allowedPaths, layout: 'kubeadm' });
    await unary(admin.createCluster.bind(admin), { name: 'demo', spec }, deadline);
    const { certificateAuthorities } = await unary(admin.listCertificateAuthorities.bind(admin), { cluster: 'demo' }, deadline);
    const clientCas = certificateAuthorities.find(({ name }) => name === 'cluster-ca')?.certificatePem ?? '';
    kubernetes = await startKubernetes(binaries, { clientCas });
    const port = await freePort('127.0.0.1', Math.random, new Set());
    const documents = [{ source: 'test.yaml', yaml: manifests(port, kubernetes.server) }];
    await unary(admin.apply.bind(admin), { cluster: 'demo', documents, dryRun: false }, deadline);
    const options = {
      ...binary,
      name: node,
      folder: path('kubelet'),
      clientCaFile: path('pki/ca.crt'),
      kubeconfig: path('kubelet.conf'),
      certDir: path('kubelet-pki'),
      config: {
        rotateCertificates: false,
        serverTLSBootstrap: false,
        tlsCertFile: path('kubelet-pki/kubelet-server-current.pem'),
        tlsPrivateKeyFile: path('kubelet-pki/kubelet-server-current.pem'),
      },
    };
    kubelet = new TestKubelet(options, port);
    const token = await createToken(coordinator, 'demo', { nodeName: node, role: Role.WORKER, addresses: [binary.address] });
    const config = agentConfigSchema.parse({
      coordinator: { endpoints: [coordinator.address], caPins: [publicKeyPin(coordinator.anchors[0]!)] },
      node: { name: node },
      token,
      stateDir: path('agent'),
      allowedPaths: [folder],
      statusSocket: path('agent.sock'),
      scanInterval: '1s',
    });
    const rest = { clock: systemClock, random: Math.random, logger: silentLogger, env: process.env, pid: process.pid };
    ended = new Agent({ config, ...rest, onReady: () => {}, onStatus: () => {} }).run(abort.signal);
  });

  after(async () => {
    stopping = true;
    abort.abort();
    await ended;
    await kubelet?.stop();
    await supervised;
    await kubernetes?.stop();
    await coordinator?.dispose();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  });

  const path = (name: string): string => join(folder, name);
  const certificate = (kind: 'client' | 'server'): X509Certificate =>
    new X509Certificate(readFileSync(path(`kubelet-pki/kubelet-${kind}-current.pem`)));

  /** The cluster's own, with other folders, and with a signal to a service that starts anew in place of `systemctl try-restart kubelet.service`. */
  function manifests(port: number, server: string): string {
    const reload = `reload: { signal: { pidFile: ${path('kubelet.pid')}, signal: SIGTERM }, component: kubelet }`;
    const subject = '{ commonName: "system:node:{{ node.name }}", organizations: ["system:nodes"] }';
    const document = (kind: string, name: string, spec: string): string =>
      `---\napiVersion: evercert.io/v1\nkind: ${kind}\nmetadata: { name: ${name} }\nspec:\n${spec}`;
    return [
      document(
        'TrustBundleManifest',
        'cluster-ca',
        `  issuer: cluster-ca\n  file: ${path('pki/ca.crt')}\n  verify: tls://127.0.0.1:${port}\n`,
      ),
      document(
        'CertificateManifest',
        'kubelet-client',
        `  issuer: cluster-ca
  subject: ${subject}
  usages: [digital signature, client auth]
  outputs:
    - combined: { path: ${path('kubelet-pki/kubelet-client-current.pem')}, dated: true }
    - kubeconfig:
        path: ${path('kubelet.conf')}
        server: "${server}"
        certificate: ${path('kubelet-pki/kubelet-client-current.pem')}
        privateKey: ${path('kubelet-pki/kubelet-client-current.pem')}
        certificateAuthority: ${path('api-server-ca.crt')}
  ${reload}
`,
      ),
      document(
        'CertificateManifest',
        'kubelet-serving',
        `  issuer: cluster-ca
  subject: ${subject}
  dnsNames: ["{{ node.name }}"]
  ipAddresses: ["{{ node.addresses }}"]
  usages: [digital signature, server auth]
  outputs:
    - combined: { path: ${path('kubelet-pki/kubelet-server-current.pem')}, dated: true }
  ${reload}
  verify: tls://127.0.0.1:${port}
`,
      ),
    ].join('');
  }

  async function status(): Promise<AgentStatus | undefined> {
    try {
      return await fetchStatus(path('agent.sock'));
    } catch (error) {
      if (error instanceof EvercertError) return undefined;
      throw error;
    }
  }

  /** As a service manager: started anew whenever it ends. */
  async function supervise(): Promise<void> {
    while (!stopping) {
      writeFileSync(path('kubelet.pid'), String(kubelet.process.pid));
      await kubelet.process.waitForExit(600_000);
      if (!stopping) await kubelet.start();
    }
  }

  async function untilKubelet(what: string, timeoutMs: number, condition: () => boolean | Promise<boolean>): Promise<void> {
    await until(what, timeoutMs, condition, 200).catch((error: unknown) => {
      throw new Error(`${String(error)}; kubelet's last words:\n${kubelet.lastLines()}`, { cause: error });
    });
  }

  const leaseTime = async (): Promise<string> => {
    const { body } = await kubernetes.send('GET', `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${node}`);
    return body?.spec?.renewTime ?? '';
  };

  it('finds its files as its own certificate manager would name them, and no bootstrap kubeconfig', async () => {
    await until('the certificates', 30_000, async () => {
      const { certificates = [] } = (await status()) ?? {};
      return certificates.length === 2 && certificates.every(({ state }) => state === 'Ready');
    });
    for (const kind of ['client', 'server']) {
      const link = path(`kubelet-pki/kubelet-${kind}-current.pem`);
      assert.ok(lstatSync(link).isSymbolicLink());
      assert.match(readlinkSync(link), new RegExp(`^kubelet-${kind}-\\d{4}(-\\d{2}){5}\\.pem$`));
      assert.equal(statSync(link).mode & 0o777, 0o600);
      assert.match(readFileSync(link, 'utf8'), /^-----BEGIN CERTIFICATE-----[\s\S]+-----BEGIN PRIVATE KEY-----/);
    }
    assert.equal(certificate('client').subject, `O=system:nodes\nCN=system:node:${node}`);
    const { users } = parse(readFileSync(path('kubelet.conf'), 'utf8'));
    assert.equal(users[0].user['client-certificate'], path('kubelet-pki/kubelet-client-current.pem'));
    assert.deepEqual(
      readdirSync(path('pki')).filter((name) => !name.startsWith('.')),
      ['ca.crt'],
    );
  });

  it('is accepted as its node, and registers it', async () => {
    // The test's API server has a CA of its own for its serving certificate.
    writeFileSync(path('api-server-ca.crt'), readFileSync(kubernetes.pki.caFile));
    await kubelet.start();
    supervised = supervise();
    await untilKubelet('the node', 60_000, async () => (await kubernetes.send('GET', `/api/v1/nodes/${node}`)).status === 200);
    await untilKubelet('its lease', 30_000, async () => (await leaseTime()) !== '');
  });

  it('takes up each renewed certificate by the reload, and is heard after the first has ended', async () => {
    const first = certificate('client');
    const pid = kubelet.process.pid;
    await untilKubelet('the renewal', lifeSeconds * 1000, () => certificate('client').serialNumber !== first.serialNumber);
    await untilKubelet('a new process', 20_000, () => kubelet.process.pid !== undefined && kubelet.process.pid !== pid);
    await untilKubelet(
      'the end of the first certificate',
      lifeSeconds * 1000,
      () => systemClock.nowMs() > Date.parse(first.validTo) + 1000,
    );
    const before = await leaseTime();
    await untilKubelet('its lease to be renewed', 30_000, async () => (await leaseTime()) > before);
    assert.doesNotMatch(kubelet.lastLines(200), /certificate has expired/);
  });

  it('serves what was renewed, to clients of the cluster’s CA, as the agent sees', async () => {
    await untilKubelet('the agent to see it', 40_000, async () => {
      const seen = await status();
      const serving = seen?.certificates.find(({ name }) => name === 'kubelet-serving');
      return serving?.served === 'Served' && seen?.bundles[0]?.served === 'Served';
    });
  });
});
