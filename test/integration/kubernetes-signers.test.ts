import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KubernetesApi } from '@evercert/coordinator/kubernetes';
import { type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { type Certificate, ClusterSpec, CreateTokenRequest, Role } from '@evercert/proto';
import { certificatesFromPem, generateKeyPair } from '@evercert/shared/x509';
import { approve, outcomeOf, type RequestOptions, request, untilState, userApi } from '../support/certificate-requests.ts';
import { enroll } from '../support/coordinator.ts';
import { needKubernetes, startKubernetes, type TestKubernetes } from '../support/kubernetes.ts';
import { serialOf, temporaryFolder, until } from '../support/live.ts';
import { findTool, needTool, repositoryRoot, runOk } from '../support/tools.ts';

const signer = {
  clientKubelet: 'kubernetes.io/kube-apiserver-client-kubelet',
  serving: 'kubernetes.io/kubelet-serving',
  client: 'kubernetes.io/kube-apiserver-client',
  own: 'evercert.io/demo-cluster-ca',
};
const servingUsages = ['digital signature', 'key encipherment', 'server auth'];
const exitMs = 30_000;

const kubeletOf = (node: string, more: Partial<RequestOptions> = {}): RequestOptions => ({
  signerName: signer.clientKubelet,
  commonName: `system:node:${node}`,
  organizations: ['system:nodes'],
  ...more,
});
const servingOf = (node: string, more: Partial<RequestOptions> = {}): RequestOptions =>
  kubeletOf(node, { signerName: signer.serving, usages: servingUsages, dnsNames: [node], ...more });

const roleOf = (name: string, group: string): object => ({
  apiVersion: 'rbac.authorization.k8s.io/v1',
  kind: 'ClusterRoleBinding',
  metadata: { name: `test-${name.replaceAll(':', '-')}` },
  roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
  subjects: [{ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name: group }],
});

describe('the signers of the Kubernetes bridge, at a real API server', function () {
  this.timeout(240_000);
  let kubernetes: TestKubernetes;
  let cluster: LocalCluster;
  let runDir: string;
  let openssl: string;
  let admin: KubernetesApi;
  let bootstrapper: KubernetesApi;
  let worker: KubernetesApi;
  let caFile: string;

  before(async function () {
    openssl = needTool(this, 'openssl', findTool);
    const binaries = needKubernetes(this);
    kubernetes = await startKubernetes(binaries);
    await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes/bridge-rbac.yaml'), 'utf8'));
    const bindings = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings';
    const requests = 'system:certificates.k8s.io:certificatesigningrequests';
    await kubernetes.ok('POST', bindings, roleOf('system:node-bootstrapper', 'system:bootstrappers'));
    await kubernetes.ok('POST', bindings, roleOf(`${requests}:nodeclient`, 'system:bootstrappers'));
    await kubernetes.ok('POST', bindings, roleOf(`${requests}:selfnodeclient`, 'system:nodes'));
    // A person, or a program, that may ask for certificates and nothing else.
    await kubernetes.ok('POST', '/apis/rbac.authorization.k8s.io/v1/clusterroles', {
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'requester' },
      rules: [{ apiGroups: ['certificates.k8s.io'], resources: ['certificatesigningrequests'], verbs: ['create', 'get'] }],
    });
    await kubernetes.ok('POST', bindings, roleOf('requester', 'requesters'));
    const user = async (name: string, organizations: string[]): Promise<KubernetesApi> =>
      userApi(await kubernetes.kubeconfigFor(name.replaceAll(':', '-'), { commonName: name, organizations }));
    admin = userApi(kubernetes.adminKubeconfig);
    bootstrapper = await user('system:bootstrap:abcdef', ['system:bootstrappers', 'system:bootstrappers:worker']);
    worker = await user('system:node:worker-1', ['system:nodes']);

    runDir = temporaryFolder('signers');
    const kubeconfig = await kubernetes.kubeconfigFor('bridge', { commonName: 'evercert:bridge' });
    const rule = { groups: ['requesters'], commonNames: ['*.monitoring'], dnsNames: ['*.monitoring.example'], usages: ['server auth'] };
    const autoApprove = { 'cluster-ca': [rule] };
    const bridge = { kubeconfig, signers: true, requestTimeout: '5s', autoApprove };
    cluster = await prepareLocalCluster({
      runDir,
      controlPlanes: 1,
      workers: 0,
      autoRestart: false,
      coordinatorConfig: { kubernetes: { demo: bridge } },
    });
    await cluster.coordinator.start();
    const api = await cluster.admin();
    await api.createCluster(
      'demo',
      ClusterSpec.fromPartial({
        keyAlgorithm: 'ecdsa-p384',
        layout: 'kubeadm',
        leafLifetimeSeconds: 3600,
        nodeAddressRanges: ['10.0.0.0/8'],
      }),
    );
    const { certificateAuthorities } = await api.call(api.client.listCertificateAuthorities, { cluster: 'demo' });
    caFile = join(runDir, 'cluster-ca.crt');
    writeFileSync(caFile, certificateAuthorities.find(({ name }) => name === 'cluster-ca')?.certificatePem ?? '');
  });

  after(async () => {
    await cluster?.stop();
    await kubernetes?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true, force: true });
  });

  /** What the coordinator has of a certificate. */
  async function recorded(filter: { node?: string; name?: string; serial?: string }): Promise<Certificate[]> {
    const api = await cluster.admin();
    const all = { cluster: 'demo', node: '', name: '', serial: '', includeSuperseded: true, pageSize: 1000, pageToken: '' };
    return (await api.call(api.client.listCertificates, { ...all, ...filter })).certificates;
  }

  async function verified(pem: string, purpose: 'sslclient' | 'sslserver'): Promise<X509Certificate> {
    const file = join(runDir, 'leaf.crt');
    writeFileSync(file, pem);
    const { stdout } = await runOk(openssl, ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', caFile, file]);
    assert.match(stdout, /: OK/);
    return new X509Certificate(pem);
  }

  async function apply(yaml: string): Promise<void> {
    const api = await cluster.admin();
    await api.call(api.client.apply, { cluster: 'demo', documents: [{ source: 'test.yaml', yaml }], dryRun: false });
  }

  const nodeObject = (name: string, addresses: object[]): Promise<unknown> =>
    kubernetes
      .ok('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name } })
      .then(() => kubernetes.ok('PATCH', `/api/v1/nodes/${name}/status`, { status: { addresses } }));

  describe('kube-apiserver-client-kubelet', () => {
    it('issues a bootstrapping kubelet its client certificate, and records it under the node of its name', async () => {
      const name = await request(bootstrapper, kubeletOf('worker-1', { usages: ['digital signature', 'client auth', 'key encipherment'] }));
      const { certificate, message } = await untilState(bootstrapper, name, 'Issued');
      assert.match(message, /SubjectAccessReview.*nodeclient/);
      const x509 = await verified(certificate, 'sslclient');
      assert.equal(x509.subject, 'O=system:nodes\nCN=system:node:worker-1');
      assert.equal(x509.subjectAltName, undefined);
      assert.equal(x509.ca, false);
      const [record, ...more] = await recorded({ node: 'worker-1' });
      assert.deepEqual([record?.name, record?.serial, more.length], ['kubelet-client.csr', serialOf(x509), 0]);
      assert.equal(record?.current, true);
      const lifeMs = Date.parse(x509.validTo) - (record?.issuedAt?.getTime() ?? 0);
      assert.ok(Math.abs(lifeMs - 3_600_000) < 2000, `it lives ${lifeMs} ms`);
    });

    it('lets a node renew its own, and nobody else’s', async () => {
      const own = await request(worker, kubeletOf('worker-1'));
      const { message, certificate } = await untilState(admin, own, 'Issued');
      assert.match(message, /selfnodeclient/);
      await verified(certificate, 'sslclient');
      const other = await request(worker, kubeletOf('worker-2'));
      await untilState(admin, await request(worker, kubeletOf('worker-1')), 'Issued');
      assert.equal((await outcomeOf(admin, other)).state, 'Pending');
      // A person may approve it all the same.
      await approve(admin, other);
      await untilState(admin, other, 'Issued');
    });

    const broken: Record<string, [Partial<RequestOptions>, RegExp]> = {
      'another organization': [{ organizations: ['system:nodes', 'more'] }, /organization/],
      'no organization': [{ organizations: [] }, /organization/],
      'another common name': [{ commonName: 'system:nodes:worker-1' }, /common name/],
      'no name of a node': [{ commonName: 'system:node:a/b' }, /common name/],
      'a DNS name': [{ dnsNames: ['worker-1'] }, /DNS names/],
      'an address': [{ ipAddresses: ['10.1.2.3'] }, /IP addresses/],
      'a URI': [{ uris: ['spiffe://a/b'] }, /URIs/],
      'server auth': [{ usages: [...servingUsages, 'client auth'] }, /usages/],
      'no client auth': [{ usages: ['digital signature', 'key encipherment'] }, /usages/],
      'no digital signature': [{ usages: ['key encipherment', 'client auth'] }, /usages/],
    };
    for (const [what, [change, why]] of Object.entries(broken)) {
      it(`leaves a request with ${what} pending, and fails it when somebody approves it`, async () => {
        const name = await request(bootstrapper, kubeletOf('worker-9', change));
        await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
        assert.equal((await outcomeOf(admin, name)).state, 'Pending');
        await approve(admin, name);
        const { reason, message, certificate } = await untilState(admin, name, 'Failed');
        assert.equal(reason, 'SignerValidationFailure');
        assert.match(message, why);
        assert.equal(certificate, '');
      });
    }
  });

  describe('kubelet-serving', () => {
    before(() =>
      nodeObject('worker-1', [
        { type: 'Hostname', address: 'worker-1' },
        { type: 'InternalIP', address: '10.1.0.1' },
        { type: 'ExternalDNS', address: 'kubernetes.default.svc' },
        { type: 'InternalIP', address: '10.96.0.1' },
      ]),
    );

    it('issues a node a certificate for what its Node object tells', async () => {
      const name = await request(worker, servingOf('worker-1', { ipAddresses: ['10.1.0.1'] }));
      const { certificate } = await untilState(admin, name, 'Issued');
      const x509 = await verified(certificate, 'sslserver');
      assert.equal(x509.subjectAltName, 'DNS:worker-1, IP Address:10.1.0.1');
      assert.deepEqual(
        (await recorded({ serial: serialOf(x509) })).map((one) => [one.node, one.name]),
        [['worker-1', 'kubelet-serving.csr']],
      );
    });

    it('issues a node a certificate for what is registered for it', async () => {
      await apply(
        'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: worker-1 }\nspec: { role: worker, addresses: [10.1.0.7], dnsNames: [worker-1.example] }\n',
      );
      const name = await request(worker, servingOf('worker-1', { dnsNames: ['worker-1.example'], ipAddresses: ['10.1.0.7'] }));
      await verified((await untilState(admin, name, 'Issued')).certificate, 'sslserver');
    });

    const denied: Record<string, [Partial<RequestOptions>, string, RegExp]> = {
      'no name': [{ dnsNames: [] }, 'InvalidRequest', /required/],
      'a URI': [{ uris: ['spiffe://a/b'] }, 'InvalidRequest', /URIs/],
      'another organization': [{ organizations: ['nodes'] }, 'InvalidRequest', /organization/],
      'client auth': [{ usages: ['digital signature', 'client auth'] }, 'InvalidRequest', /usages/],
      'another node’s name': [{ commonName: 'system:node:worker-2' }, 'NotTheNode', /the node itself/],
      'the name of a service, which its Node object claims': [{ dnsNames: ['kubernetes.default.svc'] }, 'NamesNotKnown', /services/],
      'the address of a service, which its Node object claims': [{ ipAddresses: ['10.96.0.1'] }, 'NamesNotKnown', /services/],
    };
    for (const [what, [change, expected, why]] of Object.entries(denied)) {
      it(`denies a request with ${what}, in words`, async () => {
        const { reason, message } = await untilState(admin, await request(worker, servingOf('worker-1', change)), 'Denied');
        assert.equal(reason, expected);
        assert.match(message, why);
      });
    }

    it('denies somebody who is not the node', async () => {
      const { reason } = await untilState(admin, await request(admin, servingOf('worker-1')), 'Denied');
      assert.equal(reason, 'NotTheNode');
    });

    it('waits for a name that the Node object does not tell yet', async () => {
      const name = await request(worker, servingOf('worker-1', { ipAddresses: ['10.1.0.2'] }));
      await untilState(admin, await request(worker, servingOf('worker-1')), 'Issued');
      assert.equal((await outcomeOf(admin, name)).state, 'Pending');
      const addresses = [
        { type: 'InternalIP', address: '10.1.0.2' },
        { type: 'Hostname', address: 'worker-1' },
      ];
      await kubernetes.ok('PATCH', '/api/v1/nodes/worker-1/status', { status: { addresses } });
      await untilState(admin, name, 'Issued');
    });
  });

  describe('kube-apiserver-client', () => {
    it('issues what a person approves, and nothing before', async () => {
      const name = await request(admin, { signerName: signer.client, commonName: 'alice', organizations: ['team-a'] }, 'alice');
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
      assert.equal((await outcomeOf(admin, name)).state, 'Pending');
      await approve(admin, name);
      const x509 = await verified((await untilState(admin, name, 'Issued')).certificate, 'sslclient');
      assert.deepEqual(
        (await recorded({ serial: serialOf(x509) })).map((one) => [one.node, one.name]),
        [['', 'alice.csr']],
      );
    });

    for (const [what, usages] of Object.entries({ 'server auth': servingUsages, 'no client auth': ['digital signature'] })) {
      it(`fails an approved request with ${what}`, async () => {
        const name = await request(admin, { signerName: signer.client, commonName: 'bob', usages });
        await approve(admin, name);
        assert.match((await untilState(admin, name, 'Failed')).message, /usage/);
      });
    }
  });

  describe('Evercert’s own signer', () => {
    let requester: KubernetesApi;
    before(async () => {
      const user = { commonName: 'prometheus', organizations: ['requesters'] };
      requester = userApi(await kubernetes.kubeconfigFor('prometheus', user));
    });
    const own = (more: Partial<RequestOptions>): RequestOptions => ({
      signerName: signer.own,
      usages: ['digital signature', 'server auth'],
      ...more,
    });

    it('issues by a configured rule without a person', async () => {
      const name = await request(requester, own({ commonName: 'web.monitoring', dnsNames: ['web.monitoring.example'] }));
      const { message, certificate } = await untilState(admin, name, 'Issued');
      assert.match(message, /rule 1 for cluster-ca/);
      assert.equal((await verified(certificate, 'sslserver')).subjectAltName, 'DNS:web.monitoring.example');
    });

    it('issues what no rule covers when a person approves it', async () => {
      const name = await request(requester, own({ commonName: 'web', dnsNames: ['web.example'] }));
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
      assert.equal((await outcomeOf(admin, name)).state, 'Pending');
      await approve(admin, name);
      await verified((await untilState(admin, name, 'Issued')).certificate, 'sslserver');
    });

    it('denies the names of Kubernetes’ own users and groups', async () => {
      const name = await request(requester, own({ commonName: 'system:kube-scheduler' }));
      assert.match((await untilState(admin, name, 'Denied')).message, /reserved/);
    });

    it('leaves the requests of other signers alone', async () => {
      const name = await request(admin, { signerName: 'evercert.io/other-cluster-ca', commonName: 'a' });
      await approve(admin, name);
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
      assert.equal((await outcomeOf(admin, name)).state, 'Approved');
    });
  });

  describe('a revocation', () => {
    const revocation = (entry: string): string =>
      `apiVersion: evercert.io/v1\nkind: RenewRevocation\nmetadata: { name: incident }\nspec:\n  revocations:\n  - ${entry}\n`;
    afterEach(async () => {
      const api = await cluster.admin();
      await api.call(api.client.deleteRevocation, { cluster: 'demo', name: 'incident', dryRun: false });
    });

    it('denies what would be issued, and names the entry; what is approved all the same fails', async () => {
      const approvedLater = await request(admin, { signerName: signer.client, commonName: 'carol', organizations: ['team-b'] });
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
      await apply(revocation('{ kind: Group, group: team-b }'));
      const { reason, message } = await untilState(
        admin,
        await request(admin, { signerName: signer.client, commonName: 'dave', organizations: ['team-b'] }),
        'Denied',
      );
      assert.equal(reason, 'Revoked');
      assert.match(message, /entry 1 \(Group team-b\) of RenewRevocation incident/);
      await approve(admin, approvedLater);
      const failed = await untilState(admin, approvedLater, 'Failed');
      assert.deepEqual([failed.reason, /RenewRevocation incident/.test(failed.message)], ['Revoked', true]);
    });

    it('of the certificate in use denies the node its successor, but not a fresh one by bootstrap token', async () => {
      const [current] = (await recorded({ node: 'worker-1', name: 'kubelet-client.csr' })).filter((one) => one.current);
      await apply(revocation(`{ kind: SerialNumber, serialNumber: "${current?.serial}" }`));
      assert.equal((await untilState(admin, await request(worker, kubeletOf('worker-1')), 'Denied')).reason, 'Revoked');
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-1')), 'Issued');
    });
  });

  describe('the coordinator', () => {
    it('denies a node that was removed, until it is registered again', async () => {
      const manifest = 'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: worker-5 }\nspec: { role: worker }\n';
      const api = await cluster.admin();
      const order = CreateTokenRequest.fromPartial({ cluster: 'demo', nodeName: 'worker-5', role: Role.WORKER });
      const { token } = await api.call(api.client.createToken, order);
      const anchors = certificatesFromPem(readFileSync(join(cluster.coordinator.adminDir, 'ca.crt')));
      (await enroll({ address: cluster.coordinator.address, anchors }, { token, name: 'worker-5' })).client.close();
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-5')), 'Issued');
      await api.call(api.client.deleteNode, { cluster: 'demo', name: 'worker-5' });
      const { reason, message } = await untilState(admin, await request(bootstrapper, kubeletOf('worker-5')), 'Denied');
      assert.equal(reason, 'NodeRefused');
      assert.match(message, /worker-5 was removed/);
      const [issued] = await recorded({ node: 'worker-5', name: 'kubelet-client.csr' });
      assert.equal(issued?.revokedBy.length, 1, 'the removal revokes what the bridge issued');
      await apply(manifest);
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-5')), 'Issued');
    });

    it('does not take what it issued for something that an agent should have', async () => {
      const api = await cluster.admin();
      const { nodes } = await api.call(api.client.listNodes, { cluster: 'demo', name: 'worker-1' });
      const conditions = nodes[0]?.status?.conditions ?? [];
      assert.doesNotMatch(JSON.stringify(conditions), /kubelet-(client|serving)\.csr/);
    });

    it('fails a request whose key has another certificate already', async () => {
      const { privateKey } = await generateKeyPair('ecdsa-p256');
      await untilState(admin, await request(worker, servingOf('worker-1', { key: privateKey })), 'Issued');
      const { reason, message } = await untilState(
        admin,
        await request(worker, servingOf('worker-1', { key: privateKey, ipAddresses: ['10.1.0.2'] })),
        'Failed',
      );
      assert.equal(reason, 'SignerValidationFailure');
      assert.match(message, /make a new key/);
    });

    it('tells how the bridge stands, and what it did', async () => {
      const api = await cluster.admin();
      const { clusters } = await api.call(api.client.listClusters, {});
      const bridge = clusters.find(({ name }) => name === 'demo')?.kubernetes;
      assert.deepEqual([bridge?.state, bridge?.server, bridge?.message], ['Connected', kubernetes.server, '']);
      assert.ok((bridge?.signed ?? 0) > 10 && (bridge?.denied ?? 0) > 5 && (bridge?.failed ?? 0) > 5, JSON.stringify(bridge));
      const { events } = await api.call(api.client.listEvents, {
        cluster: 'demo',
        node: '',
        certificate: '',
        reason: 'RequestDenied',
        renewalLog: false,
        pageSize: 100,
        pageToken: '',
      });
      assert.ok(events.some(({ actor, errorCode }) => actor === 'kubernetes/system:node:worker-1' && errorCode === 'PermissionDenied'));
    });

    it('has left no word of what it may not do', () => {
      const log = join(cluster.folder.logs, 'coordinator.log');
      assert.ok(existsSync(log));
      assert.doesNotMatch(readFileSync(log, 'utf8'), /PermissionDenied.*Kubernetes refused|forbidden/);
    });
  });

  describe('after a crash of the coordinator', () => {
    for (const point of [
      'coordinator.kubernetes.csr-approved',
      'coordinator.issue.before-commit',
      'coordinator.issue.after-commit',
      'coordinator.kubernetes.csr-issued',
      'coordinator.kubernetes.csr-answered',
    ]) {
      it(`at ${point}, a request gets one certificate`, async () => {
        await cluster.coordinator.stop();
        await cluster.coordinator.start({ EVERCERT_FAULT_POINT: point });
        const node = `crash-${point.replaceAll('.', '-')}`.slice(0, 50);
        const name = await request(bootstrapper, kubeletOf(node));
        assert.equal((await cluster.coordinator.process.waitForExit(exitMs))?.signal, 'SIGKILL', point);
        await cluster.coordinator.start();
        const { certificate } = await untilState(admin, name, 'Issued');
        assert.deepEqual(
          (await recorded({ node })).map(({ serial }) => serial),
          [serialOf(new X509Certificate(certificate))],
        );
      });
    }
  });

  describe('an API server that goes away', () => {
    it('goes on after the API server was away, and says so meanwhile', async () => {
      const stateOf = async (): Promise<string | undefined> => {
        const api = await cluster.admin();
        return (await api.call(api.client.listClusters, {})).clusters.find(({ name }) => name === 'demo')?.kubernetes?.state;
      };
      await kubernetes.restartApiServer(() =>
        until('the bridge to say that it is cut off', 30_000, async () => (await stateOf()) === 'Disconnected'),
      );
      await untilState(admin, await request(bootstrapper, kubeletOf('worker-8')), 'Issued');
      await until('the bridge to be well again', 30_000, async () => (await stateOf()) === 'Connected');
    });
  });
});
