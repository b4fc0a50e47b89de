import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import {
  type AuthorityInput,
  checkAuthorities,
  checkServiceAccountKey,
  comparePlaced,
  differencesOf,
  type ImportFinding,
  inferPolicy,
  nodeOf,
  type PlacedCertificate,
  readPlaced,
  sorted,
} from '@evercert/coordinator/clusters';
import { manifestSet } from '@evercert/coordinator/manifest-sets';
import { defaultClusterPolicy, resolveNode } from '@evercert/shared/manifest';
import { parseCertificate, privateKeyToPem } from '@evercert/shared/x509';
import { createForeignCa, type ForeignCa } from '../../../support/foreign-ca.ts';

const now = Date.parse('2026-06-01T12:00:00Z');
const cp1 = { name: 'cp-1', addresses: ['10.0.0.5'] };

function input(name: string, ca: ForeignCa, change: Partial<AuthorityInput> = {}): AuthorityInput {
  return { name, certificatesPem: ca.certificatePem, privateKeyPem: ca.privateKeyPem, source: `${name}.crt`, ...change };
}

const texts = (findings: readonly ImportFinding[], severity: string): string[] =>
  findings.filter((one) => one.severity === severity).map(({ message }) => message);

describe('CAs that are to be taken over', () => {
  let clusterCa: ForeignCa;
  let etcdCa: ForeignCa;
  let frontProxyCa: ForeignCa;
  let all: AuthorityInput[];

  before(async () => {
    clusterCa = await createForeignCa('kubernetes', { nowMs: now, kind: 'rsa' });
    etcdCa = await createForeignCa('etcd-ca', { nowMs: now });
    frontProxyCa = await createForeignCa('front-proxy-ca', { nowMs: now });
    all = [input('cluster-ca', clusterCa), input('etcd-ca', etcdCa), input('front-proxy-ca', frontProxyCa)];
  });

  const check = (authorities: AuthorityInput[], nowMs = now) => checkAuthorities({ authorities, nowMs, others: [] });

  it('are taken with their keys, an RSA 2048 one of kubeadm too', () => {
    const { checked, findings } = check(all);
    assert.deepEqual(
      checked.map(({ name, privateKey, info }) => [name, privateKey?.type, info.keyAlgorithm]),
      [
        ['cluster-ca', 'private', 'rsa-2048'],
        ['etcd-ca', 'private', 'ecdsa-p256'],
        ['front-proxy-ca', 'private', 'ecdsa-p256'],
      ],
    );
    assert.deepEqual(findings, []);
  });

  it('are watched only where a key is not given, and left out where a CA is not', () => {
    const { checked, findings } = check([input('cluster-ca', clusterCa, { privateKeyPem: '' })]);
    assert.equal(checked[0]?.privateKey, undefined);
    assert.match(texts(findings, 'Info')[0] ?? '', /cluster-ca: its key is not given.*only watched/);
    assert.match(texts(findings, 'Warning').join(), /etcd-ca: it is missing.*front-proxy-ca: it is missing/);
    assert.match(texts(check([]).findings, 'Error').join(), /cluster-ca: it is missing; expected ca.crt/);
  });

  it('are refused with what is wrong', async () => {
    const leaf = await clusterCa.leaf({ commonName: 'no-ca' });
    const short = await createForeignCa('short', { nowMs: now, lifeDays: 100 });
    const cases: [string, AuthorityInput, RegExp, number?][] = [
      ['text that is no PEM', input('cluster-ca', clusterCa, { certificatesPem: 'hello' }), /cannot be read: there is no certificate/],
      [
        'a leaf',
        input('cluster-ca', clusterCa, { certificatesPem: leaf.pem, privateKeyPem: privateKeyToPem(leaf.privateKey) }),
        /do not say CA:TRUE/,
      ],
      ['the key of another', input('cluster-ca', clusterCa, { privateKeyPem: etcdCa.privateKeyPem }), /is that of another certificate/],
      [
        'the key of the second in the file',
        input('cluster-ca', clusterCa, { certificatesPem: etcdCa.certificatePem + clusterCa.certificatePem }),
        /is that of CN=kubernetes .* put that one first/,
      ],
      ['a key that is none', input('cluster-ca', clusterCa, { privateKeyPem: 'secret words' }), /private key cannot be read/],
      [
        'a leaf in the bundle',
        input('cluster-ca', clusterCa, { certificatesPem: clusterCa.certificatePem + leaf.pem }),
        /CN=no-ca .* is no CA/,
      ],
      ['one that has ended', input('cluster-ca', short), /it ended at/, now + 101 * 86_400_000],
      ['one that has not begun', input('cluster-ca', short), /it begins at/, now - 30 * 86_400_000],
      ['a name that no CA has', input('my-ca', clusterCa), /my-ca: no cluster has a CA of this name/],
    ];
    for (const [what, given, expected, nowMs] of cases) {
      const errors = texts(check([given, ...all.slice(1)], nowMs).findings, 'Error');
      assert.ok(
        errors.some((message) => expected.test(message)),
        `${what}: ${errors.join('; ')}`,
      );
      assert.doesNotMatch(errors.join(), /secret words/);
    }
    assert.match(texts(check([...all, input('etcd-ca', etcdCa)]).findings, 'Error').join(), /etcd-ca: it is given twice/);
  });

  it('are warned of when they end within a year, or when two are one', async () => {
    const short = await createForeignCa('short', { nowMs: now, lifeDays: 100 });
    assert.match(texts(check([input('cluster-ca', short), ...all.slice(1)]).findings, 'Warning').join(), /ends within a year/);
    const { findings } = check([input('cluster-ca', clusterCa), input('etcd-ca', clusterCa), all[2]!]);
    assert.match(texts(findings, 'Warning').join(), /etcd-ca: it is the same CA as cluster-ca: .*any kubelet can read etcd/);
  });

  it('are refused when a cluster here has them already', () => {
    const others = [{ cluster: 'demo', name: 'cluster-ca', spkiSha256: parseCertificate(clusterCa.der).spkiSha256 }];
    const { findings } = checkAuthorities({ authorities: all, nowMs: now, others });
    assert.match(texts(findings, 'Error').join(), /it is cluster-ca of cluster demo here already/);
  });

  it('come with a service-account key that is judged without telling it', () => {
    const key = privateKeyToPem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
    assert.deepEqual(checkServiceAccountKey(key).findings, []);
    assert.match(texts(checkServiceAccountKey('').findings, 'Info').join(), /left as it is on the nodes/);
    const broken = checkServiceAccountKey(key.replace('A', '!'));
    assert.equal(broken.key, undefined);
    assert.equal(texts(broken.findings, 'Error').length, 1);
    assert.doesNotMatch(JSON.stringify(broken.findings), new RegExp(key.split('\n')[2] ?? 'x'));
  });
});

describe('the policy of an imported cluster', () => {
  let ca: ForeignCa;
  let etcdCa: ForeignCa;

  before(async () => {
    ca = await createForeignCa('kubernetes', { nowMs: now });
    etcdCa = await createForeignCa('etcd-ca', { nowMs: now });
  });

  const authorities = () =>
    checkAuthorities({ authorities: [input('cluster-ca', ca), input('etcd-ca', etcdCa)], nowMs: now, others: [] }).checked;

  async function apiServer(dnsNames: string[], ipAddresses: string[]): Promise<PlacedCertificate[]> {
    const { pem } = await ca.leaf({ commonName: 'kube-apiserver', dnsNames, ipAddresses, usages: ['server auth'] });
    return readPlaced([{ path: '/etc/kubernetes/pki/apiserver.crt', certificatePem: pem }]).placed;
  }

  it('is read from the API server: domain, service range, and the names that its next certificate has to keep', async () => {
    const placed = await apiServer(
      ['cp-1', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.corp.test', 'api.prod.example'],
      ['10.43.0.1', '10.0.0.5', '192.0.2.7'],
    );
    const { policy, findings } = inferPolicy({}, authorities(), placed, cp1);
    assert.deepEqual(
      [policy.dnsDomain, policy.serviceCidr, policy.apiServerExtraSans, policy.adopt, policy.layout],
      ['corp.test', '10.43.0.0/16', ['api.prod.example', '192.0.2.7'], true, 'kubeadm'],
    );
    assert.equal(
      findings.every(({ severity, kind }) => severity === 'Info' && kind === 'Policy'),
      true,
    );
  });

  it('is what the admin says, whatever the certificates tell', async () => {
    const placed = await apiServer(['cp-1', 'kubernetes.default.svc.corp.test'], ['10.43.0.1']);
    const given = { dnsDomain: 'said.test', serviceCidr: '10.50.0.0/16', apiServerExtraSans: ['x.example'], layout: 'founding' as const };
    const { policy } = inferPolicy(given, authorities(), placed, cp1);
    assert.deepEqual({ ...policy, ...given }, policy);
  });

  it('has the layout by who signed etcd, and the default key algorithm where the CA has none that is still made', async () => {
    const server = await ca.leaf({ commonName: 'cp-1', dnsNames: ['cp-1'], ipAddresses: ['10.0.0.5', '127.0.0.1'] });
    const { placed } = readPlaced([{ path: '/etc/kubernetes/pki/etcd/server.crt', certificatePem: server.pem }]);
    const { policy } = inferPolicy({}, authorities(), placed, cp1);
    assert.deepEqual([policy.layout, policy.keyAlgorithm], ['founding', 'ecdsa-p384']);
    assert.deepEqual(nodeOf(placed, { name: '', addresses: [] }), { name: 'cp-1', addresses: ['10.0.0.5'] });
    assert.deepEqual(nodeOf(placed, { name: 'said', addresses: ['10.9.9.9'] }), { name: 'said', addresses: ['10.9.9.9'] });
  });

  it('takes no extra names while it is not known which of them is the node', async () => {
    const placed = await apiServer(['who-knows', 'kubernetes.default.svc.cluster.local'], ['10.96.0.1']);
    const { policy, findings } = inferPolicy({}, authorities(), placed, { name: '', addresses: [] });
    assert.deepEqual(policy.apiServerExtraSans, []);
    assert.match(texts(findings, 'Info').join(), /name the node/);
  });
});

describe('certificates in place, compared with the manifests', () => {
  let ca: ForeignCa;
  let other: ForeignCa;
  const declared = resolveNode(
    { name: 'prod', policy: defaultClusterPolicy },
    { ...cp1, role: 'control-plane', labels: {}, dnsNames: [] },
    manifestSet('kubeadm'),
  ).certificates.filter(({ name }) => name === 'front-proxy-client' || name === 'apiserver-kubelet-client');

  before(async () => {
    ca = await createForeignCa('kubernetes', { nowMs: now });
    other = await createForeignCa('kubernetes', { nowMs: now });
  });

  const path = '/etc/kubernetes/pki/apiserver-kubelet-client.crt';
  function compare(pem: string, { keys = true } = {}): ImportFinding[] {
    const authorities = [input('cluster-ca', ca, keys ? {} : { privateKeyPem: '' })];
    const { checked } = checkAuthorities({ authorities, nowMs: now, others: [] });
    const { placed } = readPlaced([{ path, certificatePem: pem }]);
    return comparePlaced(declared, placed, checked, now);
  }
  const clientOf = (organizations: string[]) => ({
    commonName: 'kube-apiserver-kubelet-client',
    organizations,
    usages: ['digital signature', 'client auth'] as const,
  });

  it('are the same, different in what they say or only in their key, missing, or declared by nothing', async () => {
    const older = await ca.leaf({ ...clientOf(['system:masters']), usages: ['client auth'] });
    const [kubelet, proxy] = compare(older.pem);
    assert.deepEqual([kubelet?.severity, kubelet?.kind, kubelet?.certificate], ['Warning', 'Different', 'apiserver-kubelet-client']);
    assert.match(
      kubelet?.message ?? '',
      /organizations: loses system:masters, gains kubeadm:cluster-admins; key: ECDSA P-256 becomes ECDSA P-384/,
    );
    assert.deepEqual([proxy?.kind, proxy?.path], ['Missing', '/etc/kubernetes/pki/front-proxy-client.crt']);
    const today = await ca.leaf({ ...clientOf(['kubeadm:cluster-admins']), usages: ['client auth'] });
    assert.deepEqual([compare(today.pem)[0]?.severity, compare(today.pem)[0]?.kind], ['Info', 'Different']);
    const { placed } = readPlaced([{ path: '/etc/kubernetes/admin.conf', certificatePem: today.pem }]);
    const unmanaged = comparePlaced(declared, placed, [], now).at(-1);
    assert.deepEqual([unmanaged?.kind, unmanaged?.certificate], ['Unmanaged', '']);
  });

  it('are told to be replaced when they are of another CA or have ended, and to be watched without the key', async () => {
    const foreign = await other.leaf(clientOf(['kubeadm:cluster-admins']) as never);
    assert.match(compare(foreign.pem)[0]?.message ?? '', /^not taken over, another is issued when the agent joins: /);
    const ended = await ca.leaf(clientOf([]) as never, { notBeforeMs: now - 7200_000, notAfterMs: now - 3600_000 });
    assert.match(compare(ended.pem)[0]?.message ?? '', /not taken over.*it ended at/);
    const good = await ca.leaf(clientOf([]) as never);
    assert.match(compare(good.pem, { keys: false })[0]?.message ?? '', /^only watched, until /);
  });

  it('are shown worst first', () => {
    const finding = (severity: ImportFinding['severity'], kind: ImportFinding['kind'], certificate = ''): ImportFinding => ({
      severity,
      kind,
      certificate,
      path: '',
      message: '',
    });
    const shuffled = [
      finding('Info', 'Same'),
      finding('Warning', 'Different', 'b'),
      finding('Error', 'Authority'),
      finding('Warning', 'Different', 'a'),
    ];
    assert.deepEqual(
      sorted(shuffled).map(({ severity, certificate }) => severity + certificate),
      ['Error', 'Warninga', 'Warningb', 'Info'],
    );
  });

  it('differ not by order, case or form of a name, nor by how notBefore was set back', async () => {
    const life = { notBeforeMs: now - 60_000, notAfterMs: now + 96 * 3600_000 };
    const key = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
    const { der } = await ca.leaf(
      { commonName: 'x', dnsNames: ['b', 'a'], ipAddresses: ['::1'], usages: ['server auth'] },
      { key, ...life },
    );
    const same = {
      commonName: 'x',
      organizations: [],
      dnsNames: ['A', 'b'],
      ipAddresses: ['0:0:0:0:0:0:0:1'],
      usages: ['digital signature' as const, 'server auth' as const],
      keyAlgorithm: 'ecdsa-p384' as const,
      lifetimeSeconds: 96 * 3600,
    };
    assert.deepEqual(differencesOf(same, parseCertificate(der)), []);
    const longer = differencesOf({ ...same, lifetimeSeconds: 3600 }, parseCertificate(der));
    assert.deepEqual(longer, [{ message: 'life: 96h becomes 1h', telling: false }]);
  });
});
