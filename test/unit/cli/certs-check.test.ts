import assert from 'node:assert/strict';
import { join } from 'node:path';
import { type CheckReport, checkFolder, checkLimits } from '@evercert/cli/certs-check';
import { certificatesToPem, generateKeyPair, privateKeyToPem, spkiDer, toPem } from '@evercert/shared/x509';
import { base64, combined, kubeconfig, PkiFolder, type TestCa, testCa } from './pki-folder.ts';
import { at, now, run } from './support.ts';

const days = 86_400;

describe('evercert certs check', () => {
  let ca: TestCa;
  let etcdCa: TestCa;
  let folder: PkiFolder;
  before(async () => {
    ca = await testCa('kubernetes-ca');
    etcdCa = await testCa('etcd-ca');
  });
  beforeEach(() => {
    folder = new PkiFolder();
    folder.write('ca.crt', certificatesToPem([ca.der]), 0o644);
  });
  afterEach(() => folder.remove());

  const check = (options: { rootDir?: string; caFiles?: string[]; warnWithinMs?: number } = {}): Promise<CheckReport> =>
    checkFolder({ folder: folder.path, rootDir: '/', caFiles: [], nowMs: now, ...options });
  const of = (report: CheckReport, path: string) => {
    const found = report.certificates.filter((one) => one.path === path);
    assert.equal(found.length, 1, `${path} is listed once among ${report.certificates.map((one) => one.path).join(', ')}`);
    return found[0]!;
  };
  const codes = (report: CheckReport, path: string): string[] => [
    ...report.certificates.filter((one) => one.path === path).flatMap((one) => one.problems.map(({ code }) => code)),
    ...report.problems.filter((one) => one.path === path).map(({ code }) => code),
  ];

  it('finds a whole founding-layout folder well, each certificate under whichever CA signed it', async () => {
    folder.pair('apiserver', await ca.issue('kube-apiserver'));
    folder.pair('etcd/server', await ca.issue('cp-1'));
    folder.pair('etcd/peer', await etcdCa.issue('cp-1'));
    folder.write('etcd/ca.crt', certificatesToPem([etcdCa.der]), 0o644);
    const report = await check();
    assert.deepEqual(report.problems, []);
    assert.deepEqual([report.status, report.counts.certificates], ['well', 5]);
    assert.equal(of(report, 'etcd/server.crt').chain.anchor?.path, 'ca.crt');
    assert.equal(of(report, 'etcd/peer.crt').chain.anchor?.path, 'etcd/ca.crt');
    assert.deepEqual(of(report, 'etcd/peer.crt').key, { status: 'matching', path: 'etcd/peer.key', mode: '0600' });
    assert.deepEqual(
      [of(report, 'ca.crt').role, of(report, 'ca.crt').chain.status, of(report, 'ca.crt').key.status],
      ['ca', 'root', 'elsewhere'],
    );
  });

  it('calls soon what is in the last third of its life, or ends within the given time', async () => {
    folder.pair('a', await ca.issue('a', { notBefore: at(-3 * days), notAfter: at(days) }));
    folder.pair('b', await ca.issue('b', { notBefore: at(-days), notAfter: at(3 * days) }));
    const byThird = await check();
    assert.deepEqual([byThird.status, of(byThird, 'a.crt').status, of(byThird, 'b.crt').status], ['soon', 'soon', 'well']);
    const byTime = await check({ warnWithinMs: 4 * days * 1000 });
    assert.deepEqual([of(byTime, 'a.crt').status, of(byTime, 'b.crt').status, of(byTime, 'ca.crt').status], ['soon', 'soon', 'well']);
    assert.equal((await check({ warnWithinMs: 1000 })).status, 'well');
  });

  it('calls broken what has expired or has not begun, and still tells whether its chain holds', async () => {
    folder.pair('old', await ca.issue('old', { notBefore: at(-days), notAfter: at(-1) }));
    folder.pair('early', await ca.issue('early', { notBefore: at(60), notAfter: at(days) }));
    const report = await check();
    assert.equal(report.status, 'broken');
    assert.deepEqual(codes(report, 'old.crt'), ['Expired']);
    assert.deepEqual(codes(report, 'early.crt'), ['NotYetValid']);
    assert.equal(of(report, 'old.crt').chain.status, 'verified');
    assert.equal(of(report, 'old.crt').remainingSeconds, -1);
  });

  it('calls broken what leads to no CA of the folder, until its CA is named', async () => {
    folder.pair('peer', await etcdCa.issue('peer'));
    assert.deepEqual(codes(await check(), 'peer.crt'), ['NoChain']);
    const elsewhere = new PkiFolder();
    try {
      elsewhere.write('other.crt', certificatesToPem([etcdCa.der]));
      assert.equal((await check({ caFiles: [join(elsewhere.path, 'other.crt')] })).status, 'well');
      elsewhere.write('leaf.crt', certificatesToPem([(await ca.issue('x')).der]));
      await assert.rejects(check({ caFiles: [join(elsewhere.path, 'leaf.crt')] }), { code: 'InvalidArgument' });
    } finally {
      elsewhere.remove();
    }
  });

  it('is not deceived by a CA of the same name with another key, nor by an expired CA', async () => {
    folder.pair('leaf', await (await testCa('kubernetes-ca')).issue('leaf'));
    const ended = await testCa('old-ca', at(-1));
    folder.write('old-ca.crt', certificatesToPem([ended.der]));
    folder.pair('below', await ended.issue('below', { notAfter: at(-1) }));
    const report = await check();
    assert.deepEqual(codes(report, 'leaf.crt'), ['NoChain']);
    assert.deepEqual(codes(report, 'old-ca.crt'), ['Expired']);
    assert.deepEqual(codes(report, 'below.crt'), ['Expired']);
  });

  it('sees a key that is missing, another one, or readable by others', async () => {
    const leaf = await ca.issue('leaf');
    folder.write('alone.crt', certificatesToPem([(await ca.issue('alone')).der]));
    folder.pair('mixed', { der: (await ca.issue('mixed')).der, privateKey: leaf.privateKey });
    folder.pair('open', await ca.issue('open'), 0o644);
    const report = await check();
    assert.deepEqual(codes(report, 'alone.crt'), ['KeyMissing']);
    assert.deepEqual(codes(report, 'mixed.crt'), ['KeyMismatched']);
    assert.deepEqual(codes(report, 'open.crt'), ['KeyReadableByOthers']);
    assert.equal(of(report, 'open.crt').key.mode, '0644');
  });

  it('finds keys by other usual names, and in other files of the folder', async () => {
    const named = await ca.issue('named');
    folder.write('web-cert.pem', certificatesToPem([named.der]));
    folder.write('web-key.pem', privateKeyToPem(named.privateKey));
    const moved = await ca.issue('moved');
    folder.pair('moved', moved);
    folder.write('chains/moved-chain.pem', certificatesToPem([moved.der, ca.der]));
    const report = await check();
    assert.equal(report.status, 'well');
    assert.equal(of(report, 'web-cert.pem').key.path, 'web-key.pem');
    assert.equal(of(report, 'chains/moved-chain.pem').key.path, 'moved.key');
  });

  it("reads kubelet's combined files, once, by the symlink's name, and lets the older dated ones be", async () => {
    const dated = (day: string): string => `kubelet-client-2026-05-${day}-10-00-00.pem`;
    folder.write(dated('28'), combined(await ca.issue('old', { notBefore: at(-5 * days), notAfter: at(-1) })));
    folder.write(dated('31'), combined(await ca.issue('node')));
    folder.link('kubelet-client-current.pem', dated('31'));
    const report = await check();
    assert.deepEqual(
      report.certificates.map(({ path, status }) => [path, status]),
      [
        ['ca.crt', 'well'],
        [dated('28'), 'superseded'],
        ['kubelet-client-current.pem', 'well'],
      ],
    );
    assert.equal(report.status, 'well');
  });

  it('reads kubeconfigs: embedded pairs, the CA in them, and references to files', async () => {
    const admin = await ca.issue('kubernetes-admin');
    const data = {
      'client-certificate-data': base64(certificatesToPem([admin.der])),
      'client-key-data': base64(privateKeyToPem(admin.privateKey)),
    };
    folder.write('admin.conf', kubeconfig(data, { 'certificate-authority-data': base64(certificatesToPem([ca.der])) }));
    const other = await ca.issue('other');
    folder.write('mixed.conf', kubeconfig({ ...data, 'client-key-data': base64(privateKeyToPem(other.privateKey)) }), 0o644);
    folder.write('gone.conf', kubeconfig({ 'client-certificate': 'nowhere.pem', 'client-key': 'nowhere.pem' }));
    const kubelet = new PkiFolder();
    try {
      kubelet.write('client.pem', combined(await ca.issue('kubelet')), 0o604);
      const path = join(kubelet.path, 'client.pem');
      folder.write('kubelet.conf', kubeconfig({ 'client-certificate': path, 'client-key': path }));
      const report = await check();
      assert.deepEqual([of(report, 'admin.conf').status, of(report, 'admin.conf').role], ['well', 'leaf']);
      assert.deepEqual(codes(report, 'mixed.conf'), ['KeyMismatched', 'KeyReadableByOthers']);
      assert.deepEqual(codes(report, 'gone.conf'), ['MissingReference', 'MissingReference']);
      assert.deepEqual(codes(report, path), ['KeyReadableByOthers']);
      // The CA in admin.conf is that of ca.crt, which is listed already.
      assert.equal(report.certificates.filter(({ role }) => role === 'ca').length, 1);
    } finally {
      kubelet.remove();
    }
  });

  it("follows the absolute paths of another machine's kubeconfigs from its root", async () => {
    folder.write('var/lib/kubelet/pki/client.pem', combined(await ca.issue('kubelet')));
    const path = '/var/lib/kubelet/pki/client.pem';
    folder.write('etc/kubernetes/kubelet.conf', kubeconfig({ 'client-certificate': path, 'client-key': path }));
    folder.write('etc/kubernetes/scheduler.conf', kubeconfig({ 'client-certificate': '../../var/lib/kubelet/pki/client.pem' }));
    assert.equal((await check()).status, 'broken');
    assert.equal((await check({ rootDir: folder.path })).status, 'well');
  });

  it('lists the CA of a kubeconfig when no file has it', async () => {
    folder.write(
      'stale.conf',
      kubeconfig({}, { 'certificate-authority-data': base64(certificatesToPem([(await testCa('old', at(-5))).der])) }),
    );
    assert.deepEqual(codes(await check(), 'stale.conf'), ['Expired']);
  });

  it('checks the service-account key pair, which has no certificate', async () => {
    const pair = await generateKeyPair('ecdsa-p256');
    const other = await generateKeyPair('ecdsa-p256');
    folder.write('sa.key', privateKeyToPem(pair.privateKey));
    folder.write('sa.pub', toPem('PUBLIC KEY', spkiDer(pair.publicKey)), 0o644);
    assert.equal((await check()).status, 'well');
    folder.write('sa.pub', toPem('PUBLIC KEY', spkiDer(other.publicKey)), 0o644);
    folder.write('lost.key', privateKeyToPem(other.privateKey), 0o664);
    const report = await check();
    assert.deepEqual(codes(report, 'sa.key'), ['KeyMismatched']);
    assert.deepEqual(codes(report, 'lost.key'), ['KeyReadableByOthers']);
  });

  it('says what is wrong with files that should hold something and do not', async () => {
    folder.write('empty.crt', '');
    folder.write('text.key', 'hello');
    folder.write('cut.crt', certificatesToPem([ca.der]).slice(0, 200));
    folder.write('garbled.pem', toPem('CERTIFICATE', Buffer.from('not a certificate')));
    folder.write('garbled.key', toPem('PRIVATE KEY', Buffer.from('not a key')));
    folder.write('big.pem', Buffer.alloc(checkLimits.fileBytes + 1, 'x'));
    folder.write('broken.conf', 'kind: Config\nusers: nobody\n');
    folder.write('folder.crt/inside.txt', 'x');
    folder.link('dangling.crt', 'nowhere');
    folder.write('README', 'no PKI file by its name or content');
    const report = await check();
    const expected = {
      'empty.crt': 'Malformed',
      'text.key': 'Malformed',
      'cut.crt': 'Malformed',
      'garbled.pem': 'Malformed',
      'garbled.key': 'Malformed',
      'big.pem': 'TooLarge',
      'broken.conf': 'Malformed',
      'folder.crt': 'NotAFile',
      'dangling.crt': 'BrokenLink',
    };
    assert.deepEqual(Object.fromEntries(report.problems.map(({ path, code }) => [path, code])), expected);
    assert.equal(report.status, 'broken');
  });

  it('lists a file once however many symlinks lead to it, goes in no circles, and skips the versions that Evercert keeps', async () => {
    const leaf = await ca.issue('leaf');
    folder.pair('.evercert/leaf/1/leaf', leaf);
    folder.link('leaf.crt', '.evercert/leaf/1/leaf.crt');
    folder.link('leaf.key', '.evercert/leaf/1/leaf.key');
    folder.link('deep/again.crt', '../leaf.crt');
    folder.link('deep/circle', '..');
    folder.link('deep/outside', '/');
    const report = await check();
    assert.deepEqual(
      report.certificates.map(({ path }) => path),
      ['ca.crt', 'leaf.crt'],
    );
    assert.equal(of(report, 'leaf.crt').key.path, 'leaf.key');
    assert.equal(report.status, 'well');
  });

  it('stops at its bounds and says so', async () => {
    folder.write(`${'d/'.repeat(checkLimits.depth + 1)}leaf.crt`, 'never read');
    assert.deepEqual(
      (await check()).problems.map(({ code }) => code),
      ['LimitReached'],
    );
  });

  it('prints a table with what is wrong below, or JSON, and has exit codes for monitoring', async () => {
    const args = ['certs', 'check', folder.path];
    assert.equal((await run(args)).exitCode, 0);
    folder.pair('soon', await ca.issue('soon', { notBefore: at(-3 * days), notAfter: at(3600) }));
    const soon = await run([...args, '-o', 'json']);
    assert.equal(soon.exitCode, 1);
    const { kind, status, checkedAt, certificates } = JSON.parse(soon.out);
    assert.deepEqual([kind, status, checkedAt], ['CertificateCheck', 'soon', '2026-06-01T12:00:00Z']);
    assert.equal(certificates[1].remainingSeconds, 3600);
    folder.write('soon.key', 'oops');
    const broken = await run(args);
    assert.equal(broken.exitCode, 2);
    assert.match(broken.out, /^FILE +SUBJECT +ISSUER +CHAIN +CA +KEY +EXPIRES +STATUS\n/);
    assert.match(broken.out, /\nsoon\.crt +CN=soon +CN=kubernetes-ca +verified +ca\.crt \(key elsewhere\) +missing +in 1h +BROKEN\n/);
    assert.match(
      broken.out,
      /\nProblems:\n {2}soon\.crt: KeyMissing: .*\n {2}soon\.key: Malformed: .*\n\n2 certificates: 1 well, 0 ending soon, 1 broken\n$/,
    );
  });

  it('calls a folder without any certificate broken, and one that is not there a mistake', async () => {
    const empty = new PkiFolder();
    try {
      const { exitCode, err } = await run(['certs', 'check', empty.path]);
      assert.deepEqual([exitCode, err], [2, `No certificates found in ${empty.path}.\n`]);
    } finally {
      empty.remove();
    }
    const missing = await run(['certs', 'check', join(folder.path, 'nowhere')]);
    assert.equal(missing.exitCode, 2);
    assert.match(missing.err, /^error: cannot check .*nowhere: there is no such folder\n$/);
  });
});
