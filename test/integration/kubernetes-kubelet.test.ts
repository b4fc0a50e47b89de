import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect, type PeerCertificate } from 'node:tls';
import type { CertificateSigningRequest } from '@evercert/coordinator/kubernetes';
import { CreateTokenRequest, Role } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { allowBootstrapping, type Bridged, bootstrapGroups, startBridged } from '../support/bridge.ts';
import { requestsPath } from '../support/certificate-requests.ts';
import { deadline } from '../support/coordinator.ts';
import { needKubelet, startKubelet, type TestKubelet } from '../support/kubelet.ts';
import { needKubernetes, startKubernetes } from '../support/kubernetes.ts';
import { kubeconfigText } from '../support/kubernetes-pki.ts';
import { isFullRun } from '../support/kubernetes-run.ts';
import { serialOf, sharedKeys, until } from '../support/live.ts';

/**
 * `npm run test:kubernetes` sees two rotations; CI has time for one, in a life that nobody would choose: kubelet 1.20 asks for its next client certificate on the connection over which it asked for
 * the last, as long as that is not idle for 90 s, and so with the certificate before. Where that has ended meanwhile, the API server does not know it, and it bootstraps anew.
 */
const { lifeSeconds, rotations } = isFullRun ? { lifeSeconds: 160, rotations: 2 } : { lifeSeconds: 20, rotations: 1 };
/** kubelet renews at 70 to 90 % of the life. */
const enoughMs = rotations * lifeSeconds * 1000 + 40_000;
const node = 'worker-1';

describe('an unmodified kubelet with a bootstrap kubeconfig', function () {
  this.timeout(enoughMs + 120_000);
  let bridged: Bridged;
  let kubelet: TestKubelet;
  let bootstrapUser: string;

  before(async function () {
    const binaries = needKubernetes(this);
    const binary = needKubelet(this);
    bridged = await startBridged({
      kubernetes: (clusterCaPem) => startKubernetes(binaries, { clientCas: clusterCaPem }),
      spec: { leafLifetimeSeconds: lifeSeconds },
      bridge: { bootstrapTokens: true },
    });
    const { kubernetes, clusterCaPem, coordinator } = bridged;
    await allowBootstrapping(kubernetes);
    const order = CreateTokenRequest.fromPartial({
      cluster: 'demo',
      role: Role.WORKER,
      kubernetes: true,
      kubernetesGroups: bootstrapGroups.slice(1),
    });
    const { token } = await unary(coordinator.admin.createToken.bind(coordinator.admin), order, deadline);
    bootstrapUser = `system:bootstrap:${token.slice(0, 6)}`;
    const bootstrapKubeconfig = join(kubernetes.folder, 'bootstrap.conf');
    writeFileSync(bootstrapKubeconfig, kubeconfigText(kubernetes.server, kubernetes.pki.caFile, { token }), { mode: 0o600 });
    const clientCaFile = join(kubernetes.folder, 'cluster-ca.crt');
    writeFileSync(clientCaFile, clusterCaPem);
    const folder = join(kubernetes.folder, node);
    kubelet = await startKubelet({ ...binary, name: node, folder, clientCaFile, bootstrapKubeconfig });
  });

  after(async () => {
    await kubelet?.stop();
    await bridged?.coordinator.dispose();
    await bridged?.kubernetes.stop();
  });

  /** With what kubelet said, where it does not come about. */
  async function untilKubelet(what: string, timeoutMs: number, predicate: () => boolean | Promise<boolean>): Promise<void> {
    const told = async (): Promise<boolean> => {
      if (!kubelet.process.running) throw new Error('kubelet has ended');
      return await predicate();
    };
    await until(what, timeoutMs, told, 200).catch((error: unknown) => {
      throw new Error(`${String(error)}; kubelet's last words:\n${kubelet.lastLines()}`, { cause: error });
    });
  }

  const current = (kind: 'client' | 'server'): X509Certificate | undefined => {
    const path = join(kubelet.certDir, `kubelet-${kind}-current.pem`);
    return existsSync(path) ? new X509Certificate(readFileSync(path)) : undefined;
  };

  /** The certificates that it has had, by the files that it keeps. */
  const serials = (kind: 'client' | 'server'): string[] =>
    readdirSync(kubelet.certDir)
      .filter((name) => new RegExp(`^kubelet-${kind}-\\d`).test(name))
      .map((name) => serialOf(new X509Certificate(readFileSync(join(kubelet.certDir, name)))));

  async function requests(signer: string): Promise<CertificateSigningRequest[]> {
    const { items } = (await bridged.kubernetes.ok('GET', requestsPath)) as { items: CertificateSigningRequest[] };
    const created = (one: CertificateSigningRequest): string => one.metadata.creationTimestamp;
    return items.filter(({ spec }) => spec.signerName === signer).sort((a, b) => created(a).localeCompare(created(b)));
  }

  /** What its server shows to somebody who trusts the cluster's CA; undefined: it does not serve, or something else. */
  const served = (): Promise<PeerCertificate | undefined> =>
    new Promise((resolve) => {
      const options = { host: '127.0.0.1', port: kubelet.port, servername: node, ca: bridged.clusterCaPem };
      const socket = connect(options, () => {
        resolve(socket.getPeerCertificate());
        socket.destroy();
      });
      socket.on('error', () => resolve(undefined));
    });

  const serialText = ({ serialNumber }: PeerCertificate): string => serialNumber.toLowerCase().padStart(32, '0');

  it('gets its client certificate from the cluster’s CA, and registers its node with it', async () => {
    await untilKubelet('its client certificate', 60_000, () => current('client') !== undefined);
    const certificate = current('client') as X509Certificate;
    assert.ok(certificate.verify(new X509Certificate(bridged.clusterCaPem).publicKey));
    assert.equal(certificate.subject, `O=system:nodes\nCN=system:node:${node}`);
    await untilKubelet('its node', 30_000, async () => (await bridged.kubernetes.send('GET', `/api/v1/nodes/${node}`)).status === 200);
    assert.match(readFileSync(kubelet.kubeconfig, 'utf8'), /client-certificate: .*kubelet-client-current\.pem/);
  });

  it('gets its serving certificate for the addresses of its node, and serves with it', async () => {
    await untilKubelet('its serving certificate', 60_000, () => current('server') !== undefined);
    let shown: PeerCertificate | undefined;
    await untilKubelet('its server', 20_000, async () => {
      shown = await served();
      return shown !== undefined;
    });
    const { status } = await bridged.kubernetes.ok('GET', `/api/v1/nodes/${node}`);
    const address = status.addresses.find(({ type }: { type: string }) => type === 'InternalIP').address;
    assert.equal(shown?.subjectaltname, `DNS:${node}, IP Address:${address}`);
    assert.equal(shown?.subject.CN, `system:node:${node}`);
  });

  it(`rotates both${isFullRun ? ' twice' : ''} on its own, by its own identity`, async () => {
    const enough = 1 + rotations;
    await untilKubelet('the rotations of each', enoughMs, () => serials('client').length >= enough && serials('server').length >= enough);
    const client = await requests('kubernetes.io/kube-apiserver-client-kubelet');
    const [bootstrap, ...own] = client.slice(0, enough).map(({ spec }) => spec.username);
    assert.equal(bootstrap, bootstrapUser);
    const serving = (await requests('kubernetes.io/kubelet-serving')).map(({ spec }) => spec.username);
    assert.deepEqual([...new Set([...own, ...serving])], [`system:node:${node}`]);
    const last = serials('server').at(-1);
    await untilKubelet('its server to show the latest', 30_000, async () => {
      const shown = await served();
      return shown !== undefined && serials('server').indexOf(serialText(shown)) >= serials('server').indexOf(last ?? '');
    });
  });

  it('is still heard by the API server with what it has now', async () => {
    const path = `/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/${node}`;
    const renewed = async (): Promise<string> => (await bridged.kubernetes.send('GET', path)).body?.spec?.renewTime ?? '';
    const before = await renewed();
    await untilKubelet('its lease to be renewed', 30_000, async () => (await renewed()) > before);
  });

  it('leaves in the inventory exactly what it holds, each with a key of its own', async () => {
    const { recorded } = bridged;
    // It may be renewing at this very moment: what is there is recorded, and nothing was signed that it did not ask for.
    for (const [kind, name, signer] of [
      ['client', 'kubelet-client.csr', 'kubernetes.io/kube-apiserver-client-kubelet'],
      ['server', 'kubelet-serving.csr', 'kubernetes.io/kubelet-serving'],
    ] as const) {
      const held = serials(kind);
      const records = await recorded({ node, name });
      assert.deepEqual(
        held.filter((serial) => !records.some((record) => record.serial === serial)),
        [],
      );
      assert.ok(records.length <= (await requests(signer)).length);
    }
    const all = await recorded();
    assert.deepEqual([all.length >= 2 + 2 * rotations, sharedKeys(all)], [true, []]);
  });

  it('was never left without an answer, nor denied one', async () => {
    for (const signer of ['kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/kubelet-serving']) {
      await untilKubelet('every request to be answered', 20_000, async () =>
        (await requests(signer)).every(({ status }) => (status?.certificate ?? '') !== ''),
      );
    }
  });
});
