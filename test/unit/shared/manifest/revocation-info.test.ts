import assert from 'node:assert/strict';
import { type Manifest, parseDocuments, type RevocationListManifest, resolveNode, toYaml } from '@evercert/shared/manifest';
import { assertFaults, certificate, clusterOf, faultsOf, nodeOf, parse } from './support.ts';

const cluster = clusterOf();
const { webUrl: _none, ...silent } = cluster;
const resolve = (...set: Manifest[]) => resolveNode(cluster, nodeOf(), set);

describe('revocationInfo of a certificate', () => {
  const urlsOf = (revocationInfo: object) => resolve(certificate({ revocationInfo })).certificates[0]?.revocationUrls;

  it('puts in the URLs of its own CA in its own cluster, each kind where it is asked for', () => {
    assert.deepEqual(urlsOf({ crl: true, ocsp: true }), {
      crlUrls: ['http://pki.example:7480/crl/demo/cluster-ca.crl'],
      ocspUrls: ['http://pki.example:7480/ocsp/demo/cluster-ca'],
      caIssuerUrls: ['http://pki.example:7480/ca/demo/cluster-ca.crt'],
    });
    assert.deepEqual(urlsOf({ crl: true }), { crlUrls: ['http://pki.example:7480/crl/demo/cluster-ca.crl'] });
    assert.equal(urlsOf({ crl: false }), undefined);
    assert.equal(urlsOf({}), undefined);
  });

  it('and its URL are part of the certificate: a change means a new one', () => {
    const hash = (spec: object, facts = cluster) => resolveNode(facts, nodeOf(), [certificate(spec)]).certificates[0]?.specHash;
    const hashes = [
      hash({}),
      hash({ revocationInfo: { crl: true } }),
      hash({ revocationInfo: { ocsp: true } }),
      hash({ revocationInfo: { crl: true, ocsp: true } }),
      hash({ revocationInfo: { crl: true } }, { ...cluster, webUrl: 'http://other.example' }),
    ];
    assert.equal(new Set(hashes).size, hashes.length);
  });

  it('leaves the hash of certificates without it as it was, with or without a URL', () => {
    const [withUrl, without] = [cluster, silent].map((facts) => resolveNode(facts, nodeOf(), [certificate()]).certificates[0]?.specHash);
    assert.equal(withUrl, without);
  });

  it('is refused where the coordinator serves neither', () => {
    const manifest = certificate({ revocationInfo: { crl: true } });
    assertFaults(
      faultsOf(() => resolveNode(silent, nodeOf(), [manifest])),
      [/spec\.revocationInfo: .*this coordinator serves no CRL and OCSP: set web\.enabled or web\.url/],
    );
  });
});

describe('a RevocationListManifest', () => {
  const text = (spec: string): string =>
    `apiVersion: evercert.io/v1\nkind: RevocationListManifest\nmetadata: { name: etcd-crl }\nspec: ${spec}\n`;
  const [list] = parse(text('{ issuer: etcd-ca, file: /etc/kubernetes/pki/etcd/ca.crl }')) as [RevocationListManifest];

  it('is PEM and for everybody to read where it does not say', () => {
    assert.deepEqual(list.spec, {
      selector: {},
      issuer: 'etcd-ca',
      file: { path: '/etc/kubernetes/pki/etcd/ca.crl', mode: 0o644 },
      format: 'pem',
    });
  });

  it('resolves for the nodes that it selects, with format, file and reload', () => {
    const spec =
      '{ issuer: etcd-ca, format: der, selector: { role: control-plane }, file: "/etc/kubernetes/{{ node.name }}.crl", reload: { systemd: { unit: etcd.service } } }';
    const [manifest] = parse(text(spec)) as [RevocationListManifest];
    assert.deepEqual(resolve(manifest).revocationLists, [
      {
        name: 'etcd-crl',
        issuer: 'etcd-ca',
        file: { path: '/etc/kubernetes/cp-1.crl', mode: 0o644 },
        format: 'der',
        reload: { type: 'systemd', unit: 'etcd.service', action: 'reload-or-restart' },
      },
    ]);
    assert.deepEqual(resolveNode(cluster, nodeOf({ role: 'worker' }), [manifest]).revocationLists, []);
  });

  it('reads back from its canonical YAML', () => {
    assert.deepEqual(parse(toYaml(list)), [list]);
  });

  it('conflicts with whatever else writes the same file', () => {
    const bundle = parse(
      JSON.stringify({
        ...list,
        apiVersion: 'evercert.io/v1',
        kind: 'TrustBundleManifest',
        spec: { issuer: 'etcd-ca', file: list.spec.file.path },
      }),
    );
    assertFaults(
      faultsOf(() => resolve(list, ...(bundle as Manifest[]))),
      [/the file "\/etc\/kubernetes\/pki\/etcd\/ca\.crl" is declared twice/],
    );
  });

  for (const [what, spec, expected] of [
    ['an unknown format', '{ issuer: etcd-ca, file: /a.crl, format: txt }', /spec\.format/],
    ['an unknown issuer', '{ issuer: control-ca, file: /a.crl }', /spec\.issuer/],
    ['no file', '{ issuer: etcd-ca }', /spec\.file/],
    [
      'a file that all may write',
      '{ issuer: etcd-ca, file: { path: /a.crl, mode: "0666" } }',
      /spec\.file\.mode: only the owner may write/,
    ],
  ] as const) {
    it(`with ${what} is refused with its line`, () => {
      assertFaults(parseDocuments(text(spec), { file: 'm.yaml' }).faults, [new RegExp(`^m\\.yaml:4:\\d+: .*${expected.source}`)]);
    });
  }
});
