import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { adminKubeconfigs, componentRunners, manifestSet, withComponents } from '@evercert/coordinator/manifest-sets';
import {
  defaultClusterPolicy,
  type LayoutName,
  layouts,
  type NodeFacts,
  type OutputSpec,
  parseDocuments,
  type ResolvedCertificate,
  type ResolvedNode,
  resolveNode,
  toYaml,
  validateSet,
} from '@evercert/shared/manifest';
import { componentManifests } from '../../../scripts/manifest-files.ts';

const cluster = {
  name: 'demo',
  policy: {
    ...defaultClusterPolicy,
    dnsDomain: 'cluster.test',
    controlPlaneEndpoint: 'api.example.com',
    apiServerExtraSans: ['192.0.2.99', 'extra.example.com'],
  },
};
const controlPlane: NodeFacts = {
  name: 'cp-1',
  role: 'control-plane',
  labels: {},
  addresses: ['10.0.0.1', '10.1.0.1'],
  dnsNames: ['cp-1.example.com'],
};
const worker: NodeFacts = { name: 'w-1', role: 'worker', labels: {}, addresses: ['10.0.0.9'], dnsNames: [] };

const P = '/etc/kubernetes/pki';
const K = '/etc/kubernetes';
const server = ['digital signature', 'key encipherment', 'server auth'];
const client = ['digital signature', 'key encipherment', 'client auth'];
const both = ['digital signature', 'key encipherment', 'server auth', 'client auth'];

type Row = [
  name: string,
  issuer: string,
  commonName: string,
  organizations: string[],
  dnsNames: string[],
  ipAddresses: string[],
  usages: string[],
  files: string[],
];

const etcdNames: [string[], string[]] = [
  ['cp-1', 'localhost'],
  ['10.0.0.1', '127.0.0.1', '::1'],
];

/** The tables of the certificates that a Kubernetes cluster needs (https://kubernetes.io/docs/setup/best-practices/certificates/), for cp-1. */
function controlPlaneRows(layout: LayoutName): Row[] {
  const apiServerNames = [
    'cp-1',
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'kubernetes.default.svc.cluster.test',
    'api.example.com',
    'extra.example.com',
  ];
  return [
    [
      'apiserver',
      'cluster-ca',
      'kube-apiserver',
      [],
      apiServerNames,
      ['10.96.0.1', '10.0.0.1', '192.0.2.99'],
      server,
      [`${P}/apiserver.crt`, `${P}/apiserver.key`],
    ],
    [
      'apiserver-kubelet-client',
      'cluster-ca',
      'kube-apiserver-kubelet-client',
      ['kubeadm:cluster-admins'],
      [],
      [],
      client,
      pair('apiserver-kubelet-client'),
    ],
    ['apiserver-etcd-client', 'etcd-ca', 'kube-apiserver-etcd-client', [], [], [], client, pair('apiserver-etcd-client')],
    ['front-proxy-client', 'front-proxy-ca', 'front-proxy-client', [], [], [], client, pair('front-proxy-client')],
    ['etcd-server', layout === 'founding' ? 'cluster-ca' : 'etcd-ca', 'cp-1', [], ...etcdNames, both, pair('etcd/server')],
    ['etcd-peer', 'etcd-ca', 'cp-1', [], ...etcdNames, both, pair('etcd/peer')],
    ['etcd-healthcheck-client', 'etcd-ca', 'kube-etcd-healthcheck-client', [], [], [], client, pair('etcd/healthcheck-client')],
    [
      'controller-manager',
      'cluster-ca',
      'system:kube-controller-manager',
      [],
      [],
      [],
      client,
      [...pair('controller-manager'), `${K}/controller-manager.conf`],
    ],
    ['scheduler', 'cluster-ca', 'system:kube-scheduler', [], [], [], client, [...pair('scheduler'), `${K}/scheduler.conf`]],
    ...kubeletRows(controlPlane),
  ];
}

function kubeletRows(node: NodeFacts): Row[] {
  const user = `system:node:${node.name}`;
  return [
    [
      'kubelet-client',
      'cluster-ca',
      user,
      ['system:nodes'],
      [],
      [],
      client,
      ['/var/lib/kubelet/pki/kubelet-client-current.pem', `${K}/kubelet.conf`],
    ],
    [
      'kubelet-serving',
      'cluster-ca',
      user,
      ['system:nodes'],
      [node.name, ...node.dnsNames],
      node.addresses,
      server,
      ['/var/lib/kubelet/pki/kubelet-server-current.pem'],
    ],
  ];
}

function pair(name: string): string[] {
  return [`${P}/${name}.crt`, `${P}/${name}.key`];
}

function rowOf(certificate: ResolvedCertificate): Row {
  const { name, issuer, commonName, organizations, dnsNames, ipAddresses, usages, outputs } = certificate;
  return [
    name,
    issuer,
    commonName,
    organizations,
    dnsNames,
    ipAddresses,
    usages,
    outputs.flatMap((output) => filesOf(output).map(({ path }) => path)),
  ];
}

function filesOf(output: OutputSpec): { path: string; mode: number }[] {
  return output.type === 'pem' ? [output.certificate, output.privateKey] : [output.file];
}

function byName(rows: Row[]): Row[] {
  return rows.toSorted(([a], [b]) => (a < b ? -1 : 1));
}

function kubeconfigOf(node: ResolvedNode, name: string): Extract<OutputSpec, { type: 'kubeconfig' }> {
  const output = node.certificates.find((certificate) => certificate.name === name)?.outputs.find(({ type }) => type === 'kubeconfig');
  assert.ok(output?.type === 'kubeconfig');
  return output;
}

for (const layout of layouts) {
  describe(`the ${layout} layout`, () => {
    const resolved = resolveNode(cluster, controlPlane, manifestSet(layout));

    it('gives a control-plane node every certificate of the table and no other', () => {
      assert.deepEqual(resolved.certificates.map(rowOf), byName(controlPlaneRows(layout)));
    });

    it('gives a worker the kubelet’s certificates and the cluster CA alone', () => {
      const node = resolveNode(cluster, worker, manifestSet(layout));
      assert.deepEqual(node.certificates.map(rowOf), byName(kubeletRows(worker)));
      assert.deepEqual(
        node.bundles.map(({ file }) => file.path),
        [`${P}/ca.crt`],
      );
      assert.deepEqual(node.keyPairs, []);
    });

    it('gives a control-plane node the bundles of all CAs and the service-account key pair', () => {
      assert.deepEqual(
        resolved.bundles.map(({ issuer, file }) => [issuer, file.path, file.mode]),
        [
          ['cluster-ca', `${P}/ca.crt`, 0o644],
          ['etcd-ca', `${P}/etcd/ca.crt`, 0o644],
          ['front-proxy-ca', `${P}/front-proxy-ca.crt`, 0o644],
        ],
      );
      assert.deepEqual(
        resolved.keyPairs.map(({ name, privateKey, publicKey }) => [name, privateKey, publicKey.path]),
        [['sa', { path: `${P}/sa.key`, mode: 0o600 }, `${P}/sa.pub`]],
      );
    });

    it('lets nobody read keys and kubeconfigs, and everybody certificates', () => {
      for (const { path, mode } of resolved.certificates.flatMap(({ outputs }) => outputs.flatMap(filesOf))) {
        assert.equal(mode, path.endsWith('.crt') ? 0o644 : 0o600, path);
      }
    });

    it('has kubeconfigs refer to files, because embedded data is never read again', () => {
      const controllerManager = kubeconfigOf(resolved, 'controller-manager');
      assert.deepEqual(
        [
          controllerManager.certificatePath,
          controllerManager.privateKeyPath,
          controllerManager.certificateAuthorityPath,
          controllerManager.server,
        ],
        [`${P}/controller-manager.crt`, `${P}/controller-manager.key`, `${P}/ca.crt`, 'https://10.0.0.1:6443'],
      );
      const kubelet = kubeconfigOf(resolved, 'kubelet-client');
      assert.deepEqual([kubelet.certificatePath, kubelet.privateKeyPath], Array(2).fill('/var/lib/kubelet/pki/kubelet-client-current.pem'));
      assert.equal(kubelet.server, 'https://api.example.com:6443');
    });

    it('dates the kubelet’s files as kubelet does', () => {
      const dated = resolved.certificates.flatMap(({ outputs }) => outputs).filter((output) => output.type === 'combined' && output.dated);
      assert.equal(dated.length, 2);
    });

    it('is a valid set, alone and with the admin kubeconfigs', () => {
      assert.deepEqual(validateSet(cluster, [...manifestSet(layout), ...adminKubeconfigs()], [controlPlane, worker]), []);
      assert.deepEqual(validateSet({ name: 'bare', policy: defaultClusterPolicy }, manifestSet(layout)), []);
    });

    it('survives being stored as canonical YAML', () => {
      for (const manifest of manifestSet(layout)) {
        assert.deepEqual(parseDocuments(toYaml(manifest), { file: 'stored' }).documents[0]?.document, manifest);
      }
    });

    it('is read once and cannot be changed', () => {
      assert.equal(manifestSet(layout), manifestSet(layout));
      assert.throws(() => Object.assign(manifestSet(layout)[0]!.metadata, { name: 'x' }), TypeError);
    });
  });
}

describe('the two layouts', () => {
  it('differ in the issuer of etcd’s server certificate alone', () => {
    const lines = (layout: LayoutName): string[] =>
      manifestSet(layout).flatMap((manifest) =>
        toYaml(manifest)
          .split('\n')
          .map((line) => `${manifest.metadata.name}: ${line}`),
      );
    const founding = lines('founding');
    assert.deepEqual(
      lines('kubeadm').filter((line, i) => line !== founding[i]),
      ['etcd-server:   issuer: etcd-ca'],
    );
  });
});

describe('the admin kubeconfigs', () => {
  it('embed their pair, and super-admin lies only on nodes with its label', () => {
    const names = (node: NodeFacts): string[] => resolveNode(cluster, node, adminKubeconfigs()).certificates.map(({ name }) => name);
    assert.deepEqual(names(controlPlane), ['admin']);
    assert.deepEqual(names({ ...controlPlane, labels: { 'evercert.io/super-admin': 'true' } }), ['admin', 'super-admin']);
    assert.deepEqual(names(worker), []);
    const node = resolveNode(cluster, { ...controlPlane, labels: { 'evercert.io/super-admin': 'true' } }, adminKubeconfigs());
    assert.deepEqual(node.certificates.map(rowOf), [
      ['admin', 'cluster-ca', 'kubernetes-admin', ['kubeadm:cluster-admins'], [], [], client, [`${K}/admin.conf`]],
      ['super-admin', 'cluster-ca', 'kubernetes-super-admin', ['system:masters'], [], [], client, [`${K}/super-admin.conf`]],
    ]);
    assert.equal(kubeconfigOf(node, 'admin').certificatePath, undefined);
  });
});

describe('the manifests for components that run as static pods or under systemd', () => {
  it('are in deploy/manifests as they are shipped; `npm run generate:manifests` writes them', () => {
    for (const { name, text } of componentManifests()) {
      assert.equal(readFileSync(new URL(`../../../deploy/manifests/${name}`, import.meta.url), 'utf8'), text, name);
    }
  });

  for (const layout of layouts) {
    for (const runner of componentRunners) {
      const overlay = withComponents(manifestSet(layout), runner);
      const replaced = new Map(manifestSet(layout).map((manifest) => [manifest.metadata.name, manifest]));
      for (const manifest of overlay) replaced.set(manifest.metadata.name, manifest);
      const whole = [...replaced.values()];

      it(`fit the ${layout} layout with ${runner}: nothing but reloads and checks differs, on every node`, () => {
        assert.deepEqual(validateSet(cluster, whole, [controlPlane, worker]), []);
        for (const node of [controlPlane, worker]) {
          const before = resolveNode(cluster, node, manifestSet(layout));
          const after = resolveNode(cluster, node, whole);
          const certificates = ({ certificates }: ResolvedNode) =>
            certificates.map(({ name, specHash, outputs }) => ({ name, specHash, outputs }));
          assert.deepEqual(certificates(after), certificates(before));
          assert.deepEqual(
            after.bundles.map(({ issuer, file }) => ({ issuer, file })),
            before.bundles.map(({ issuer, file }) => ({ issuer, file })),
          );
        }
      });

      it(`restart nothing that reads its files by itself in the ${layout} layout with ${runner}, and a control plane one node at a time`, () => {
        const { certificates, bundles, keyPairs } = resolveNode(cluster, controlPlane, whole);
        const reloads = Object.fromEntries(
          [...certificates, ...bundles, ...keyPairs].flatMap(({ name, reload }) => (reload ? [[name, reload]] : [])),
        );
        assert.deepEqual(Object.keys(reloads).sort(), ['cluster-ca', 'etcd-ca', 'kubelet-client', 'kubelet-serving', 'sa']);
        for (const reload of Object.values(reloads)) {
          const isKubelet = reload.type === 'systemd' && reload.unit === 'kubelet.service';
          assert.equal(reload.oneAtATime ?? false, !isKubelet);
          assert.equal(reload.type, isKubelet ? 'systemd' : runner === 'systemd' ? 'systemd' : 'static-pod');
        }
        // etcd's CA is in this file, and kube-apiserver reads that at its start alone.
        assert.equal(reloads['cluster-ca']?.oneAtATime ?? false, layout === 'founding');
      });

      it(`look at every component of the ${layout} layout with ${runner} that serves or accepts clients`, () => {
        const { certificates, bundles } = resolveNode(cluster, controlPlane, whole);
        const looked = Object.fromEntries([...certificates, ...bundles].flatMap(({ name, verify }) => (verify ? [[name, verify]] : [])));
        assert.deepEqual(looked, {
          apiserver: 'tls://10.0.0.1:6443',
          'etcd-server': 'tls://10.0.0.1:2379',
          'etcd-peer': 'tls://10.0.0.1:2380',
          'kubelet-serving': 'tls://10.0.0.1:10250',
          'cluster-ca': 'tls://10.0.0.1:6443',
          'etcd-ca': 'tls://10.0.0.1:2379',
          'front-proxy-ca': 'tls://10.0.0.1:6443',
        });
        assert.equal(resolveNode(cluster, worker, whole).bundles[0]?.verify, 'tls://10.0.0.9:10250');
      });
    }
  }
});
