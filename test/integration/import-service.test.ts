/** ImportCluster and AdoptCertificate as a coordinator serves them. */
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ClusterSpec, ImportClusterRequest, type ImportClusterResponse, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { fromServiceError, unary } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import { signAdoption } from '@evercert/shared/wire';
import { generateKeyPair, parseCertificate, privateKeyToPem, type Usage } from '@evercert/shared/x509';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator, type TestNode } from '../support/coordinator.ts';
import { createForeignCa, type ForeignCa, type ForeignLeaf } from '../support/foreign-ca.ts';
import { AgentStream, desiredState, issue, withCode } from '../support/node-calls.ts';

const day = 86_400_000;

describe('importing a cluster', function () {
  this.timeout(30_000);
  let coordinator: TestCoordinator;
  let clusterCa: ForeignCa;
  let etcdCa: ForeignCa;
  let frontProxyCa: ForeignCa;
  let saKey: string;
  const logged: string[] = [];
  const log = (message: string, fields?: object): void => void logged.push(message + JSON.stringify(fields ?? {}));
  const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };

  before(async () => {
    coordinator = await startTestCoordinator({ logger });
    const nowMs = Date.now();
    clusterCa = await createForeignCa('kubernetes', { nowMs, kind: 'rsa' });
    etcdCa = await createForeignCa('etcd-ca', { nowMs });
    frontProxyCa = await createForeignCa('front-proxy-ca', { nowMs });
    saKey = privateKeyToPem((await generateKeyPair('ecdsa-p256')).privateKey);
  });
  after(() => coordinator.dispose());

  const request = (name: string, change: Partial<ImportClusterRequest> = {}): ImportClusterRequest =>
    ImportClusterRequest.fromPartial({
      name,
      authorities: [
        { name: 'cluster-ca', certificatesPem: clusterCa.certificatePem, privateKeyPem: clusterCa.privateKeyPem, source: 'ca.crt' },
        { name: 'etcd-ca', certificatesPem: etcdCa.certificatePem, privateKeyPem: etcdCa.privateKeyPem, source: 'etcd/ca.crt' },
        { name: 'front-proxy-ca', certificatesPem: frontProxyCa.certificatePem, privateKeyPem: '', source: 'front-proxy-ca.crt' },
      ],
      serviceAccountKeyPem: saKey,
      ...change,
    });
  async function importCluster(given: ImportClusterRequest): Promise<ImportClusterResponse> {
    try {
      return await unary(coordinator.admin.importCluster.bind(coordinator.admin), given, deadline);
    } catch (error) {
      throw fromServiceError(error);
    }
  }
  const remove = (name: string): Promise<unknown> => unary(coordinator.admin.deleteCluster.bind(coordinator.admin), { name }, deadline);
  const keyFiles = async (): Promise<string[]> =>
    (await readdir(join(coordinator.dataDir, 'keys'), { recursive: true })).filter((path) => path.endsWith('.key')).sort();

  it('changes nothing in a dry run, nor when anything is wrong with what was given', async () => {
    const before = await keyFiles();
    const { findings, certificateAuthorities } = await importCluster(request('prod', { dryRun: true }));
    assert.deepEqual(
      certificateAuthorities.map(({ name, watchOnly }) => [name, watchOnly]),
      [
        ['cluster-ca', false],
        ['etcd-ca', false],
        ['front-proxy-ca', true],
      ],
    );
    assert.ok(findings.length > 0);
    const bad = request('prod');
    bad.authorities[1]!.privateKeyPem = clusterCa.privateKeyPem;
    await assert.rejects(importCluster(bad), (error: unknown) => {
      assert.ok(error instanceof EvercertError && error.code === 'InvalidArgument');
      assert.deepEqual(
        error.faults.map(({ field }) => field),
        ['etcd/ca.crt'],
      );
      return true;
    });
    await assert.rejects(importCluster(request('No Name')), withCode('InvalidArgument'));
    const policy = request('prod', { spec: ClusterSpec.fromPartial({ dnsDomain: 'not a domain' }) });
    await assert.rejects(importCluster(policy), withCode('InvalidManifest'));
    assert.deepEqual(await keyFiles(), before);
    const { clusters } = await unary(coordinator.admin.listClusters.bind(coordinator.admin), {}, deadline);
    assert.deepEqual(clusters, []);
  });

  it('takes CAs, keys and the layout over, once, and a deletion takes them away again', async () => {
    const before = await keyFiles();
    const { cluster, certificateAuthorities } = await importCluster(request('prod'));
    assert.deepEqual([cluster?.spec?.adopt, cluster?.spec?.layout, cluster?.spec?.keyAlgorithm], [true, 'kubeadm', 'ecdsa-p384']);
    assert.equal(certificateAuthorities[0]?.certificatePem, clusterCa.certificatePem);
    assert.equal((await keyFiles()).length - before.length, 3);
    await assert.rejects(importCluster(request('prod')), withCode('AlreadyExists'));
    await assert.rejects(importCluster(request('again')), withCode('InvalidArgument'));
    await remove('prod');
    assert.deepEqual(await keyFiles(), before);
  });

  it('leaves out what no CA is given for, and makes no service-account key of its own', async () => {
    const only = request('small', { serviceAccountKeyPem: '' });
    only.authorities.splice(1);
    await importCluster(only);
    const { manifests } = await unary(
      coordinator.admin.listManifests.bind(coordinator.admin),
      { cluster: 'small', kind: '', name: '' },
      deadline,
    );
    assert.ok(manifests.length > 0 && manifests.every(({ kind, issuer }) => kind !== 'KeyPairManifest' && issuer === 'cluster-ca'));
    await remove('small');
  });

  describe('and adopting what its nodes hold', () => {
    const name = 'apiserver-kubelet-client';
    let node: TestNode;
    let specHash: string;

    before(async () => {
      await importCluster(request('live'));
      const token = await createToken(coordinator, 'live', { role: Role.CONTROL_PLANE, nodeName: 'cp-1', addresses: ['10.0.0.5'] });
      node = await enroll(coordinator, { token, name: 'cp-1' });
      specHash = await hashOf(name);
    });
    after(() => node.client.close());

    async function hashOf(certificate: string): Promise<string> {
      const { certificates } = await desiredState(node.client);
      return certificates.find((each) => each.name === certificate)!.specHash;
    }
    const usages: Usage[] = ['digital signature', 'client auth'];
    const leafOf = (ca: ForeignCa, times = {}): Promise<ForeignLeaf> =>
      ca.leaf({ commonName: 'kube-apiserver-kubelet-client', organizations: ['system:masters'], usages }, times);
    const identitySerial = (): string => parseCertificate(node.chain[0]!).serial;
    async function adopt(leaf: ForeignLeaf, certificate = name, hash = specHash, signer = leaf.privateKey, as = identitySerial()) {
      const proof = await signAdoption(signer, { certificate: leaf.der, identitySerial: as });
      try {
        return await unary(
          node.client.adoptCertificate.bind(node.client),
          { name: certificate, chain: [leaf.der], specHash: hash, proof },
          deadline,
        );
      } catch (error) {
        throw fromServiceError(error);
      }
    }
    const listed = async (serial: string) => {
      const filter = { cluster: 'live', node: '', name: '', serial, includeSuperseded: true, pageSize: 10, pageToken: '' };
      return (await unary(coordinator.admin.listCertificates.bind(coordinator.admin), filter, deadline)).certificates;
    };
    const apply = (yaml: string) =>
      unary(
        coordinator.admin.apply.bind(coordinator.admin),
        { cluster: 'live', documents: [{ source: 't.yaml', yaml }], dryRun: false },
        deadline,
      );
    const revocation = (object: string, serial: string): string =>
      `apiVersion: evercert.io/v1\nkind: RenewRevocation\nmetadata: { name: ${object} }\nspec:\n  revocations: [{ kind: SerialNumber, serialNumber: "${serial}" }]\n`;

    it('tells the agent what to adopt, and what is only watched', async () => {
      const { certificates } = await desiredState(node.client);
      assert.ok(certificates.every(({ adopt: adopts }) => adopts));
      assert.deepEqual(
        certificates.filter(({ watchOnly }) => watchOnly).map((each) => each.name),
        ['front-proxy-client'],
      );
    });

    it('issues by the CA that was taken over, and refuses what is only watched', async () => {
      const { privateKey } = await generateKeyPair('ecdsa-p384');
      const [leaf] = await issue(node.client, 'scheduler', await hashOf('scheduler'), privateKey);
      assert.equal(parseCertificate(leaf!).signatureAlgorithm, 'sha256WithRSAEncryption');
      assert.equal(parseCertificate(leaf!).issuer, 'CN=kubernetes');
      const watched = (await generateKeyPair('ecdsa-p384')).privateKey;
      await assert.rejects(issue(node.client, 'front-proxy-client', await hashOf('front-proxy-client'), watched), (error: unknown) => {
        const { code, message } = fromServiceError(error);
        return code === 'FailedPrecondition' && /front-proxy-ca of cluster live is not at this coordinator: .* only watched/.test(message);
      });
    });

    it('records a certificate as it is, answers a repeat the same, and has it renewed as if it had been issued now', async () => {
      const leaf = await leafOf(clusterCa, { notAfterMs: Date.now() + 300 * day });
      const first = await adopt(leaf);
      assert.deepEqual(await adopt(leaf), first);
      const { serial } = parseCertificate(leaf.der);
      const [record] = await listed(serial);
      assert.deepEqual([record?.reason, record?.name, record?.node, record?.current], ['Adopted', name, 'cp-1', true]);
      assert.match(first.differences.join('; '), /organizations: loses system:masters, gains kubeadm:cluster-admins; key: ECDSA P-256/);
      const dueMs = first.renewAt!.getTime() - first.adoptedAt!.getTime();
      assert.ok(dueMs <= 64 * 3_600_000 && dueMs >= 57 * 3_600_000, `${dueMs / 3_600_000} h`);
    });

    it('renews no later than after two thirds of the rest of its life', async () => {
      await apply(
        'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: cp-1 }\nspec: { role: control-plane, addresses: [10.0.0.5] }\n',
      );
      const leaf = await etcdCa.leaf({ commonName: 'kube-etcd-healthcheck-client', usages }, { notAfterMs: Date.now() + 3 * 3_600_000 });
      const { adoptedAt, renewAt } = await adopt(leaf, 'etcd-healthcheck-client', await hashOf('etcd-healthcheck-client'));
      assert.ok(renewAt!.getTime() - adoptedAt!.getTime() <= 2 * 3_600_000);
    });

    it('refuses what is of another CA, has ended, is too old a declaration, or is declared by nothing', async () => {
      const foreign = await createForeignCa('kubernetes', { nowMs: Date.now() });
      await assert.rejects(adopt(await leafOf(foreign)), withCode('FailedPrecondition'));
      await assert.rejects(adopt(await leafOf(etcdCa)), withCode('FailedPrecondition'));
      const ended = await leafOf(clusterCa, { notBeforeMs: Date.now() - day, notAfterMs: Date.now() - 1000 });
      await assert.rejects(adopt(ended), withCode('FailedPrecondition'));
      const good = await leafOf(clusterCa);
      await assert.rejects(adopt(good, name, 'old'), withCode('StaleSpec'));
      await assert.rejects(adopt(good, 'nothing'), withCode('NotFound'));
      await assert.rejects(adopt({ ...good, der: Buffer.from('garbage') }), withCode('InvalidCertificate'));
    });

    it('refuses a certificate of which the node does not hold the key, and a proof that was made for another', async () => {
      const leaf = await leafOf(clusterCa);
      const { privateKey } = await generateKeyPair('ecdsa-p256');
      await assert.rejects(adopt(leaf, name, specHash, privateKey), withCode('PermissionDenied'));
      await assert.rejects(adopt(leaf, name, specHash, leaf.privateKey, 'abcdef'), withCode('PermissionDenied'));
    });

    it('refuses a key that another certificate has, and a certificate that one of ours has succeeded', async () => {
      const leaf = await leafOf(clusterCa);
      await adopt(leaf, 'controller-manager', await hashOf('controller-manager'));
      const again = await leafOf(clusterCa, { key: leaf.privateKey });
      await assert.rejects(adopt(again, 'apiserver', await hashOf('apiserver')), withCode('FailedPrecondition'));
      await issue(node.client, 'controller-manager', await hashOf('controller-manager'), (await generateKeyPair('ecdsa-p384')).privateKey);
      await assert.rejects(adopt(leaf, 'controller-manager', await hashOf('controller-manager')), withCode('FailedPrecondition'));
      await assert.rejects(
        adopt(await leafOf(clusterCa), 'controller-manager', await hashOf('controller-manager')),
        withCode('FailedPrecondition'),
      );
    });

    it('follows what is renewed elsewhere where it only watches', async () => {
      const hash = await hashOf('front-proxy-client');
      const profile = { commonName: 'front-proxy-client', usages };
      const older = await frontProxyCa.leaf(profile, { notBeforeMs: Date.now() - 2 * day });
      const newer = await frontProxyCa.leaf(profile, { notBeforeMs: Date.now() - day });
      await adopt(older, 'front-proxy-client', hash);
      await adopt(newer, 'front-proxy-client', hash);
      await assert.rejects(adopt(older, 'front-proxy-client', hash), withCode('FailedPrecondition'));
    });

    it('refuses what is revoked, and has what is revoked later known as such by its serial number', async () => {
      const revoked = await leafOf(clusterCa);
      await apply(revocation('before', parseCertificate(revoked.der).serial));
      await assert.rejects(adopt(revoked, 'apiserver-etcd-client', await hashOf('apiserver-etcd-client')), withCode('FailedPrecondition'));
      await assert.rejects(adopt(revoked, 'apiserver', await hashOf('apiserver')), withCode('Revoked'));

      const leaf = await leafOf(clusterCa);
      const { serial } = parseCertificate(leaf.der);
      await adopt(leaf, 'apiserver', await hashOf('apiserver'));
      await apply(revocation('after', serial));
      assert.equal((await listed(serial))[0]?.revokedBy[0]?.object, 'after');
      const stream = new AgentStream(node.client);
      stream.hello();
      const { certificates } = await stream.desired();
      stream.close();
      assert.equal(certificates.find((each) => each.name === 'apiserver')?.revoked?.object, 'after');
    });

    it('takes nothing over once the cluster says so', async () => {
      await apply('apiVersion: evercert.io/v1\nkind: Cluster\nmetadata: { name: live }\nspec: { adopt: false }\n');
      await assert.rejects(adopt(await leafOf(clusterCa), 'etcd-peer', await hashOf('etcd-peer')), withCode('FailedPrecondition'));
      const { certificates } = await desiredState(node.client);
      assert.ok(certificates.every(({ adopt: adopts }) => !adopts));
    });
  });

  it('tells no key to its log', () => {
    const text = logged.join('\n');
    for (const pem of [clusterCa.privateKeyPem, etcdCa.privateKeyPem, saKey]) {
      for (const line of pem.split('\n').filter((each) => each.length > 40)) assert.ok(!text.includes(line));
    }
    assert.match(text, /took a key over/);
  });
});
