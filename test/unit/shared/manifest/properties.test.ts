import assert from 'node:assert/strict';
import {
  type AnyDocument,
  type FileSpec,
  isManifest,
  issuers,
  layouts,
  type OutputSpec,
  parseDocuments,
  type ReloadKind,
  type ReloadSpec,
  type RevocationEntry,
  resolveNode,
  revocationApiVersions,
  roles,
  type Selector,
  staticPodMethods,
  toYaml,
} from '@evercert/shared/manifest';
import { revocationReasons } from '@evercert/shared/revocation';
import { keyAlgorithms } from '@evercert/shared/x509';
import fc from 'fast-check';
import { clusterOf, nodeOf } from './support.ts';

/** Arbitraries of documents as the parser makes them. */
const name = fc.stringMatching(/^[a-z][a-z0-9]{0,10}$/).filter((text) => text !== 'identity');
const file = (modes: number[]): fc.Arbitrary<FileSpec> =>
  fc.record(
    {
      path: fc.constant('/etc/kubernetes/file'),
      mode: fc.constantFrom(...modes),
      owner: fc.constantFrom('root', '0', '0010'),
      group: fc.constantFrom('etcd', '1000'),
    },
    { requiredKeys: ['path', 'mode'] },
  );
const publicFile = file([0o644, 0o640, 0o600]);
const secretFile = file([0o600, 0o640]);
const selector: fc.Arbitrary<Selector> = fc.record(
  {
    role: fc.constantFrom(...roles),
    nodes: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }),
    labels: fc.dictionary(name, fc.constantFrom('', 'yes', '007', '0600', '1e3', 'null', 'a.b'), { maxKeys: 3 }),
  },
  { requiredKeys: [] },
);
const pem: fc.Arbitrary<OutputSpec> = fc.record({ type: fc.constant('pem' as const), certificate: publicFile, privateKey: secretFile });
const output: fc.Arbitrary<OutputSpec> = fc.oneof(
  pem,
  fc.record({ type: fc.constant('chain' as const), file: publicFile }),
  fc.record({ type: fc.constant('combined' as const), file: secretFile, dated: fc.constant(false) }),
  fc.record({ type: fc.constant('pkcs12' as const), file: secretFile, passwordPath: fc.constant('/etc/password') }),
  fc
    .record({
      file: secretFile,
      clusterName: name,
      user: fc.constantFrom('{{ node.name }}', '@u', '- x', '#'),
      pair: fc.boolean(),
      ca: fc.boolean(),
    })
    .map(({ pair, ca, ...rest }) => ({
      type: 'kubeconfig' as const,
      ...rest,
      server: 'https://{{ cluster.endpoint }}',
      ...(pair ? { certificatePath: '/a', privateKeyPath: '/b' } : {}),
      ...(ca ? { certificateAuthorityPath: '/ca' } : {}),
    })),
);
const reloadKind: fc.Arbitrary<ReloadKind> = fc.oneof(
  fc.record({
    type: fc.constant('systemd' as const),
    unit: fc.constantFrom('a.service', 'a@b.socket'),
    action: fc.constantFrom('reload' as const, 'try-restart' as const),
  }),
  fc.record({
    type: fc.constant('signal' as const),
    pidPath: fc.constant('/run/a.pid'),
    signal: fc.constantFrom('SIGHUP' as const, 'SIGUSR1' as const),
  }),
  fc.record({
    type: fc.constant('command' as const),
    argv: fc.array(fc.string({ minLength: 1, maxLength: 8 }), { maxLength: 3 }).map((rest) => ['/bin/x', ...rest]),
    timeoutSeconds: fc.integer({ min: 1, max: 600 }),
  }),
  fc.record(
    {
      type: fc.constant('static-pod' as const),
      manifestPath: fc.constantFrom('/etc/kubernetes/manifests/etcd.yaml', '/{{ node.name }}.yaml'),
      method: fc.constantFrom(...staticPodMethods),
      watch: fc.constantFrom('/run/a.pid', 'tls://{{ node.address }}:6443', 'http://127.0.0.1:2381/health', 'https://a/readyz'),
      timeoutSeconds: fc.integer({ min: 10, max: 600 }),
    },
    { requiredKeys: ['type', 'manifestPath', 'method', 'timeoutSeconds'] },
  ),
);
const reload: fc.Arbitrary<ReloadSpec> = fc
  .tuple(reloadKind, fc.record({ oneAtATime: fc.constant(true), component: fc.constantFrom('etcd', 'a-b') }, { requiredKeys: [] }))
  .map(([kind, more]) => ({ ...kind, ...more }));
const revocationEntry: fc.Arbitrary<RevocationEntry> = fc
  .tuple(
    fc.record(
      {
        description: fc.constantFrom('', 'why: so', '1e3'),
        notBeforeMs: fc.integer({ min: 0, max: 4e12 }),
        reason: fc.constantFrom(...revocationReasons),
      },
      { requiredKeys: ['description', 'reason'] },
    ),
    fc.oneof(
      fc.record({
        kind: fc.constant('SerialNumber' as const),
        // Each of them would be a number for YAML.
        serialNumber: fc.constantFrom('12', '1234', '12e5', '0123', '77fdf4b1033b387aaace6ce1c18710c2', '123456789012345678901234567890'),
        includeSuccessors: fc.boolean(),
      }),
      fc.record({ kind: fc.constant('Group' as const), group: fc.constantFrom('system:nodes', 'true', '1e3', 'a b', '0600') }),
      fc.record({ kind: fc.constant('DNS' as const), dns: fc.constantFrom('a', '.cluster.local', '*.b.c', 'xn--tda.de', '1.5') }),
      fc.record({ kind: fc.constant('IP' as const), ip: fc.constantFrom('::1', '10.0.0.1', 'fd00::1') }),
    ),
  )
  .map(([base, kind]) => ({ ...base, ...kind }));
const metadata = fc.record({ name, cluster: name }, { requiredKeys: ['name'] });
const anyDocument = fc.oneof(
  fc.record({
    kind: fc.constant('CertificateManifest' as const),
    metadata,
    spec: fc.record(
      {
        selector,
        issuer: fc.constantFrom(...issuers),
        subject: fc.record({
          commonName: fc.constantFrom('x', 'system:node:{{ node.name }}', '*', '! y', 'true', '0600'),
          organizations: fc.array(fc.constantFrom('system:nodes', '1'), { maxLength: 2 }),
        }),
        dnsNames: fc.array(fc.constantFrom('a.b', '{{ node.name }}', '*.c', '{{ node.dnsNames }}'), { maxLength: 3 }),
        ipAddresses: fc.array(fc.constantFrom('::1', '{{ node.addresses }}', '10.0.0.1'), { maxLength: 3 }),
        usages: fc.constantFrom(
          ['digital signature' as const, 'server auth' as const],
          ['digital signature' as const, 'key encipherment' as const, 'client auth' as const],
        ),
        keyAlgorithm: fc.constantFrom(...keyAlgorithms),
        lifetimeSeconds: fc.integer({ min: 10, max: 3650 * 86_400 }),
        renewAt: fc.oneof(fc.constant(2 / 3), fc.double({ min: 0.1, max: 0.9, noNaN: true })),
        outputs: fc
          .tuple(fc.array(output, { maxLength: 3 }), pem, fc.array(output, { maxLength: 2 }))
          .map(([before, one, after]) => [...before, one, ...after]),
        reload,
        verify: fc.constant('tls://{{ node.address }}:1'),
        revocationInfo: fc.constantFrom({ crl: true, ocsp: true }, { crl: true, ocsp: false }, { crl: false, ocsp: true }),
      },
      { requiredKeys: ['selector', 'issuer', 'subject', 'dnsNames', 'ipAddresses', 'usages', 'renewAt', 'outputs'] },
    ),
  }),
  fc.record({
    kind: fc.constant('TrustBundleManifest' as const),
    metadata,
    spec: fc.record(
      { selector, issuer: fc.constantFrom(...issuers), file: publicFile, reload, verify: fc.constant('tls://{{ node.address }}:6443') },
      { requiredKeys: ['selector', 'issuer', 'file'] },
    ),
  }),
  fc.record({
    kind: fc.constant('RevocationListManifest' as const),
    metadata,
    spec: fc.record(
      { selector, issuer: fc.constantFrom(...issuers), file: publicFile, format: fc.constantFrom('pem' as const, 'der' as const), reload },
      { requiredKeys: ['selector', 'issuer', 'file', 'format'] },
    ),
  }),
  fc.record({
    kind: fc.constant('KeyPairManifest' as const),
    metadata,
    spec: fc.record(
      {
        selector: selector.map((rest) => ({ ...rest, role: 'control-plane' as const })),
        keyAlgorithm: fc.constantFrom(...keyAlgorithms),
        privateKey: secretFile,
        publicKey: publicFile,
        reload,
      },
      { requiredKeys: ['selector', 'privateKey', 'publicKey'] },
    ),
  }),
  fc.record({
    kind: fc.constant('Node' as const),
    metadata: fc.record({ name, labels: fc.dictionary(name, fc.constantFrom('', 'off', '1_0'), { maxKeys: 2 }) }),
    spec: fc.record({
      role: fc.constantFrom(...roles),
      addresses: fc.constantFrom([], ['10.0.0.1', '::1']),
      dnsNames: fc.constantFrom([], ['a.b']),
    }),
  }),
  fc.record({
    kind: fc.constant('Cluster' as const),
    metadata,
    spec: fc.record(
      {
        keyAlgorithm: fc.constantFrom('ecdsa-p384' as const, 'rsa-4096' as const),
        layout: fc.constantFrom(...layouts),
        dnsDomain: fc.constant('cluster.local'),
        serviceCidr: fc.constantFrom('10.96.0.0/12', 'fd00::/108'),
        controlPlaneEndpoint: fc.constantFrom('', 'a:1', '[::1]:2'),
        nodeAddressRanges: fc.constantFrom([], ['10.0.0.0/8']),
        allowedPaths: fc.constant(['/etc/kubernetes']),
        leafLifetimeSeconds: fc.integer({ min: 10, max: 1_000_000 }),
        identityLifetimeSeconds: fc.integer({ min: 10, max: 1_000_000 }),
        apiServerExtraSans: fc.constantFrom([], ['a.b', '::1']),
      },
      { requiredKeys: [] },
    ),
  }),
  fc.record({
    kind: fc.constant('RenewRevocation' as const),
    apiVersion: fc.constantFrom(...revocationApiVersions),
    metadata: fc.record({ name, cluster: name, namespace: name }, { requiredKeys: ['name'] }),
    spec: fc.record({
      description: fc.constantFrom('', 'two words', '0x12', 'null'),
      revocations: fc.array(revocationEntry, { minLength: 1, maxLength: 4 }),
    }),
  }),
);
// fast-check makes objects without a prototype, and its types lose what a union's members share. Files are numbered, so that no two are the same.
const document = anyDocument.map((made) => {
  let files = 0;
  const numbered = JSON.stringify(made).replaceAll('/etc/kubernetes/file', (path) => `${path}-${files++}`);
  return JSON.parse(numbered) as AnyDocument;
});

describe('manifests of all shapes', () => {
  it('come back the same from their canonical YAML, which is the same again', () => {
    fc.assert(
      fc.property(document, (original) => {
        const yaml = toYaml(original);
        const { documents, faults } = parseDocuments(yaml, { file: 'm.yaml' });
        assert.deepEqual(faults, [], yaml);
        assert.deepEqual(documents[0]?.document, original);
        assert.equal(toYaml(documents[0]!.document), yaml);
      }),
      { numRuns: 80 },
    );
  });

  it('resolve to the same thing each time, and after a round trip through YAML', () => {
    const cluster = clusterOf({ controlPlaneEndpoint: 'api.example.com' });
    fc.assert(
      fc.property(document, (original) => {
        if (!isManifest(original)) return;
        const everywhere = { ...original, spec: { ...original.spec, selector: { role: 'control-plane' as const } } } as typeof original;
        const first = resolveNode(cluster, nodeOf(), [everywhere]);
        const again = parseDocuments(toYaml(everywhere), { file: 'm.yaml' }).documents[0]!.document as typeof original;
        assert.deepEqual(resolveNode(cluster, nodeOf(), [again]), first);
      }),
      { numRuns: 50 },
    );
  });
});

describe('texts of all shapes', () => {
  it('never make the parser throw, and every fault has a place', () => {
    const mutated = fc
      .tuple(
        document,
        fc.array(
          fc.tuple(
            fc.nat(),
            fc.constantFrom('', ':', ' ', '\n', '[', '}', '"', '- ', '&a ', '*a', '!x ', '{{', '#', '\u0000', '\t', '0', '---\n', '\ud800'),
          ),
          { minLength: 1, maxLength: 4 },
        ),
      )
      .map(([original, edits]) =>
        edits.reduce((text, [at, insert]) => {
          const place = at % (text.length + 1);
          return text.slice(0, place) + insert + text.slice(place + (at % 3));
        }, toYaml(original)),
      );
    fc.assert(
      fc.property(
        fc.oneof(
          { weight: 4, arbitrary: mutated },
          { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
          { weight: 1, arbitrary: fc.json() },
        ),
        (text) => {
          const { documents, faults } = parseDocuments(text, { file: 'm.yaml' });
          for (const fault of faults) assert.ok(fault.file === 'm.yaml' && fault.line! >= 1 && fault.column! >= 1 && fault.message !== '');
          for (const parsed of documents) assert.ok(parsed.line >= 1);
        },
      ),
      { numRuns: 150 },
    );
  });
});
