import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPlainFiles } from '@evercert/agent/files';
import { silentLogger } from '@evercert/shared/logging';
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
} from '../support/pair.ts';

/** A file system of its own of 256 KiB and 64 inodes, mounted on a folder; undefined where this user may not mount. */
function mountSmall(folder: string): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,nr_inodes=64', 'tmpfs', folder], { stdio: 'pipe' });
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

function fill(folder: string): void {
  for (const bytes of [4096, 1]) {
    for (let i = 0; i < 1000; i++) {
      try {
        writeFileSync(join(folder, `filler-${bytes}-${i}`), Buffer.alloc(bytes));
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') break;
        throw error;
      }
    }
  }
}

/** Takes away so many of the files that fill a folder; each has a block and an inode. */
function unfill(folder: string, count = Number.POSITIVE_INFINITY): void {
  const fillers = readdirSync(folder).filter((name) => name.startsWith('filler-'));
  for (const name of fillers.slice(0, count)) rmSync(join(folder, name));
}

describe('A disk that takes no more', () => {
  const spec = certificateSpec([outputs.pem, outputs.chain, outputs.combined]);
  let ca: TestCa;
  let disk: TestDisk;
  let mounts: string[];

  before(async () => {
    ca = await createTestCa();
  });
  beforeEach(function () {
    disk = new TestDisk();
    mkdirSync(disk.stateDir, { mode: 0o700 });
    mounts = [disk.real('/etc/kubernetes'), disk.stateDir].filter(mountSmall);
    // Only root may mount: without it there is no disk to fill.
    if (mounts.length < 2) this.skip();
    mkdirSync(disk.real(pki));
  });
  afterEach(() => {
    for (const folder of mounts) execFileSync('umount', [folder]);
    disk.remove();
  });

  for (const pairStrategy of ['symlink', 'rename'] as const) {
    for (const [place, mount] of [
      ['the declared folder', 0],
      ['the state folder', 1],
    ] as const) {
      it(`is ${place}, and full: the old pair stays in use, the error says so, and nothing is left behind, by ${pairStrategy}`, async () => {
        const files = disk.files({ pairStrategy });
        const old = await installNew(files, ca, spec);
        const listed = disk.list('/etc/kubernetes');
        const { privateKey } = await files.ensurePendingKey(spec);
        await files.savePendingChain(spec.name, await ca.issue(spec, privateKey), 0);
        fill(mounts[mount] as string);
        await assert.rejects(files.install(spec, [ca.der]), { code: 'DiskFull', message: /the disk is full; free space/ });
        assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([old.serial]));
        assert.equal((await files.installed(spec.name))?.serial, old.serial);
        unfill(mounts[mount] as string);
        assert.deepEqual(disk.list('/etc/kubernetes'), listed);
        assert.deepEqual(await files.inspect(spec, [ca.der]), []);
        assert.deepEqual(await files.recover(), []);
        const pair = await files.install(spec, [ca.der]);
        assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([pair.serial]));
      });

      it(`is ${place}, and read-only: the old pair stays in use and the error says so, by ${pairStrategy}`, async () => {
        const files = disk.files({ pairStrategy });
        const old = await installNew(files, ca, spec);
        const { privateKey } = await files.ensurePendingKey(spec);
        await files.savePendingChain(spec.name, await ca.issue(spec, privateKey), 0);
        execFileSync('mount', ['-o', 'remount,ro', mounts[mount] as string]);
        await assert.rejects(files.install(spec, [ca.der]), { code: 'FileSystem', message: /read-only/ });
        assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([old.serial]));
        assert.deepEqual(await files.inspect(spec, [ca.der]), []);
        execFileSync('mount', ['-o', 'remount,rw', mounts[mount] as string]);
        const pair = await disk
          .files({ pairStrategy })
          .recover()
          .then(() => files.install(spec, [ca.der]));
        assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([pair.serial]));
      });
    }
  }

  for (const pairStrategy of ['symlink', 'rename'] as const) {
    it(`runs full at any moment of an installation: the old pair or the new one is in use, and nothing is left behind, by ${pairStrategy}`, async () => {
      const files = disk.files({ pairStrategy });
      let inUse = (await installNew(files, ca, spec)).serial;
      const names = disk.list('/etc/kubernetes').length;
      const failed: boolean[] = [];
      for (let free = 0; failed.at(-1) !== false; free++) {
        const { privateKey } = await files.ensurePendingKey(spec);
        await files.savePendingChain(spec.name, await ca.issue(spec, privateKey), 0);
        for (const mount of mounts) fill(mount);
        for (const mount of mounts) unfill(mount, free);
        const [result] = await Promise.allSettled([files.install(spec, [ca.der])]);
        if (result.status === 'fulfilled') inUse = result.value.serial;
        else assert.equal(result.reason.code, 'DiskFull', result.reason.message);
        failed.push(result.status === 'rejected');
        assert.deepEqual(new Set(serialsInUse(disk, spec)), new Set([inUse]), `${free} free`);
        for (const mount of mounts) unfill(mount);
        assert.deepEqual(await files.recover(), [], `${free} free`);
        assert.equal(disk.list('/etc/kubernetes').length, names, `${free} free`);
      }
      assert.ok(failed.length > 4, `failed ${failed.length} times`);
    });
  }

  it('keeps a plain file whole when its new content does not fit', async () => {
    const plain = createPlainFiles({ rootDir: disk.root, allowedPaths, logger: silentLogger });
    const file = { path: `${pki}/ca.crt`, mode: 0o644, content: Buffer.from('old') };
    await plain.write([file]);
    fill(mounts[0] as string);
    await assert.rejects(plain.write([{ ...file, content: Buffer.alloc(50_000, 'new') }]), { code: 'DiskFull' });
    assert.equal(disk.read(file.path), 'old');
    unfill(mounts[0] as string);
    assert.deepEqual(disk.list(pki), ['ca.crt']);
  });
});
