import assert from 'node:assert/strict';
import { defaultClusterPolicy, type IssuerName, type Manifest, validateSet } from '@evercert/shared/manifest';
import { assertFaults, certificate, clusterOf, nodeOf } from './support.ts';

describe('validateSet', () => {
  it('finds nothing wrong with a good set', () => {
    const set = [
      certificate({}, 'a'),
      certificate({ selector: { labels: { zone: 'a' } }, dnsNames: ['{{ node.labels.zone }}', '{{ node.labels.rack }}'] }, 'b'),
    ];
    assert.deepEqual(validateSet(clusterOf(), set), []);
  });

  it('finds two manifests for one file before any node has joined', () => {
    const file = { chain: '/etc/kubernetes/same.crt' };
    const clashing: [object, object, clash: boolean][] = [
      [{}, {}, true],
      [{}, { role: 'worker' }, true],
      [{ role: 'control-plane' }, { role: 'worker' }, false],
      [{ nodes: ['a', 'b'] }, { nodes: ['b'] }, true],
      [{ nodes: ['a'] }, { nodes: ['b'] }, false],
      [{ nodes: ['a'] }, { role: 'worker' }, true],
      [{ labels: { zone: 'a' } }, { labels: { zone: 'b' } }, false],
      [{ labels: { zone: 'a' } }, { labels: { zone: 'a' }, role: 'worker' }, true],
    ];
    for (const [first, second, clash] of clashing) {
      const set = [certificate({ selector: first, outputs: [file] }, 'a'), certificate({ selector: second, outputs: [file] }, 'b')];
      const expected = clash
        ? [
            /^m\.yaml:1:\d+: spec\.outputs\[0\]\.chain\.path: CertificateManifest "b".*declared twice; CertificateManifest "a" declares it too$/,
          ]
        : [];
      assertFaults(validateSet(clusterOf(), set), expected);
    }
  });

  it('judges named nodes by what they are once they are known', () => {
    const file = { chain: '/etc/kubernetes/same.crt' };
    const set = [
      certificate({ selector: { nodes: ['a'] }, outputs: [file] }, 'a'),
      certificate({ selector: { role: 'worker' }, outputs: [file] }, 'b'),
    ];
    assertFaults(validateSet(clusterOf(), set, [nodeOf({ name: 'a', role: 'control-plane' })]), []);
    assertFaults(validateSet(clusterOf(), set, [nodeOf({ name: 'a', role: 'worker' })]), [
      /CertificateManifest "b" for node "a": .*declared twice/,
    ]);
  });

  it('finds a file twice within one manifest, and a file inside another’s path', () => {
    const twice = certificate({ outputs: [{ chain: '/etc/kubernetes/x' }, { combined: '/etc/kubernetes/x' }] });
    assertFaults(validateSet(clusterOf(), [twice]), [/spec\.outputs\[1\]\.combined\.path: .*declared twice/]);
    const inside = certificate({ outputs: [{ chain: '/etc/kubernetes/x' }, { combined: '/etc/kubernetes/x/y/z' }] });
    assertFaults(validateSet(clusterOf(), [inside]), [
      /spec\.outputs\[1\]\.combined\.path: .*"\/etc\/kubernetes\/x\/y\/z" lies inside "\/etc\/kubernetes\/x"/,
    ]);
  });

  it('finds paths outside the folders that the cluster allows', () => {
    const path = (chain: string, allowedPaths = defaultClusterPolicy.allowedPaths): number =>
      validateSet(clusterOf({ allowedPaths }), [
        certificate({ files: undefined, outputs: [{ chain }, { combined: `${allowedPaths.at(-1)}/k` }] }),
      ]).length;
    assert.equal(path('/etc/kubernetes/a.crt'), 0);
    assert.equal(path('/etc/shadow'), 1);
    assert.equal(path('/etc/kubernetesque/a.crt'), 1);
    assert.equal(path('/etc/kubernetes'), 1);
    assert.equal(path('/srv/a', ['/srv']), 0);
    assert.equal(path('/etc/kubernetes/a.crt', ['/srv']), 1);
  });

  it('finds what only a certain node lacks, and names it', () => {
    const set = [certificate({ ipAddresses: ['{{ node.address }}'], dnsNames: ['{{ node.labels.zone }}'] })];
    const good = nodeOf({ labels: { zone: 'a' } });
    assert.deepEqual(validateSet(clusterOf(), set, [good]), []);
    assertFaults(validateSet(clusterOf(), set, [good, nodeOf({ name: 'n2', addresses: [] })]), [
      /spec\.dnsNames\[0\]: CertificateManifest "web" for node "n2": the node has no label "zone"/,
      /spec\.ipAddresses\[0\]: CertificateManifest "web" for node "n2": .*the node has no address/,
    ]);
  });

  it('finds too many names once lists are expanded', () => {
    const addresses = Array.from({ length: 99 }, (_, i) => `10.0.0.${i}`);
    const set = [certificate({ dnsNames: ['a', 'b'], ipAddresses: ['{{ node.addresses }}'] })];
    assertFaults(validateSet(clusterOf(), set, [nodeOf({ addresses })]), [
      /spec\.dnsNames: .*at most 100 DNS names and addresses in all, found 101/,
    ]);
    assert.deepEqual(validateSet(clusterOf(), set, [nodeOf({ addresses: addresses.slice(1) })]), []);
  });

  it('checks manifests that no parser has seen', () => {
    const web = certificate();
    const change = (spec: object): Manifest => ({ ...web, spec: { ...web.spec, ...spec } });
    assertFaults(validateSet(clusterOf(), [change({ issuer: 'my-ca' as IssuerName })]), [/^spec\.issuer: .*unknown issuer "my-ca"/]);
    assertFaults(validateSet(clusterOf(), [change({ lifetimeSeconds: 3650 * 86_400 + 1 })]), [/^spec\.lifetime: /]);
    assertFaults(validateSet(clusterOf(), [change({ renewAt: Number.NaN })]), [/^spec\.renewAt: /]);
    assertFaults(
      validateSet(clusterOf(), [
        web,
        change({ outputs: [{ type: 'combined', file: { path: '/etc/kubernetes/a', mode: 0o600 }, dated: false }] }),
      ]),
      [/^metadata\.name: CertificateManifest "web": the name is declared twice in this cluster$/],
    );
  });

  it('bounds the number of manifests and of faults', () => {
    const many = Array.from({ length: 201 }, () => certificate());
    assertFaults(validateSet(clusterOf(), many), [/201 manifests; expected at most 200/]);
    const nodes = Array.from({ length: 300 }, (_, i) => nodeOf({ name: `n${i}`, labels: { zone: `a_${i}` } }));
    assert.equal(validateSet(clusterOf(), [certificate({ dnsNames: ['{{ node.labels.zone }}'] })], nodes).length, 100);
  });

  it('says the same thing of many nodes once', () => {
    const nodes = Array.from({ length: 50 }, (_, i) => nodeOf({ name: `n${i}`, addresses: [] }));
    assertFaults(validateSet(clusterOf(), [certificate({ ipAddresses: ['{{ node.address }}'] })], nodes), [/for node "n0"/]);
  });
});
