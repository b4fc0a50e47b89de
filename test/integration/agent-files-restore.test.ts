import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { FileFault } from '@evercert/agent/files';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import fc from 'fast-check';
import { parse } from 'yaml';
import {
  allowedPaths,
  certificateSpec,
  createTestCa,
  installNew,
  outputs,
  pki,
  serialsInUse,
  type TestCa,
  TestDisk,
  writeForeignPair,
} from '../support/pair.ts';

const certificate = outputs.pem.certificate.path;
const key = outputs.pem.privateKey.path;
const isRoot = process.getuid?.() === 0;

describe('Restoring a certificate’s files', () => {
  let ca: TestCa;
  let disk: TestDisk;

  before(async () => {
    ca = await createTestCa();
  });
  beforeEach(() => {
    disk = new TestDisk();
  });
  afterEach(() => disk.remove());

  const damages: [what: string, reason: FileFault['reason'], damage: (path: string, outside: string) => void][] = [
    ['is deleted', 'Missing', (path) => unlinkSync(path)],
    ['is emptied', 'Truncated', (path) => truncateSync(path)],
    ['is cut', 'Truncated', (path) => truncateSync(path, 100)],
    ['is overwritten in place', 'Foreign', (path) => writeFileSync(path, 'something else')],
    ['is replaced by a foreign file', 'Foreign', (path) => instead(path, () => writeFileSync(path, 'something else'))],
    ['gets mode 0666', 'WrongMode', (path) => chmodSync(path, 0o666)],
    ['becomes a symlink out of the folder', 'SymlinkOutside', (path, outside) => instead(path, () => symlinkSync(outside, path))],
    ['becomes a symlink that leads nowhere', 'SymlinkOutside', (path) => instead(path, () => symlinkSync('nowhere', path))],
    ['is in a folder that is deleted', 'ParentMissing', (path) => rmSync(dirname(path), { recursive: true })],
  ];
  for (const pairStrategy of ['symlink', 'rename'] as const) {
    it(`mends whatever happens to a file, by ${pairStrategy}`, async () => {
      const files = disk.files({ pairStrategy });
      const spec = certificateSpec([outputs.pem, outputs.dated]);
      const pair = await installNew(files, ca, spec);
      const outside = join(disk.folder, 'outside');
      writeFileSync(outside, 'outside');
      for (const [what, reason, damage] of damages) {
        for (const path of [certificate, key, outputs.dated.file.path]) {
          damage(disk.real(path), outside);
          const mended = await files.restore(spec, [ca.der]);
          assert.ok(
            mended.some((fault) => fault.path === path && fault.reason === reason),
            `${path} ${what}: ${JSON.stringify(mended)}`,
          );
          assert.deepEqual(await files.inspect(spec, [ca.der]), [], `${path} ${what}`);
          assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([pair.serial]), `${path} ${what}`);
          assert.equal(readFileSync(outside, 'utf8'), 'outside');
        }
      }
    });

    it(`gives up on a folder in the way and touches nothing, by ${pairStrategy}`, async () => {
      const files = disk.files({ pairStrategy });
      const spec = certificateSpec([outputs.pem]);
      await installNew(files, ca, spec);
      unlinkSync(disk.real(certificate));
      mkdirSync(disk.real(certificate));
      assert.deepEqual(
        (await files.inspect(spec, [ca.der])).map((fault) => fault.reason),
        ['NotAFile'],
      );
      await assert.rejects(files.restore(spec, [ca.der]), { code: 'FileConflict', message: /move it away/ });
      assert.ok(lstatSync(disk.real(certificate)).isDirectory());
    });

    it(`refuses a folder that is a symlink out of the allowed ones, by ${pairStrategy}`, async () => {
      const files = disk.files({ pairStrategy });
      const spec = certificateSpec([outputs.pem]);
      await installNew(files, ca, spec);
      const outside = join(disk.folder, 'outside');
      renameSync(disk.real(pki), outside);
      symlinkSync(outside, disk.real(pki));
      assert.ok((await files.inspect(spec, [ca.der])).some((fault) => fault.reason === 'SymlinkOutside'));
      const before = readdirSync(outside);
      await assert.rejects(files.restore(spec, [ca.der]), { code: 'PathNotAllowed' });
      assert.deepEqual(readdirSync(outside), before);
    });

    it(`puts a matching pair of somebody else out of use, by ${pairStrategy}`, async () => {
      const files = disk.files({ pairStrategy });
      const spec = certificateSpec([outputs.pem]);
      const pair = await installNew(files, ca, spec);
      rmSync(disk.real(certificate));
      rmSync(disk.real(key));
      await writeForeignPair(disk, ca, spec);
      await files.restore(spec, [ca.der]);
      assert.deepEqual(serialsInUse(disk, spec), [pair.serial]);
    });
  }

  it('says that a key could be read by everybody', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.pem]);
    await installNew(files, ca, spec);
    chmodSync(disk.real(key), 0o644);
    const [fault] = await files.restore(spec, [ca.der]);
    assert.equal(fault?.reason, 'WrongMode');
    assert.match(fault?.message ?? '', /everybody could read the private key/);
    assert.equal(disk.mode(key), 0o600);
  });

  it('puts the owner right', async function () {
    if (!isRoot) return this.skip();
    const files = disk.files();
    const spec = certificateSpec([outputs.pem]);
    await installNew(files, ca, spec);
    chownSync(disk.real(key), 12345, 12345);
    assert.deepEqual(
      (await files.restore(spec, [ca.der])).map((fault) => fault.reason),
      ['WrongOwner'],
    );
    assert.equal(lstatSync(disk.real(key)).uid, 0);
  });

  it('mends planted symlinks and folders among its own versions without following them', async () => {
    const spec = certificateSpec([outputs.pem]);
    const versions = disk.real(`${pki}/.evercert`);
    const outside = join(disk.folder, 'outside');
    const tricks: (() => void)[] = [
      () => moveAndLink(versions, outside),
      () => moveAndLink(join(versions, 'apiserver'), outside),
      () => instead(join(versions, 'apiserver/current'), (path) => symlinkSync('../../../../../../outside', path)),
      () => instead(join(versions, 'apiserver/current'), (path) => mkdirSync(path)),
      () => rmSync(versions, { recursive: true }),
      () => chmodSync(versions, 0o700),
    ];
    for (const trick of tricks) {
      rmSync(outside, { recursive: true, force: true });
      const files = disk.files();
      const pair = await installNew(files, ca, spec);
      trick();
      const before = existsSync(outside) ? readdirSync(outside, { recursive: true }).length : 0;
      assert.notDeepEqual(await files.restore(spec, [ca.der]), []);
      assert.deepEqual(await files.inspect(spec, [ca.der]), []);
      assert.deepEqual(serialsInUse(disk, spec), [pair.serial]);
      assert.equal(existsSync(outside) ? readdirSync(outside, { recursive: true }).length : 0, before);
    }
  });

  it('keeps what an admin put into a kubeconfig through renewals and mending, also where an editor replaced the file', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.kubeconfig]);
    const { path } = outputs.kubeconfig.file;
    await installNew(files, ca, spec);
    const theirs = 'contexts:\n  # for the night shift\n  - { name: ops, context: { cluster: demo, user: kubernetes-admin } }';
    const edited = disk.read(path).replace('contexts:', theirs);
    rmSync(disk.real(path));
    disk.write(path, edited, 0o600);
    await files.restore(spec, [ca.der]);
    assert.equal(disk.read(path), edited);
    await installNew(files, ca, spec);
    assert.ok(disk.read(path).includes(theirs));
    assert.notEqual(disk.read(path), edited);
    const key = parse(disk.read(path)).users[0].user['client-key-data'];
    disk.write(path, disk.read(path).replace(key, 'b2xk'), 0o600);
    assert.deepEqual(
      (await files.restore(spec, [ca.der])).map((fault) => fault.reason),
      ['Foreign'],
    );
    assert.ok(disk.read(path).includes(theirs));
    assert.equal(parse(disk.read(path)).users[0].user['client-key-data'], key);
    assert.deepEqual(await files.inspect(spec, [ca.der]), []);
  });

  it('writes a kubeconfig that cannot be read anew, and keeps what was there in its own folder', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.kubeconfig]);
    const { path } = outputs.kubeconfig.file;
    await installNew(files, ca, spec);
    const good = disk.read(path);
    disk.write(path, 'clusters: [ {', 0o600);
    await files.restore(spec, [ca.der]);
    assert.equal(disk.read(path), good);
    const kept = join(disk.stateDir, 'damaged', 'apiserver-admin.conf');
    assert.equal(readFileSync(kept, 'utf8'), 'clusters: [ {');
    assert.equal(statSync(kept).mode & 0o777, 0o600);
  });

  it('notices another trust anchor in a kubeconfig and another PKCS#12 password', async () => {
    const files = disk.files();
    const spec = certificateSpec([outputs.kubeconfig, outputs.pkcs12]);
    await installNew(files, ca, spec);
    const before = disk.read(outputs.pkcs12.file.path);
    const next = await createTestCa('kubernetes-ca');
    assert.deepEqual(
      (await files.inspect(spec, [ca.der, next.der])).map((fault) => fault.path),
      [outputs.kubeconfig.file.path],
    );
    disk.write('/etc/kubernetes/p12-password', 'battery staple');
    assert.deepEqual(
      (await files.restore(spec, [ca.der, next.der])).map((fault) => fault.reason),
      ['Foreign', 'Foreign'],
    );
    assert.deepEqual(await files.inspect(spec, [ca.der, next.der]), []);
    assert.notEqual(disk.read(outputs.pkcs12.file.path), before);
  });

  it('rebuilds a damaged copy in the state folder from the declared files', async () => {
    const spec = certificateSpec([outputs.pem]);
    const pair = await installNew(disk.files(), ca, spec);
    const state = join(disk.stateDir, 'certificates', spec.name);
    for (const name of ['key.pem', 'chain.pem']) {
      truncateSync(join(state, 'installed', name), 10);
      assert.equal((await disk.files().installed(spec.name))?.serial, pair.serial);
    }
    unlinkSync(disk.real(certificate));
    truncateSync(join(state, 'installed', 'chain.pem'), 10);
    assert.equal(await disk.files().installed(spec.name), undefined);
    await assert.rejects(disk.files().restore(spec, [ca.der]), { code: 'NotFound' });
  });

  it('closes a state folder that was opened to others', async () => {
    const spec = certificateSpec([outputs.pem]);
    await installNew(disk.files(), ca, spec);
    const keyCopy = join(disk.stateDir, 'certificates', spec.name, 'installed', 'key.pem');
    chmodSync(keyCopy, 0o644);
    assert.deepEqual(await disk.files().recover(), [`${spec.name}: closed the state folder to others`]);
    assert.equal(lstatSync(keyCopy).mode & 0o777, 0o600);
    assert.deepEqual(await disk.files().recover(), []);
  });

  it('puts everything right after any sequence of damage', async function () {
    this.timeout(20_000);
    const spec = certificateSpec([outputs.pem, outputs.chain, outputs.dated, outputs.pkcs12]);
    for (const pairStrategy of ['symlink', 'rename'] as const) {
      const files = disk.files({ pairStrategy });
      const pair = await installNew(files, ca, spec);
      await fc.assert(
        fc.asyncProperty(fc.array(damageArbitrary, { minLength: 1, maxLength: 6 }), async (sequence) => {
          for (const damage of sequence) damageDisk(disk, damage);
          await files.restore(spec, [ca.der]);
          assert.deepEqual(await files.inspect(spec, [ca.der]), []);
          assertAllRight(disk, spec, pair.serial);
        }),
        { numRuns: 6 },
      );
    }
  });
});

function assertAllRight(disk: TestDisk, spec: ResolvedCertificate, serial: string): void {
  assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([serial]));
  for (const path of [key, outputs.pkcs12.file.path, outputs.dated.file.path]) assert.equal(disk.mode(path), 0o600);
  const leftovers = allowedPaths.flatMap((path) => disk.list(path)).filter((path) => path.includes('evercert-tmp'));
  assert.deepEqual(leftovers, []);
}

const paths = [certificate, key, outputs.chain.file.path, outputs.dated.file.path, outputs.pkcs12.file.path];
const kinds = ['delete', 'truncate', 'swap', 'chmod', 'foreign', 'symlink', 'rename', 'folder'] as const;
const damageArbitrary = fc.record({ kind: fc.constantFrom(...kinds), path: fc.constantFrom(...paths), other: fc.constantFrom(...paths) });

/** Does something to a path, as far as what is there by now allows it. */
function damageDisk(disk: TestDisk, { kind, path, other }: { kind: (typeof kinds)[number]; path: string; other: string }): void {
  const [real, real2] = [disk.real(path), disk.real(other)];
  for (const folder of [dirname(real), dirname(real2)]) mkdirSync(folder, { recursive: true });
  if (kind === 'folder') {
    rmSync(dirname(real), { recursive: true });
    disk.write('/etc/kubernetes/p12-password', 'correct horse\n');
  } else if (kind === 'foreign') instead(real, () => writeFileSync(real, 'foreign'));
  else if (kind === 'symlink') instead(real, () => symlinkSync(disk.folder, real));
  else if (!isReadable(real) || !isReadable(real2)) return;
  else if (kind === 'delete') unlinkSync(real);
  else if (kind === 'truncate') truncateSync(real, 20);
  else if (kind === 'chmod') chmodSync(real, 0o604);
  else if (kind === 'rename') renameSync(real, `${real}.moved`);
  else if (path !== other) {
    renameSync(real, `${real}.swap`);
    renameSync(real2, real);
    renameSync(`${real}.swap`, real2);
  }
}

function isReadable(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function instead(path: string, make: (path: string) => void): void {
  rmSync(path, { force: true });
  make(path);
}

function moveAndLink(from: string, to: string): void {
  renameSync(from, to);
  symlinkSync(to, from);
}
