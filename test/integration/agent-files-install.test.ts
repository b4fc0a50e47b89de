import assert from 'node:assert/strict';
import { lstatSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { OutputSpec } from '@evercert/shared/manifest';
import { parse } from 'yaml';
import {
  certificateSpec,
  createTestCa,
  fileSpec,
  installNew,
  outputs,
  pki,
  serialsInUse,
  startMs,
  type TestCa,
  TestDisk,
  writeForeignPair,
} from '../support/pair.ts';

const sets: Record<string, OutputSpec[]> = {
  'a pem pair': [outputs.pem],
  'a pem pair with its files in two folders': [outputs.pemApart],
  'a pem pair with a chain and kubeconfigs elsewhere': [outputs.pem, outputs.chain, outputs.kubeconfig, outputs.references],
  'a combined file alone': [outputs.combined],
  'a dated file alone': [outputs.dated],
  'a kubeconfig alone': [outputs.kubeconfig],
  'a PKCS#12 file alone': [outputs.pkcs12],
  'all at once': [outputs.pem, outputs.chain, outputs.combined, outputs.dated, outputs.kubeconfig, outputs.pkcs12],
};

describe('Installing a certificate', () => {
  let ca: TestCa;
  let disk: TestDisk;

  before(async () => {
    ca = await createTestCa();
  });
  beforeEach(() => {
    disk = new TestDisk();
  });
  afterEach(() => disk.remove());

  for (const pairStrategy of ['symlink', 'rename'] as const) {
    for (const [what, set] of Object.entries(sets)) {
      it(`adopts ${what} that was there before, and replaces it at renewal, by ${pairStrategy}`, async () => {
        const files = disk.files({ pairStrategy });
        const spec = certificateSpec(set);
        await writeForeignPair(disk, ca, spec);
        for (let life = 0; life < 2; life++) {
          const pair = await installNew(files, ca, spec);
          assert.ok(serialsInUse(disk, spec).every((serial) => serial === pair.serial));
          assert.deepEqual(await files.inspect(spec, [ca.der]), []);
          assert.equal((await files.installed(spec.name))?.serial, pair.serial);
          assert.equal(await files.pending(spec.name), undefined);
        }
        assert.deepEqual(await files.restore(spec, [ca.der]), []);
      });
    }
  }

  it('gives every file its mode, whatever the umask', async () => {
    const before = process.umask(0o077);
    try {
      await installNew(disk.files(), ca, certificateSpec([outputs.pem]));
    } finally {
      process.umask(before);
    }
    assert.equal(disk.mode(outputs.pem.certificate.path), 0o644);
    assert.equal(disk.mode(outputs.pem.privateKey.path), 0o600);
    assert.equal(disk.mode(join(pki, '.evercert')), 0o755);
    assert.equal(statSync(disk.stateDir).mode & 0o777, 0o700);
  });

  it('makes relative symlinks through one link, and keeps one version only', async () => {
    const spec = certificateSpec([outputs.pem, outputs.chain]);
    await installNew(disk.files(), ca, spec);
    await installNew(disk.files(), ca, spec);
    assert.equal(readlinkSync(disk.real(outputs.pem.certificate.path)), '.evercert/apiserver/current/apiserver.crt');
    assert.match(readlinkSync(disk.real(outputs.chain.file.path)), /^pki\/\.evercert\/apiserver\/current\/[0-9a-f]{8}-chain\.pem$/);
    const versions = disk.list(`${pki}/.evercert/apiserver`).filter((path) => !path.includes('/'));
    assert.equal(versions.length, 2);
    assert.equal(readlinkSync(disk.real(`${pki}/.evercert/apiserver/current`)), versions[0]);
  });

  it('writes regular files by the rename strategy, and follows a change of strategy both ways', async () => {
    const spec = certificateSpec([outputs.pem]);
    for (const pairStrategy of ['rename', 'symlink', 'rename'] as const) {
      const files = disk.files({ pairStrategy });
      const pair = await installNew(files, ca, spec);
      assert.equal(lstatSync(disk.real(outputs.pem.certificate.path)).isSymbolicLink(), pairStrategy === 'symlink');
      assert.deepEqual(serialsInUse(disk, spec), [pair.serial]);
      assert.deepEqual(await files.inspect(spec, [ca.der]), []);
    }
    assert.deepEqual(disk.list(pki), ['apiserver.crt', 'apiserver.key']);
  });

  it('names dated files as kubelet does, takes the next free second, and keeps the previous one', async () => {
    const spec = certificateSpec([outputs.dated]);
    const folder = '/var/lib/kubelet/pki';
    disk.write(`${folder}/kubelet-client-2026-11-24-20-45-07.pem`, 'made by kubelet', 0o600);
    for (let life = 0; life < 3; life++) await installNew(disk.files(), ca, spec);
    assert.deepEqual(disk.list(folder), [
      'kubelet-client-2026-11-24-20-45-07.pem',
      'kubelet-client-2026-11-24-20-45-09.pem',
      'kubelet-client-2026-11-24-20-45-10.pem',
      'kubelet-client-current.pem',
    ]);
    assert.equal(readlinkSync(disk.real(outputs.dated.file.path)), 'kubelet-client-2026-11-24-20-45-10.pem');
  });

  it('writes kubeconfigs with references or with the material itself', async () => {
    await installNew(disk.files(), ca, certificateSpec([outputs.pem, outputs.references, outputs.kubeconfig]));
    const references = parse(disk.read(outputs.references.file.path));
    assert.deepEqual(references.users[0].user, { 'client-certificate': `${pki}/apiserver.crt`, 'client-key': `${pki}/apiserver.key` });
    const embedded = parse(disk.read(outputs.kubeconfig.file.path));
    assert.match(Buffer.from(embedded.clusters[0].cluster['certificate-authority-data'], 'base64').toString(), /^-----BEGIN CERTIFICATE/);
    assert.match(Buffer.from(embedded.users[0].user['client-key-data'], 'base64').toString(), /^-----BEGIN PRIVATE KEY/);
  });

  it('moves files whose paths have changed, and leaves nothing at the old ones', async () => {
    const files = disk.files();
    await installNew(files, ca, certificateSpec([outputs.pem, outputs.chain, outputs.dated]));
    const spec = certificateSpec([outputs.pemApart]);
    assert.equal((await files.inspect(spec, [ca.der])).length > 0, true);
    await files.restore(spec, [ca.der]);
    assert.deepEqual(await files.inspect(spec, [ca.der]), []);
    assert.deepEqual([disk.list(pki), disk.list('/var/lib/kubelet/pki')], [[], []]);
    assert.equal(serialsInUse(disk, spec).length, 1);
  });

  it('refuses what must not become a pair, and leaves the old one in use', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.pem]);
    const old = await installNew(files, ca, spec);
    const other = await createTestCa('another-ca');
    const cases: [string, () => Promise<Buffer[]>, RegExp][] = [
      ['InvalidCertificate', async () => other.issue(spec, (await files.ensurePendingKey(spec)).privateKey), /not trusted/],
      [
        'InvalidCertificate',
        async () => ca.issue({ ...spec, dnsNames: ['cp-1'] }, (await files.ensurePendingKey(spec)).privateKey),
        /DNS names/,
      ],
      [
        'InvalidCertificate',
        async () => ca.issue({ ...spec, usages: ['client auth'] }, (await files.ensurePendingKey(spec)).privateKey),
        /purposes/,
      ],
      [
        'InvalidCertificate',
        async () => ca.issue(spec, (await files.ensurePendingKey(spec)).privateKey, { notAfterMs: startMs - 1000 }),
        /ended/,
      ],
    ];
    for (const [code, chain, message] of cases) {
      await files.savePendingChain(spec.name, await chain(), startMs);
      await assert.rejects(files.install(spec, [ca.der]), { code, message });
      assert.deepEqual(serialsInUse(disk, spec), [old.serial]);
    }
    assert.deepEqual(await files.inspect(spec, [ca.der]), []);
  });

  it('installs a certificate that begins a little later than the clock of the node says', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.pem]);
    const { privateKey } = await files.ensurePendingKey(spec);
    await files.savePendingChain(spec.name, await ca.issue(spec, privateKey, { notBeforeMs: startMs + 30_000 }), startMs);
    assert.equal((await files.install(spec, [ca.der])).notBeforeMs, startMs + 30_000 - ((startMs + 30_000) % 1000));
  });

  it('refuses paths outside, folders in the way, open modes and unknown owners, each by name', async () => {
    const files = disk.files();
    const pemAt = (certificate: string, key = `${pki}/x.key`, mode = 0o600): OutputSpec => ({
      type: 'pem',
      certificate: { path: certificate, mode: 0o644 },
      privateKey: { path: key, mode },
    });
    disk.write(`${pki}/folder.crt/inside`, '');
    const cases: [string, OutputSpec, RegExp][] = [
      ['PathNotAllowed', pemAt('/etc/passwd'), /outside the allowed folders/],
      ['PathNotAllowed', pemAt(`${pki}/../../passwd`), /not plain/],
      ['PathNotAllowed', pemAt(`${pki}/.evercert/x`), /kept for versions/],
      ['PathNotAllowed', pemAt('relative.crt'), /not absolute/],
      ['FileConflict', pemAt(`${pki}/folder.crt`), /folder is in the place/],
      ['InvalidManifest', pemAt(`${pki}/x.crt`, `${pki}/x.key`, 0o644), /0644/],
      ['InvalidManifest', pemAt(`${pki}/x.crt`, `${pki}/x.crt`), /two outputs/],
      [
        'FailedPrecondition',
        { type: 'combined', file: { ...fileSpec(`${pki}/x.pem`), owner: 'no-such-user' }, dated: false },
        /no-such-user/,
      ],
    ];
    for (const [code, output, message] of cases) {
      await assert.rejects(installNew(files, ca, certificateSpec([output])), { code, message });
    }
    assert.deepEqual(disk.list(pki), ['folder.crt', 'folder.crt/inside']);
  });

  it('gives files to owners and groups by name or number', async function () {
    // Only root may give files away.
    if (process.getuid?.() !== 0) this.skip();
    disk.write('/passwd', 'root:x:0:0::/root:/bin/sh\netcd:x:4321:4321::/var/lib/etcd:/bin/false\n');
    disk.write('/group', 'root:x:0:\nssl-cert:x:5432:etcd\n');
    const accounts = { passwdPath: disk.real('/passwd'), groupPath: disk.real('/group') };
    const { path } = outputs.combined.file;
    const output: OutputSpec = { ...outputs.combined, file: { path, mode: 0o640, owner: 'etcd', group: 'ssl-cert' } };
    await installNew(disk.files({ accounts }), ca, certificateSpec([output]));
    const { uid, gid, mode } = statSync(disk.real(path));
    assert.deepEqual([uid, gid, mode & 0o777], [4321, 5432, 0o640]);
    await installNew(disk.files({ accounts }), ca, certificateSpec([{ ...output, file: { ...output.file, owner: '77' } }]));
    assert.equal(statSync(disk.real(path)).uid, 77);
  });

  it('makes shared folders for many certificates at once, and takes them away at once', async () => {
    const files = disk.files();
    const specs = Array.from({ length: 6 }, (_, i) => {
      const [certificate, privateKey] = [fileSpec(`${pki}/new/${i}.crt`, 0o644), fileSpec(`${pki}/new/${i}.key`)];
      return certificateSpec([{ type: 'pem', certificate, privateKey }], { name: `many-${i}` });
    });
    const pairs = await Promise.all(specs.map((spec) => installNew(files, ca, spec)));
    assert.deepEqual(
      specs.flatMap((spec) => serialsInUse(disk, spec)),
      pairs.map((pair) => pair.serial),
    );
    await Promise.all(specs.map((spec) => files.remove(spec.name)));
    assert.deepEqual(disk.list(pki), ['new']);
  });

  it('refuses names that are tricks with paths', async () => {
    const files = disk.files();
    for (const name of ['..', '../x', 'a/b', '', 'A', '-a', 'a'.repeat(64)]) {
      await assert.rejects(files.ensurePendingKey(certificateSpec([outputs.pem], { name })), { code: 'InvalidArgument' });
      await assert.rejects(files.remove(name), { code: 'InvalidArgument' });
    }
  });

  it('removes what it made and nothing else', async () => {
    for (const pairStrategy of ['symlink', 'rename'] as const) {
      const files = disk.files({ pairStrategy });
      const spec = certificateSpec([outputs.pem, outputs.chain, outputs.dated]);
      await installNew(files, ca, spec);
      disk.write(`${pki}/ca.crt`, 'not ours');
      await files.remove(spec.name);
      assert.deepEqual(disk.list(pki), ['ca.crt']);
      assert.deepEqual(disk.list('/var/lib/kubelet/pki'), []);
      assert.deepEqual(await files.names(), []);
    }
  });

  it('keeps the waiting key until the certificate, its algorithm or its specification change', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.pem]);
    const first = await files.ensurePendingKey(spec);
    const again = await disk.files().ensurePendingKey(spec);
    assert.ok(first.privateKey.equals(again.privateKey));
    const other = await files.ensurePendingKey({ ...spec, specHash: 'spec-2' });
    assert.ok(!other.privateKey.equals(first.privateKey));
    const smaller = await files.ensurePendingKey({ ...spec, keyAlgorithm: 'ecdsa-p256' });
    assert.equal(smaller.keyAlgorithm, 'ecdsa-p256');
    await assert.rejects(files.savePendingChain(spec.name, await ca.issue(spec, first.privateKey), startMs), { code: 'PairMismatch' });
    await files.discardPending(spec.name);
    assert.equal(await files.pending(spec.name), undefined);
  });
});
