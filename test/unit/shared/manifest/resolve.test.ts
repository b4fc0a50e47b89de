import assert from 'node:assert/strict';
import { type CertificateManifest, describeChange, type ResolvedCertificate, resolveNode, selects } from '@evercert/shared/manifest';
import { assertFaults, certificate, clusterOf, faultsOf, manifests, nodeOf, parse } from './support.ts';

function resolveOne(manifest: CertificateManifest, policy = {}, node = {}): ResolvedCertificate {
  return resolveNode(clusterOf(policy), nodeOf(node), [manifest]).certificates[0]!;
}

describe('selects', () => {
  const node = nodeOf({ labels: { zone: 'a', tier: 'db' } });
  it('selects every node when nothing is asked', () => assert.equal(selects({}, node), true));
  it('asks for all conditions at once', () => {
    assert.equal(selects({ role: 'control-plane', nodes: ['x', 'cp-1'], labels: { zone: 'a' } }, node), true);
    assert.equal(selects({ role: 'worker', nodes: ['cp-1'] }, node), false);
    assert.equal(selects({ nodes: ['cp-2'] }, node), false);
    assert.equal(selects({ labels: { zone: 'a', tier: 'web' } }, node), false);
    assert.equal(selects({ labels: { toString: '' } }, node), false);
  });
});

describe('resolveNode', () => {
  it('puts in what templates speak of', () => {
    const policy = {
      controlPlaneEndpoint: 'API.example.com',
      apiServerExtraSans: ['10.9.9.9', 'extra.example.com'],
      dnsDomain: 'cluster.test',
      serviceCidr: '10.96.0.0/12',
    };
    const variables: Record<string, string[]> = {
      '{{ node.name }}': ['cp-1'],
      '{{node.name}}.x': ['cp-1.x'],
      '{{ node.role }}': ['control-plane'],
      '{{ node.labels.zone }}': ['zone-a'],
      '{{ node.labels.topology.kubernetes.io/zone }}': ['b'],
      '{{ node.dnsNames }}': ['cp-1.example.com'],
      '{{ cluster.name }}-{{ node.name }}': ['demo-cp-1'],
      'svc.{{ cluster.dnsDomain }}': ['svc.cluster.test'],
      '{{ cluster.apiServerDnsNames }}': ['api.example.com', 'extra.example.com'],
    };
    for (const [template, expected] of Object.entries(variables)) {
      const labels = { zone: 'zone-a', 'topology.kubernetes.io/zone': 'b' };
      assert.deepEqual(resolveOne(certificate({ dnsNames: [template] }), policy, { labels }).dnsNames, expected, template);
    }
    const addresses: Record<string, string[]> = {
      '{{ node.address }}': ['10.0.0.1'],
      '{{ node.addresses }}': ['10.0.0.1', 'fd00::1'],
      '{{ cluster.serviceIP }}': ['10.96.0.1'],
      '{{ cluster.apiServerAddresses }}': ['10.9.9.9'],
    };
    for (const [template, expected] of Object.entries(addresses)) {
      assert.deepEqual(resolveOne(certificate({ ipAddresses: [template] }), policy).ipAddresses, expected, template);
    }
  });

  it('names the API server by the endpoint, else by the node’s own address', () => {
    const manifest = certificate({ outputs: [{ kubeconfig: '/etc/kubernetes/a.conf' }], verify: 'tls://{{ node.address }}:6443' });
    const server = (policy: object, node = {}): unknown => {
      const resolved = resolveOne(manifest, policy, node);
      const output = resolved.outputs[1]!;
      return [output.type === 'kubeconfig' && output.server, resolved.verify];
    };
    assert.deepEqual(server({ controlPlaneEndpoint: 'api.example.com' }), ['https://api.example.com:6443', 'tls://10.0.0.1:6443']);
    assert.deepEqual(server({ controlPlaneEndpoint: 'fd00::9' }), ['https://[fd00::9]:6443', 'tls://10.0.0.1:6443']);
    assert.deepEqual(server({ controlPlaneEndpoint: '10.0.0.9:443' }), ['https://10.0.0.9:443', 'tls://10.0.0.1:6443']);
    assert.deepEqual(server({}, { addresses: ['fd00::1'] }), ['https://[fd00::1]:6443', 'tls://[fd00::1]:6443']);
  });

  it('makes names canonical and keeps each once, in their order', () => {
    const resolved = resolveOne(
      certificate({
        dnsNames: ['B.example', 'a.example', 'b.example', '*.x'],
        ipAddresses: ['FD00:0::1', '{{ node.addresses }}', '::ffff:10.0.0.1'],
      }),
    );
    assert.deepEqual(resolved.dnsNames, ['b.example', 'a.example', '*.x']);
    assert.deepEqual(resolved.ipAddresses, ['fd00::1', '10.0.0.1']);
  });

  it('takes key and lifetime from the cluster where the manifest does not say', () => {
    const policy = { keyAlgorithm: 'rsa-4096', leafLifetimeSeconds: 20 } as const;
    const plain = resolveOne(certificate(), policy);
    assert.deepEqual([plain.keyAlgorithm, plain.lifetimeSeconds], ['rsa-4096', 20]);
    const own = resolveOne(certificate({ privateKey: { algorithm: 'ECDSA' }, lifetime: '1h' }), policy);
    assert.deepEqual([own.keyAlgorithm, own.lifetimeSeconds], ['ecdsa-p384', 3600]);
  });

  it('leaves out what does not select the node, and sorts by name', () => {
    const set = manifests(certificate({}, 'b'), certificate({ selector: { role: 'worker' } }, 'c'), certificate({}, 'a'));
    assert.deepEqual(
      resolveNode(clusterOf(), nodeOf(), set).certificates.map(({ name }) => name),
      ['a', 'b'],
    );
  });

  it('gives the same for the same facts, in whatever order the manifests come', () => {
    const set = manifests(certificate({}, 'a'), certificate({ dnsNames: ['{{ node.name }}'] }, 'b'), certificate({}, 'c'));
    assert.deepEqual(resolveNode(clusterOf(), nodeOf(), set), resolveNode(clusterOf(), nodeOf(), set.toReversed()));
  });

  it('hashes what is in the certificate, and nothing else', () => {
    const hash = (spec: object, policy = {}): string => resolveOne(certificate(spec), policy).specHash;
    const base = hash({ dnsNames: ['a', 'b'] });
    assert.match(base, /^[0-9a-f]{64}$/);
    const same: object[] = [
      { dnsNames: ['b', 'a'] },
      { dnsNames: ['A', 'b', 'a'] },
      { dnsNames: ['a', 'b'], usages: ['server auth', 'digital signature'] },
      { dnsNames: ['a', 'b'], renewAt: 0.5 },
      { dnsNames: ['a', 'b'], verify: 'tls://a:1', reload: { command: ['/bin/true'] } },
      { dnsNames: ['a', 'b'], files: { certificate: '/etc/kubernetes/x.crt', privateKey: '/etc/kubernetes/x.key' } },
      { dnsNames: ['a', 'b'], lifetime: '96h', privateKey: { algorithm: 'ECDSA', size: 384 } },
    ];
    for (const spec of same) assert.equal(hash(spec), base, JSON.stringify(spec));
    const other: object[] = [
      { dnsNames: ['a'] },
      { dnsNames: ['a', 'b'], ipAddresses: ['::1'] },
      { dnsNames: ['a', 'b'], issuer: 'etcd-ca' },
      { dnsNames: ['a', 'b'], subject: { commonName: 'x' } },
      { dnsNames: ['a', 'b'], subject: { commonName: 'web', organizations: ['o'] } },
      { dnsNames: ['a', 'b'], usages: ['digital signature', 'client auth'] },
      { dnsNames: ['a', 'b'], lifetime: '95h' },
      { dnsNames: ['a', 'b'], privateKey: { algorithm: 'RSA' } },
    ];
    assert.equal(new Set([base, ...other.map((spec) => hash(spec))]).size, other.length + 1);
    assert.notEqual(hash({ dnsNames: ['a', 'b'] }, { leafLifetimeSeconds: 60 }), base);
  });

  const unresolved: [what: string, spec: object, node: object, expected: RegExp][] = [
    [
      'an address that the node has not',
      { ipAddresses: ['{{ node.address }}'] },
      { addresses: [] },
      /spec\.ipAddresses\[0\]: CertificateManifest "web" for node "cp-1": \{\{ node\.address \}\} has no value here: the node has no address/,
    ],
    [
      'an endpoint that nobody has',
      { outputs: [{ kubeconfig: '/etc/kubernetes/a.conf' }] },
      { addresses: [] },
      /spec\.outputs\[0\]\.kubeconfig\.server: .* for node "cp-1": .*no controlPlaneEndpoint and the node no address/,
    ],
    [
      'a label that the node has not',
      { dnsNames: ['{{ node.labels.zone }}'] },
      {},
      /spec\.dnsNames\[0\]: .* for node "cp-1": the node has no label "zone"/,
    ],
    [
      'a label that is no DNS name',
      { dnsNames: ['{{ node.labels.zone }}'] },
      { labels: { zone: 'a_b' } },
      /spec\.dnsNames\[0\]: .*found "\{\{ node\.labels\.zone \}\}" \(here "a_b"\)/,
    ],
    [
      'a path that a label leads out',
      { outputs: [{ chain: '/etc/kubernetes/{{ node.labels.zone }}/x' }] },
      { labels: { zone: '..' } },
      /spec\.outputs\[0\]\.chain\.path: .*expected a path without "\.\."/,
    ],
    [
      'a common name that grows too long',
      { subject: { commonName: 'system:node:{{ node.name }}' } },
      { name: 'n'.repeat(53) },
      /spec\.subject\.commonName: .*at most 64 characters .*found 65/,
    ],
  ];
  for (const [what, spec, node, expected] of unresolved) {
    it(`refuses ${what}, naming manifest, field and node`, () => {
      assertFaults(
        faultsOf(() => resolveNode(clusterOf(), nodeOf(node), [certificate(spec)])),
        [expected],
      );
    });
  }

  it('expands an empty list to nothing', () => {
    assert.deepEqual(resolveOne(certificate({ ipAddresses: ['{{ node.addresses }}'] }), {}, { addresses: [] }).ipAddresses, []);
  });

  it('refuses two manifests for one file', () => {
    const files = { certificate: '/etc/kubernetes/{{ node.name }}.crt', privateKey: '/etc/kubernetes/a.key' };
    const set = manifests(certificate({ files }, 'a'), certificate({ outputs: [{ chain: '/etc/kubernetes/cp-1.crt' }] }, 'b'));
    assertFaults(
      faultsOf(() => resolveNode(clusterOf(), nodeOf(), set)),
      [
        /spec\.outputs\[0\]\.chain\.path: CertificateManifest "b" .*"\/etc\/kubernetes\/cp-1\.crt" is declared twice; CertificateManifest "a"/,
      ],
    );
    assert.equal(resolveNode(clusterOf(), nodeOf({ name: 'cp-2' }), set).certificates.length, 2);
  });

  it('leaves braces in the words of a command alone', () => {
    const resolved = resolveOne(certificate({ reload: { command: ['/usr/bin/docker', '--format', '{{.ID}}'] } }));
    assert.deepEqual(resolved.reload, { type: 'command', argv: ['/usr/bin/docker', '--format', '{{.ID}}'], timeoutSeconds: 30 });
  });

  it('never gives a shared key pair to a worker, even when a selector built by hand says so', () => {
    const [keyPair] = manifests(
      ...parse(
        JSON.stringify({
          apiVersion: 'evercert.io/v1',
          kind: 'KeyPairManifest',
          metadata: { name: 'sa' },
          spec: { privateKey: '/etc/kubernetes/a', publicKey: '/etc/kubernetes/b' },
        }),
      ),
    );
    assert.ok(keyPair?.kind === 'KeyPairManifest');
    assert.deepEqual(resolveNode(clusterOf(), nodeOf({ role: 'worker' }), [keyPair]).keyPairs, []);
    const forged = { ...keyPair, spec: { ...keyPair.spec, selector: {} } };
    assertFaults(
      faultsOf(() => resolveNode(clusterOf(), nodeOf({ role: 'worker' }), [forged])),
      [/spec\.selector\.role: .*goes to no other node/],
    );
  });
});

describe('describeChange', () => {
  it('tells what is issued, issued again and removed', () => {
    const resolve = (...set: CertificateManifest[]): ReturnType<typeof resolveNode> => resolveNode(clusterOf(), nodeOf(), set);
    const before = resolve(certificate({}, 'kept'), certificate({}, 'changed'), certificate({}, 'gone'));
    const after = resolve(certificate({ renewAt: 0.5 }, 'kept'), certificate({ dnsNames: ['x'] }, 'changed'), certificate({}, 'added'));
    assert.deepEqual(describeChange(before, after), [
      { certificate: 'added', action: 'issue' },
      { certificate: 'changed', action: 'reissue' },
      { certificate: 'gone', action: 'remove' },
    ]);
    assert.deepEqual(describeChange(undefined, resolve(certificate({}, 'a'))), [{ certificate: 'a', action: 'issue' }]);
    assert.deepEqual(describeChange(before, before), []);
  });
});
