import assert from 'node:assert/strict';
import { CertificateAuthority, Event, Manifest, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { at, certificate, fakeApi, node, run } from './support.ts';

const manifestYaml = `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata:
  name: apiserver
spec:
  issuer: cluster-ca
  subject: { commonName: kube-apiserver }
  dnsNames: [kubernetes]
  usages: [digital signature, server auth]
  files: { certificate: /etc/kubernetes/pki/apiserver.crt, privateKey: /etc/kubernetes/pki/apiserver.key }
`;
const manifest = Manifest.fromPartial({
  cluster: 'demo',
  kind: 'CertificateManifest',
  name: 'apiserver',
  yaml: manifestYaml,
  nodes: ['cp-1'],
  generation: 2,
});
const failing = {
  name: 'apiserver',
  state: 'RenewalFailing',
  serial: 'aa',
  notAfter: at(60),
  failures: 3,
  lastErrorCode: 'Unavailable',
  lastError: 'connection refused',
};
const cp1 = node('cp-1', {
  role: Role.CONTROL_PLANE,
  cordon: { at: at(-120), by: 'admin/eve', reason: 'disk', until: at(3600) },
  status: {
    phase: 'RenewalFailing',
    phaseSince: at(-30),
    message: 'apiserver: RenewalFailing',
    conditions: [
      { type: 'Ready', status: 'False', reason: 'RenewalFailing', message: 'apiserver: RenewalFailing', lastTransitionTime: at(-30) },
      { type: 'Reachable', status: 'True', reason: 'HeartbeatsArrive', message: '', lastTransitionTime: at(-7200) },
    ],
    lastSeenAt: at(-5),
    identityNotAfter: at(-1),
    certificates: [failing],
    appliedRevision: 'r1',
  },
});
const events = [
  Event.fromPartial({ time: at(-9), type: 'Warning', reason: 'RenewalFailed', actor: 'node/demo/cp-1', message: 'connection refused' }),
];

describe('evercert describe', () => {
  it('shows of a node its conditions, certificates, files and last events', async () => {
    const api = fakeApi({
      listNodes: () => ({ nodes: [cp1] }),
      listReplacements: () => ({ replacements: [], pauses: [] }),
      listManifests: () => ({ manifests: [manifest] }),
      listEvents: () => ({ events, nextPageToken: '' }),
    });
    const { out, exitCode, err } = await run(['describe', 'node', 'cp-1'], { api });
    assert.deepEqual([exitCode, err], [0, '']);
    assert.match(out, /^Name: {14}cp-1\n/);
    assert.match(out, /\nStatus: +RenewalFailing, since 2026-06-01T11:59:30Z \(30s ago\)\n/);
    assert.match(out, /\nCordoned: +by admin\/eve at 2026-06-01T11:58:00Z \(2m ago\), until 2026-06-01T13:00:00Z \(in 1h\): disk\n/);
    assert.match(out, /\n {2}Ready +False +30s +RenewalFailing +apiserver: RenewalFailing\n/);
    assert.match(out, /\n {2}Reachable +True +120m +HeartbeatsArrive +<none>\n/);
    assert.match(out, /\n {2}apiserver +RenewalFailing +aa +in 1m .* Unavailable: connection refused\n/);
    assert.match(out, /\n {2}\/etc\/kubernetes\/pki\/apiserver\.key +0600 +<none> +private key +apiserver\n/);
    assert.match(out, /\n {2}Warning +RenewalFailed +9s +node\/demo\/cp-1 +connection refused\n/);
  });

  it('shows of a certificate what its node says of it, and does without when the node is gone', async () => {
    const listCertificates = () => ({ certificates: [certificate('cp-1', 'apiserver', { serial: 'aa' })], nextPageToken: '' });
    const listEvents = () => ({ events: [], nextPageToken: '' });
    const known = await run(['describe', 'certificate', 'cp-1/apiserver'], {
      api: fakeApi({ listCertificates, listEvents, listNodes: () => ({ nodes: [cp1] }) }),
    });
    assert.match(known.out, /\nState: +RenewalFailing\n/);
    const listNodes = () => {
      throw new EvercertError('NotFound', 'gone');
    };
    const gone = await run(['describe', 'certificate', 'cp-1/apiserver'], { api: fakeApi({ listCertificates, listEvents, listNodes }) });
    assert.equal(gone.exitCode, 0);
    assert.match(gone.out, /\nState: +Unknown\n/);
    assert.doesNotMatch(gone.out, /Failures:/);
  });

  it('shows of a manifest its nodes, files and YAML, and of a CA its pin and certificate', async () => {
    const { out } = await run(['describe', 'manifest', 'apiserver'], {
      api: fakeApi({ listManifests: () => ({ manifests: [manifest] }) }),
    });
    assert.match(out, /\nNodes: +cp-1\n/);
    assert.match(out, /\nManifest:\n {2}apiVersion: evercert\.io\/v1\n/);
    const ca = CertificateAuthority.fromPartial({
      cluster: 'demo',
      name: 'etcd-ca',
      publicKeyPin: 'sha256:11',
      certificatePem: '-----BEGIN CERTIFICATE-----\n',
    });
    const described = await run(['describe', 'ca', 'etcd-ca'], {
      api: fakeApi({ listCertificateAuthorities: () => ({ certificateAuthorities: [ca] }) }),
    });
    assert.match(described.out, /\nPublic Key Pin: +sha256:11\n[\s\S]*\n {2}-----BEGIN CERTIFICATE-----\n/);
  });

  it('refuses what it cannot find or describe', async () => {
    assert.equal((await run(['describe', 'node', 'x'], { api: fakeApi({ listNodes: () => ({ nodes: [] }) }) })).exitCode, 4);
    assert.equal((await run(['describe', 'events'], { api: fakeApi({}) })).exitCode, 2);
  });
});
