import assert from 'node:assert/strict';
import { type CertificateManifest, loadDocuments, parseDocuments } from '@evercert/shared/manifest';
import { assertFaults, faultsOf } from './support.ts';

/** Every field that a certificate manifest knows. */
const full = `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: apiserver, cluster: demo }
spec:
  selector: { role: control-plane, nodes: [cp-1], labels: { topology.kubernetes.io/zone: a } }
  issuer: cluster-ca
  subject: { commonName: kube-apiserver, organizations: ["{{ cluster.name }}"] }
  dnsNames: ["{{ node.name }}", kubernetes, "{{ cluster.apiServerDnsNames }}"]
  ipAddresses: ["{{ cluster.serviceIP }}", "{{ node.addresses }}"]
  usages: [digital signature, key encipherment, server auth]
  privateKey: { algorithm: RSA, size: 4096 }
  lifetime: 96h
  renewAt: 66%
  files:
    certificate: /etc/kubernetes/pki/apiserver.crt
    privateKey: { path: /etc/kubernetes/pki/apiserver.key, mode: 0640, owner: root, group: 0 }
  outputs:
    - pem: { certificate: /etc/kubernetes/pki/b.crt, privateKey: /etc/kubernetes/pki/b.key }
    - chain: /etc/kubernetes/pki/apiserver-chain.crt
    - combined: { path: /var/lib/kubelet/pki/kubelet-client-current.pem, dated: true }
    - combined: /var/lib/kubelet/pki/plain.pem
    - kubeconfig: { path: /etc/kubernetes/a.conf, clusterName: c, server: "https://{{ cluster.endpoint }}", user: u, certificate: /x.crt, privateKey: /x.key, certificateAuthority: /ca.crt }
    - kubeconfig: /etc/kubernetes/b.conf
    - pkcs12: { path: /etc/kubernetes/pki/a.p12, passwordFile: /etc/secret }
  reload: { signal: { pidFile: /run/x.pid } }
  verify: "tls://{{ node.address }}:6443"
`;

describe('parseDocuments', () => {
  it('reads every field of a certificate manifest, with its defaults', () => {
    const { documents, faults } = parseDocuments(full, { file: 'm.yaml' });
    assertFaults(faults, []);
    assert.deepEqual(documents[0]?.document, {
      kind: 'CertificateManifest',
      metadata: { name: 'apiserver', cluster: 'demo' },
      spec: {
        selector: { role: 'control-plane', nodes: ['cp-1'], labels: { 'topology.kubernetes.io/zone': 'a' } },
        issuer: 'cluster-ca',
        subject: { commonName: 'kube-apiserver', organizations: ['{{ cluster.name }}'] },
        dnsNames: ['{{ node.name }}', 'kubernetes', '{{ cluster.apiServerDnsNames }}'],
        ipAddresses: ['{{ cluster.serviceIP }}', '{{ node.addresses }}'],
        usages: ['digital signature', 'key encipherment', 'server auth'],
        keyAlgorithm: 'rsa-4096',
        lifetimeSeconds: 345_600,
        renewAt: 0.66,
        outputs: [
          {
            type: 'pem',
            certificate: { path: '/etc/kubernetes/pki/apiserver.crt', mode: 0o644 },
            privateKey: { path: '/etc/kubernetes/pki/apiserver.key', mode: 0o640, owner: 'root', group: '0' },
          },
          {
            type: 'pem',
            certificate: { path: '/etc/kubernetes/pki/b.crt', mode: 0o644 },
            privateKey: { path: '/etc/kubernetes/pki/b.key', mode: 0o600 },
          },
          { type: 'chain', file: { path: '/etc/kubernetes/pki/apiserver-chain.crt', mode: 0o644 } },
          { type: 'combined', file: { path: '/var/lib/kubelet/pki/kubelet-client-current.pem', mode: 0o600 }, dated: true },
          { type: 'combined', file: { path: '/var/lib/kubelet/pki/plain.pem', mode: 0o600 }, dated: false },
          {
            type: 'kubeconfig',
            file: { path: '/etc/kubernetes/a.conf', mode: 0o600 },
            clusterName: 'c',
            server: 'https://{{ cluster.endpoint }}',
            user: 'u',
            certificatePath: '/x.crt',
            privateKeyPath: '/x.key',
            certificateAuthorityPath: '/ca.crt',
          },
          {
            type: 'kubeconfig',
            file: { path: '/etc/kubernetes/b.conf', mode: 0o600 },
            clusterName: '{{ cluster.name }}',
            server: 'https://{{ cluster.endpoint }}',
            user: 'kube-apiserver',
          },
          { type: 'pkcs12', file: { path: '/etc/kubernetes/pki/a.p12', mode: 0o600 }, passwordPath: '/etc/secret' },
        ],
        reload: { type: 'signal', pidPath: '/run/x.pid', signal: 'SIGHUP' },
        verify: 'tls://{{ node.address }}:6443',
      },
    });
  });

  it('reads several documents of all kinds, each with its line', () => {
    const text = `# a comment
apiVersion: evercert.io/v1
kind: Cluster
metadata: { name: demo }
spec:
  leafLifetime: 20s
  serviceCidr: 10.96.0.0/12
  controlPlaneEndpoint: api.example.com
---
---
apiVersion: evercert.io/v1
kind: Node
metadata: { name: ip-10-0-0-1.ec2.internal, labels: { zone: a } }
spec: { role: worker, addresses: [10.0.0.1, "FD00::0:1"], dnsNames: [Node.Example.com] }
---
apiVersion: evercert.io/v1
kind: KeyPairManifest
metadata: { name: sa }
spec: { privateKey: /etc/kubernetes/pki/sa.key, publicKey: /etc/kubernetes/pki/sa.pub, privateKeyAlgorithm: rsa-4096 }
---
apiVersion: evercert.io/v1
kind: TrustBundleManifest
metadata: { name: ca }
spec: { issuer: cluster-ca, file: { path: /etc/kubernetes/pki/ca.crt, mode: "0640" }, reload: { command: [/bin/true] } }
`;
    const { documents, faults } = parseDocuments(text, { file: 'm.yaml' });
    assertFaults(faults, []);
    assert.deepEqual(
      documents.map(({ line }) => line),
      [2, 11, 16, 21],
    );
    const [cluster, node, keyPair, bundle] = documents.map(({ document }) => document);
    assert.deepEqual(cluster?.spec, { leafLifetimeSeconds: 20, serviceCidr: '10.96.0.0/12', controlPlaneEndpoint: 'api.example.com' });
    assert.deepEqual(node?.spec, { role: 'worker', addresses: ['10.0.0.1', 'fd00::1'], dnsNames: ['node.example.com'] });
    assert.deepEqual(keyPair?.spec, {
      selector: { role: 'control-plane' },
      keyAlgorithm: 'rsa-4096',
      privateKey: { path: '/etc/kubernetes/pki/sa.key', mode: 0o600 },
      publicKey: { path: '/etc/kubernetes/pki/sa.pub', mode: 0o644 },
    });
    assert.deepEqual(bundle?.spec, {
      selector: {},
      issuer: 'cluster-ca',
      file: { path: '/etc/kubernetes/pki/ca.crt', mode: 0o640 },
      reload: { type: 'command', argv: ['/bin/true'], timeoutSeconds: 30 },
    });
  });

  it('reads JSON and lists', () => {
    const node = (name: string): object => ({ apiVersion: 'evercert.io/v1', kind: 'Node', metadata: { name }, spec: { role: 'worker' } });
    const text = JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [node('a'), node('b')] }, null, 2);
    const { documents, faults } = parseDocuments(text, { file: 'm.json' });
    assertFaults(faults, []);
    assert.deepEqual(
      documents.map(({ document, line }) => [document.metadata.name, line]),
      [
        ['a', 5],
        ['b', 15],
      ],
    );
  });

  it('returns the good documents beside the faults of the others', () => {
    const text = `${full}---\napiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: a }\nspec: { role: wroker }\n`;
    const { documents, faults } = parseDocuments(text, { file: 'm.yaml' });
    assert.deepEqual(
      documents.map(({ document }) => document.metadata.name),
      ['apiserver'],
    );
    assertFaults(faults, ['m.yaml:31:15: spec.role: expected one of "control-plane", "worker", found "wroker"; did you mean "worker"?']);
  });

  it('refuses kinds that are not wanted', () => {
    assertFaults(parseDocuments(full, { file: 'm.yaml', kinds: ['Node'] }).faults, [
      'm.yaml:2:7: kind: the kind CertificateManifest cannot be used here; expected one of Node',
    ]);
  });

  it('finds nothing in an empty text', () => {
    assert.deepEqual(parseDocuments('# only this\n---\n', { file: 'm.yaml' }), { documents: [], faults: [] });
  });

  for (const [given, expected] of [
    ['2/3', 2 / 3],
    ['0.5', 0.5],
    ['"0.5"', undefined],
    ['75%', 0.75],
    ['1/0', undefined],
    ['0', undefined],
    ['150%', undefined],
    ['soon', undefined],
  ] as const) {
    it(`reads renewAt ${given} ${expected === undefined ? 'as a fault' : `as ${expected}`}`, () => {
      const { documents, faults } = parseDocuments(full.replace('66%', given), { file: 'm.yaml' });
      if (expected === undefined) assert.match(faults[0]?.field ?? '', /^spec\.renewAt$/);
      else assert.equal((documents[0]!.document as CertificateManifest).spec.renewAt, expected);
    });
  }
});

describe('a faulty document', () => {
  const replaced: [what: string, from: string, to: string, expected: (string | RegExp)[]][] = [
    ['no apiVersion', 'apiVersion: evercert.io/v1\n', '', ['m.yaml:1:1: apiVersion: missing; expected evercert.io/v1']],
    ['another apiVersion', 'evercert.io/v1', 'v1', ['m.yaml:1:13: apiVersion: expected evercert.io/v1, found "v1"']],
    [
      'an unknown kind',
      'kind: CertificateManifest',
      'kind: CertificateMainfest',
      ['m.yaml:2:7: kind: unknown kind "CertificateMainfest"; did you mean "CertificateManifest"?'],
    ],
    ['no kind', 'kind: CertificateManifest\n', '', [/^m\.yaml:1:1: kind: missing; expected one of /]],
    ['a bad name', 'name: apiserver', 'name: API_Server', [/^m\.yaml:3:19: metadata\.name: expected a name of lower-case letters/]],
    ['the name of the identity', 'name: apiserver', 'name: identity', [/^m\.yaml:3:19: metadata\.name: the name "identity" is kept/]],
    ['an unknown key', '  dnsNames:', '  dnsName:', ['m.yaml:8:3: spec.dnsName: unknown key "dnsName"; did you mean "dnsNames"?']],
    [
      'an unknown key in a file',
      'owner: root',
      'onwer: root',
      ['m.yaml:16:72: spec.files.privateKey.onwer: unknown key "onwer"; did you mean "owner"?'],
    ],
    [
      'an unknown issuer',
      'issuer: cluster-ca',
      'issuer: clutser-ca',
      [/^m\.yaml:6:11: spec\.issuer: expected one of .*did you mean "cluster-ca"\?$/],
    ],
    ['no issuer', '  issuer: cluster-ca\n', '', [/^m\.yaml:4:1: spec\.issuer: missing; expected one of/]],
    ['a bad duration', 'lifetime: 96h', 'lifetime: 4 days', [/^m\.yaml:12:13: spec\.lifetime: expected a duration/]],
    [
      'a lifetime beyond the issuer’s',
      'lifetime: 96h',
      'lifetime: 87601h',
      [/^m\.yaml:12:13: spec\.lifetime: expected from 10s to 87600h/],
    ],
    ['a lifetime too short', 'lifetime: 96h', 'lifetime: 9s', [/^m\.yaml:12:13: spec\.lifetime: expected from 10s/]],
    ['a renewal too late', '66%', '95%', [/^m\.yaml:13:12: spec\.renewAt: expected a part of the life from 0\.1 to 0\.9, found 0\.95$/]],
    [
      'an unknown usage',
      'key encipherment',
      'key encipherement',
      [/^m\.yaml:10:31: spec\.usages\[1\]: .*did you mean "key encipherment"\?$/],
    ],
    ['a usage twice', 'key encipherment', 'server auth', ['m.yaml:10:11: spec.usages: expected each item once']],
    [
      'no extended usage',
      'key encipherment, server auth',
      'key encipherment',
      [/^m\.yaml:10:11: spec\.usages: expected "server auth", "client auth" or both/],
    ],
    ['no digital signature', 'digital signature, ', '', [/^m\.yaml:10:11: spec\.usages: expected "digital signature"/]],
    [
      'a weak key',
      'size: 4096',
      'size: 2048',
      [/^m\.yaml:11:39: spec\.privateKey\.size: expected size 384 or 256 for ECDSA, 4096 or 3072 for RSA$/],
    ],
    [
      'an unknown template',
      '"{{ node.name }}"',
      '"{{ node.nmae }}"',
      ['m.yaml:8:14: spec.dnsNames[0]: unknown variable "node.nmae"; did you mean "node.name"?'],
    ],
    ['an open template', '"{{ node.name }}"', '"{{ node.name"', [/^m\.yaml:8:14: spec\.dnsNames\[0\]: a template is not closed/]],
    [
      'a list inside text',
      'tls://{{ node.address }}',
      'tls://{{ node.addresses }}',
      [/^m\.yaml:26:11: spec\.verify: \{\{ node\.addresses \}\} is a list/],
    ],
    [
      'an address among the names',
      'kubernetes,',
      '10.0.0.1,',
      [/^m\.yaml:8:33: spec\.dnsNames\[1\]: expected a DNS name, found an IP address/],
    ],
    [
      'a name among the addresses',
      '"{{ cluster.serviceIP }}"',
      'kubernetes',
      ['m.yaml:9:17: spec.ipAddresses[0]: expected an IPv4 or IPv6 address; found "kubernetes"'],
    ],
    [
      'a long common name',
      'commonName: kube-apiserver',
      `commonName: ${'x'.repeat(65)}`,
      [/^m\.yaml:7:26: spec\.subject\.commonName: expected at most 64 characters \(RFC 5280\), found 65/],
    ],
    [
      'a relative path',
      '/etc/kubernetes/pki/apiserver.crt',
      'etc/a.crt',
      ['m.yaml:15:5: spec.files.certificate.path: expected an absolute path, found "etc/a.crt"'],
    ],
    [
      'a path that climbs',
      '/etc/kubernetes/pki/apiserver.crt',
      '/etc/kubernetes/../shadow',
      [/^m\.yaml:15:5: spec\.files\.certificate\.path: expected a path without "\.\."/],
    ],
    [
      'a folder’s path',
      '/etc/kubernetes/pki/apiserver.crt',
      '/etc/kubernetes/',
      [/^m\.yaml:15:5: spec\.files\.certificate\.path: expected the path of a file, found a folder's/],
    ],
    ['a decimal mode', 'mode: 0640', 'mode: 640', [/^m\.yaml:16:66: spec\.files\.privateKey\.mode: .*write "0640"$/]],
    [
      'a key that others may read',
      'mode: 0640',
      'mode: 0644',
      [/^m\.yaml:16:66: spec\.files\.privateKey\.mode: the file holds a private key/],
    ],
    ['a key that a group may write', 'mode: 0640', 'mode: 0660', [/spec\.files\.privateKey\.mode: the file holds a private key/]],
    ['a key that is a program', 'mode: 0640', 'mode: 0750', [/spec\.files\.privateKey\.mode: the file is no program/]],
    ['a bad owner', 'owner: root', 'owner: "a b"', [/spec\.files\.privateKey\.owner: expected the name or number of a user/]],
    [
      'an output of two kinds',
      '- chain: /etc/kubernetes/pki/apiserver-chain.crt',
      '- { chain: /a, combined: /b }',
      [/^m\.yaml:19:7: spec\.outputs\[1\]: expected exactly one of: pem, chain, combined, kubeconfig, pkcs12$/],
    ],
    [
      'an output of no kind',
      '- chain: /etc/kubernetes/pki/apiserver-chain.crt',
      '- {}',
      [/^m\.yaml:19:7: spec\.outputs\[1\]: expected exactly one of/],
    ],
    [
      'a dated file of another name',
      'kubelet-client-current.pem',
      'kubelet-client.pem',
      [/^m\.yaml:20:25: spec\.outputs\[2\]\.combined\.path: a dated file's path must end in "-current\.pem"/],
    ],
    [
      'a kubeconfig with half a pair',
      ' privateKey: /x.key,',
      '',
      [/^m\.yaml:22:19: spec\.outputs\[4\]\.kubeconfig: expected certificate and privateKey together/],
    ],
    [
      'a kubeconfig for http',
      'https://{{ cluster.endpoint }}',
      'http://{{ cluster.endpoint }}',
      [/^m\.yaml:22:\d+: spec\.outputs\[4\]\.kubeconfig\.server: expected https:/],
    ],
    [
      'a reload of no kind',
      '{ signal: { pidFile: /run/x.pid } }',
      '{}',
      [/^m\.yaml:25:11: spec\.reload: expected exactly one of: systemd, signal, command, staticPod$/],
    ],
    [
      'a signal that nothing survives',
      'pidFile: /run/x.pid',
      'pidFile: /run/x.pid, signal: SIGKILL',
      [/spec\.reload\.signal\.signal: expected one of/],
    ],
    [
      'a command by a relative path',
      '{ signal: { pidFile: /run/x.pid } }',
      '{ command: [nginx, -s, reload] }',
      [/spec\.reload\.command\.argv: expected the absolute path of a program/],
    ],
    [
      'a unit without its ending',
      '{ signal: { pidFile: /run/x.pid } }',
      '{ systemd: { unit: nginx } }',
      [/spec\.reload\.systemd\.unit: expected the whole name of a systemd unit/],
    ],
    [
      'a verify without a port',
      'tls://{{ node.address }}:6443',
      'tls://{{ node.address }}',
      [/^m\.yaml:26:11: spec\.verify: expected tls:\/\/HOST:PORT/],
    ],
    ['an empty list of nodes', 'nodes: [cp-1]', 'nodes: []', [/spec\.selector\.nodes: expected at least 1 items, found 0/]],
    [
      'a label value that is none',
      'zone: a',
      'zone: "a b"',
      [/spec\.selector\.labels\["topology\.kubernetes\.io\/zone"\]: expected a label value/],
    ],
    ['a label key that is none', 'topology.kubernetes.io/zone: a', '"a b": c', [/spec\.selector\.labels\["a b"\]: the key is not valid/]],
  ];
  for (const [what, from, to, expected] of replaced) {
    it(`with ${what} is refused with its place`, () => {
      assert.ok(full.includes(from), from);
      assertFaults(parseDocuments(full.replace(from, to), { file: 'm.yaml' }).faults, expected);
    });
  }

  it('that puts the key nowhere is refused', () => {
    const text = `apiVersion: evercert.io/v1\nkind: CertificateManifest\nmetadata: { name: a }\nspec:\n  issuer: cluster-ca\n  subject: { commonName: a }\n  usages: [digital signature, client auth]\n  outputs: [{ chain: /etc/kubernetes/a.crt }]\n`;
    assertFaults(parseDocuments(text, { file: 'm.yaml' }).faults, [/^m\.yaml:5:3: spec: no output holds the private key/]);
  });

  const others: [what: string, text: string, expected: (string | RegExp)[]][] = [
    [
      'a key pair for workers',
      'kind: KeyPairManifest\nmetadata: { name: sa }\nspec:\n  selector: { role: worker }\n  privateKey: /a.key\n  publicKey: /a.pub\n',
      ['m.yaml:5:21: spec.selector.role: a shared key pair goes to control-plane nodes alone'],
    ],
    [
      'a bundle that all may write',
      'kind: TrustBundleManifest\nmetadata: { name: b }\nspec: { issuer: etcd-ca, file: { path: /a.crt, mode: "0666" } }\n',
      [/^m\.yaml:4:54: spec\.file\.mode: only the owner may write/],
    ],
    [
      'a node with a bad address',
      'kind: Node\nmetadata: { name: n }\nspec: { role: worker, addresses: [10.0.0.300] }\n',
      ['m.yaml:4:35: spec.addresses[0]: expected an IPv4 or IPv6 address, found "10.0.0.300"'],
    ],
    [
      'a node with a bad name of its own',
      'kind: Node\nmetadata: { name: N_1 }\nspec: { role: worker }\n',
      [/^m\.yaml:3:19: metadata\.name: expected a node name/],
    ],
    [
      'a node with an address twice',
      'kind: Node\nmetadata: { name: n }\nspec: { role: worker, addresses: ["::1", "0:0::1"] }\n',
      ['m.yaml:4:34: spec.addresses: expected each item once'],
    ],
    [
      'a cluster with a bad range',
      'kind: Cluster\nmetadata: { name: c }\nspec: { serviceCidr: 10.96.0.0 }\n',
      [/^m\.yaml:4:22: spec\.serviceCidr: expected a range in CIDR form/],
    ],
    [
      'a cluster that allows every path',
      'kind: Cluster\nmetadata: { name: c }\nspec: { allowedPaths: [/] }\n',
      [/^m\.yaml:4:24: spec\.allowedPaths\[0\]: expected the absolute path of a folder/],
    ],
    [
      'a cluster with a bad endpoint',
      'kind: Cluster\nmetadata: { name: c }\nspec: { controlPlaneEndpoint: "https://a" }\n',
      [/^m\.yaml:4:31: spec\.controlPlaneEndpoint: expected a host name or address/],
    ],
    [
      'a cluster’s lifetime by its inner name',
      'kind: Cluster\nmetadata: { name: c }\nspec: { leafLifetimeSeconds: 60 }\n',
      [/unknown key "leafLifetimeSeconds"; did you mean "leafLifetime"\?$/],
    ],
    ['a list without items', 'kind: List\n', [/^m\.yaml:1:1: items: expected the documents of the list/]],
    ['a list with a bad item', 'kind: List\nitems:\n  - 3\n', [/^m\.yaml:4:5: items\[0\]: expected a document with apiVersion/]],
  ];
  for (const [what, text, expected] of others) {
    it(`with ${what} is refused with its place`, () => {
      assertFaults(parseDocuments(`apiVersion: evercert.io/v1\n${text}`, { file: 'm.yaml' }).faults, expected);
    });
  }

  it('that is declared twice is refused, in one file and across files', () => {
    assertFaults(parseDocuments(`${full}---\n${full}`, { file: 'm.yaml' }).faults, [
      'm.yaml:30:19: metadata.name: CertificateManifest "apiserver": declared already at m.yaml:1',
    ]);
    const twice = [
      { file: 'a.yaml', text: full },
      { file: 'b.yaml', text: full },
    ];
    assertFaults(
      faultsOf(() => loadDocuments(twice)),
      [/^b\.yaml:3:19: metadata\.name: .*declared already at a\.yaml:1$/],
    );
  });
});

describe('loadDocuments', () => {
  it('fails with the faults of all files', () => {
    const sources = [
      { file: 'a.yaml', text: full.replace('66%', 'soon') },
      { file: 'b.yaml', text: 'x: [' },
    ];
    const faults = faultsOf(() => loadDocuments(sources));
    assert.deepEqual([...new Set(faults.map((fault) => fault.split(':')[0]))], ['a.yaml', 'b.yaml']);
  });
});
