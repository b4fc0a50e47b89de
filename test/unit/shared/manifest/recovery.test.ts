/** What manifests say of repair: who may come back by himself, and where components tell how they are. */
import assert from 'node:assert/strict';
import { type ClusterManifest, defaultClusterPolicy, type Manifest, parseDocuments, resolveNode, toYaml } from '@evercert/shared/manifest';

const clusterYaml = `apiVersion: evercert.io/v1
kind: Cluster
metadata: { name: demo }
spec:
  controlPlaneRecovery: automatic
  workerRecovery: never
`;

const etcdYaml = (url: string, more = ''): string => `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: etcd-server }
spec:
  selector: { role: control-plane }
  issuer: etcd-ca
  subject: { commonName: etcd }
  usages: [digital signature, server auth]
  files: { certificate: /etc/kubernetes/pki/etcd/server.crt, privateKey: /etc/kubernetes/pki/etcd/server.key }
  healthCheck: { url: "${url}", clientCertificate: etcd-healthcheck-client${more} }
`;

const node = { name: 'cp-1', role: 'control-plane' as const, labels: {}, addresses: ['192.0.2.7'], dnsNames: [] };
const parse = (text: string) => parseDocuments(text, { file: 'x.yaml' });
const resolve = (text: string, address = '192.0.2.7') => {
  const { documents, faults } = parse(text);
  assert.deepEqual(faults, []);
  const manifests = documents.map(({ document }) => document as Manifest);
  return resolveNode({ name: 'demo', policy: defaultClusterPolicy }, { ...node, addresses: [address] }, manifests).certificates[0];
};

describe('recovery in a cluster’s policy', () => {
  it('is read, written and read again', () => {
    const [parsed] = parse(clusterYaml).documents;
    const cluster = parsed?.document as ClusterManifest;
    assert.deepEqual(cluster.spec, { controlPlaneRecovery: 'automatic', workerRecovery: 'never' });
    assert.deepEqual(parse(toYaml(cluster)).documents[0]?.document, cluster);
  });

  it('is a repair window where nothing is said', () => {
    assert.deepEqual([defaultClusterPolicy.controlPlaneRecovery, defaultClusterPolicy.workerRecovery], ['repair-window', 'repair-window']);
  });

  it('is refused with its line when it is another word', () => {
    const [fault] = parse(clusterYaml.replace('automatic', 'always')).faults;
    assert.equal(fault?.line, 5);
  });
});

describe('a health check in a manifest', () => {
  it('is resolved for the node, under the name of its component', () => {
    assert.deepEqual(resolve(etcdYaml('https://{{ node.address }}:2379/health'))?.healthCheck, {
      url: 'https://192.0.2.7:2379/health',
      clientCertificate: 'etcd-healthcheck-client',
      component: 'etcd',
    });
    assert.equal(
      resolve(etcdYaml('https://{{ node.address }}:2379/health'), '2001:db8::7')?.healthCheck?.url,
      'https://[2001:db8::7]:2379/health',
    );
    assert.equal(resolve(etcdYaml('https://{{ node.address }}:2379/health', ', component: store'))?.healthCheck?.component, 'store');
  });

  it('is no reason for a new certificate', () => {
    const without = etcdYaml('').replace(/ {2}healthCheck: .*\n/, '');
    assert.equal(resolve(etcdYaml('https://192.0.2.7:2379/health'))?.specHash, resolve(without)?.specHash);
  });

  it('is written and read again', () => {
    const document = parse(etcdYaml('https://{{ node.address }}:2379/health')).documents[0]?.document as Manifest;
    assert.deepEqual(parse(toYaml(document)).documents[0]?.document, document);
  });

  for (const url of ['http://192.0.2.7:2379/health', 'https:///health', 'tls://192.0.2.7:2379', 'https://{{ node.nothing }}/health']) {
    it(`is refused at ${url}`, () => {
      const { documents, faults } = parse(etcdYaml(url));
      const manifests = documents.map(({ document }) => document as Manifest);
      if (faults.length === 0)
        assert.throws(() => resolveNode({ name: 'demo', policy: defaultClusterPolicy }, node, manifests), { code: 'InvalidManifest' });
    });
  }
});
