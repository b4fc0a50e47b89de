import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ImportClusterRequest, ImportFinding } from '@evercert/proto';
import { privateKeyToPem } from '@evercert/shared/x509';
import { stringify } from 'yaml';
import { createForeignCa, type ForeignCa } from '../../support/foreign-ca.ts';
import { fakeApi, now, run } from './support.ts';

describe('evercert cluster import', () => {
  let root: string;
  let ca: ForeignCa;
  let etcdCa: ForeignCa;

  before(async () => {
    ca = await createForeignCa('kubernetes', { nowMs: now });
    etcdCa = await createForeignCa('etcd-ca', { nowMs: now });
  });
  beforeEach(async () => {
    root = realpathSync(mkdtempSync(join(tmpdir(), 'evercert-import-')));
    write('pki/ca.crt', ca.certificatePem);
    write('pki/ca.key', ca.privateKeyPem, 0o600);
    write('pki/etcd/ca.crt', etcdCa.certificatePem);
    write('pki/sa.key', etcdCa.privateKeyPem, 0o600);
    const server = await etcdCa.leaf({ commonName: 'cp-1', dnsNames: ['cp-1'], ipAddresses: ['10.0.0.5', '127.0.0.1'] });
    write('pki/etcd/server.crt', server.pem);
    write('pki/etcd/server.key', privateKeyToPem(server.privateKey), 0o600);
    const admin = await ca.leaf({ commonName: 'kubernetes-admin', organizations: ['system:masters'] });
    const data = (pem: string): string => Buffer.from(pem).toString('base64');
    const user = { 'client-certificate-data': data(admin.pem), 'client-key-data': data(privateKeyToPem(admin.privateKey)) };
    const config = (server: string): object => ({
      kind: 'Config',
      clusters: [{ name: 'k', cluster: { server, 'certificate-authority-data': data(ca.certificatePem) } }],
      users: [{ name: 'u', user }],
    });
    write('admin.conf', stringify(config('https://api.prod.example:6443')), 0o600);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const folder = (): string => join(root, 'etc/kubernetes');
  function write(path: string, text: string, mode = 0o644): void {
    const real = join(folder(), path);
    mkdirSync(dirname(real), { recursive: true });
    writeFileSync(real, text, { mode });
  }

  const finding = (severity: string, message: string): ImportFinding => ({
    severity,
    path: 'p',
    certificate: 'c',
    kind: 'Different',
    message,
  });
  function api(findings: ImportFinding[]) {
    return fakeApi({
      importCluster: ({ name }) => ({
        cluster: { name } as never,
        certificateAuthorities: [
          { name: 'cluster-ca', keyAlgorithm: 'rsa-2048', notAfter: new Date(now), publicKeyPin: 'sha256:1', watchOnly: false } as never,
        ],
        findings,
      }),
    });
  }
  const requests = (fake: ReturnType<typeof api>): ImportClusterRequest[] =>
    fake.calls.filter(({ method }) => method === 'importCluster').map(({ request }) => request as ImportClusterRequest);

  it('sends CAs, keys and leaves by the paths at which components read them, and nothing else of the folder', async () => {
    const fake = api([]);
    const { exitCode, out } = await run(['cluster', 'import', 'prod', '--from', folder()], { api: fake });
    assert.equal(exitCode, 0);
    const [look, real] = requests(fake);
    assert.deepEqual([look?.dryRun, real?.dryRun, requests(fake).length], [true, false, 2]);
    assert.deepEqual(
      real?.authorities.map(({ name, privateKeyPem, source }) => [name, privateKeyPem !== '', source]),
      [
        ['cluster-ca', true, 'pki/ca.crt'],
        ['etcd-ca', false, 'pki/etcd/ca.crt'],
      ],
    );
    assert.deepEqual(
      real?.certificates.map(({ path }) => path),
      ['/etc/kubernetes/admin.conf', '/etc/kubernetes/pki/etcd/server.crt'],
    );
    assert.ok(real?.certificates.every(({ certificatePem }) => !certificatePem.includes('PRIVATE KEY')));
    assert.equal(real?.spec?.controlPlaneEndpoint, 'api.prod.example:6443');
    assert.match(
      out,
      /\ncluster\/prod imported\nca\/cluster-ca taken over: rsa-2048, .*\nNext, for each node: evercert token create --cluster prod /,
    );
    assert.doesNotMatch(out, /PRIVATE KEY/);
  });

  it('leaves the keys alone when it is told to, and takes the PKI folder alone', async () => {
    const fake = api([]);
    const args = [
      'cluster',
      'import',
      'prod',
      '--from',
      join(folder(), 'pki'),
      '--no-keys',
      '--node-name',
      'n',
      '--node-address',
      '10.1.1.1',
    ];
    assert.equal((await run(args, { api: fake })).exitCode, 0);
    const [, real] = requests(fake);
    assert.deepEqual(
      [real?.authorities.map(({ privateKeyPem }) => privateKeyPem), real?.serviceAccountKeyPem, real?.nodeName, real?.nodeAddresses],
      [['', ''], '', 'n', ['10.1.1.1']],
    );
    assert.ok(real?.certificates.some(({ path }) => path === '/etc/kubernetes/pki/etcd/server.crt'));
  });

  it('prints the findings worst first, and ends a dry run by the worst of them', async () => {
    const all = [finding('Info', 'fine'), finding('Error', 'broken'), finding('Warning', 'hm')];
    for (const [findings, code] of [
      [[], 0],
      [[finding('Info', 'fine')], 0],
      [[finding('Info', 'fine'), finding('Warning', 'hm')], 1],
      [all, 2],
    ] as const) {
      const fake = api([...findings]);
      const { exitCode } = await run(['cluster', 'import', 'prod', '--from', folder(), '--dry-run'], { api: fake });
      assert.equal(exitCode, code);
      assert.equal(requests(fake).length, 1);
    }
    const { out } = await run(['cluster', 'import', 'prod', '--from', folder(), '--dry-run'], { api: api(all) });
    assert.match(
      out,
      /^SEVERITY +KIND +CERTIFICATE +FILE +FINDING\nError .*broken\nWarning .*hm\nInfo .*fine\n\n1 error, 1 warning, 1 note\n$/,
    );
  });

  it('imports nothing with errors, and with warnings only when they are confirmed', async () => {
    const warned = api([finding('Warning', 'hm')]);
    const refused = await run(['cluster', 'import', 'prod', '--from', folder()], { api: warned });
    assert.deepEqual([refused.exitCode, requests(warned).length], [6, 1]);
    assert.equal((await run(['cluster', 'import', 'prod', '--from', folder(), '--yes'], { api: warned })).exitCode, 0);
    const broken = api([finding('Error', 'broken')]);
    assert.equal((await run(['cluster', 'import', 'prod', '--from', folder(), '--yes'], { api: broken })).exitCode, 2);
    assert.equal(requests(broken).length, 1);
  });

  it('warns of a key that everybody can read, and of files that are not what they should be', async () => {
    chmodSync(join(folder(), 'pki/etcd/server.key'), 0o644);
    write('pki/apiserver.crt', 'garbage');
    const { out, exitCode } = await run(['cluster', 'import', 'prod', '--from', folder(), '--dry-run'], { api: api([]) });
    assert.equal(exitCode, 1);
    assert.match(out, /Warning .*\/etc\/kubernetes\/pki\/etcd\/server.key +mode 0644: everybody can read/);
    assert.match(out, /Warning .*\/etc\/kubernetes\/pki\/apiserver.crt +there is no PEM block/);
  });

  it('takes no endpoint that is this node alone, and none from a folder without one', async () => {
    const own = api([]);
    await run(['cluster', 'import', 'prod', '--from', folder(), '--control-plane-endpoint', 'said:1'], { api: own });
    assert.equal(requests(own)[0]?.spec?.controlPlaneEndpoint, 'said:1');
    write(
      'admin.conf',
      stringify({ kind: 'Config', clusters: [{ name: 'k', cluster: { server: 'https://10.0.0.5:6443' } }], users: [] }),
      0o600,
    );
    const alone = api([]);
    await run(['cluster', 'import', 'prod', '--from', folder()], { api: alone });
    assert.equal(requests(alone)[0]?.spec?.controlPlaneEndpoint, '');
  });

  it('says what it expected of a folder that is none of kubeadm', async () => {
    const { exitCode, err } = await run(['cluster', 'import', 'prod', '--from', root], { api: api([]) });
    assert.equal(exitCode, 2);
    assert.match(err, /neither pki\/ca.crt nor ca.crt in it; expected \/etc\/kubernetes/);
  });

  it('prints the whole answer as JSON', async () => {
    const { out } = await run(['cluster', 'import', 'prod', '--from', folder(), '--dry-run', '-o', 'json'], {
      api: api([finding('Info', 'fine')]),
    });
    const { kind, metadata, findings, certificateAuthorities } = JSON.parse(out);
    assert.deepEqual([kind, metadata.name, findings.length, certificateAuthorities[0].watchOnly], ['ClusterImport', 'prod', 1, false]);
  });
});
