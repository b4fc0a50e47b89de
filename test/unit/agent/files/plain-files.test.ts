import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, statSync, symlinkSync } from 'node:fs';
import { createPlainFiles, type PlainFiles } from '@evercert/agent/files';
import { silentLogger } from '@evercert/shared/logging';
import { allowedPaths, pki, TestDisk } from '../../../support/pair.ts';

describe('Plain files', () => {
  const file = { path: `${pki}/etcd/ca.crt`, mode: 0o644, content: Buffer.from('bundle') };
  let disk: TestDisk;
  let plain: PlainFiles;

  beforeEach(() => {
    disk = new TestDisk();
    plain = createPlainFiles({ rootDir: disk.root, allowedPaths, logger: silentLogger });
  });
  afterEach(() => disk.remove());

  it('are written once, with their folders, and left alone while they are right', async () => {
    assert.deepEqual(
      (await plain.inspect(file)).map((fault) => fault.reason),
      ['ParentMissing'],
    );
    assert.equal(await plain.write([file]), true);
    const { ino } = statSync(disk.real(file.path));
    assert.equal(await plain.write([file]), false);
    assert.equal(statSync(disk.real(file.path)).ino, ino);
    assert.deepEqual(await plain.inspect(file), []);
  });

  it('are put right when content, mode or kind is wrong, and symlinks are not followed', async () => {
    await plain.write([file]);
    const cases: [string, () => void][] = [
      ['Foreign', () => disk.write(file.path, 'other')],
      ['Truncated', () => disk.write(file.path, 'bun')],
      ['WrongMode', () => chmodSync(disk.real(file.path), 0o666)],
    ];
    for (const [reason, damage] of cases) {
      damage();
      assert.deepEqual(
        (await plain.inspect(file)).map((fault) => fault.reason),
        [reason],
      );
      assert.equal(await plain.write([file]), true);
      assert.deepEqual(await plain.inspect(file), []);
    }
    disk.write('/outside', 'outside');
    const linked = { ...file, path: `${pki}/linked` };
    symlinkSync(disk.real('/outside'), disk.real(linked.path));
    assert.deepEqual(
      (await plain.inspect(linked)).map((fault) => fault.reason),
      ['SymlinkOutside'],
    );
    await plain.write([linked]);
    assert.deepEqual([disk.read('/outside'), disk.read(linked.path)], ['outside', 'bundle']);
  });

  it('refuse everything when one of them cannot be', async () => {
    mkdirSync(disk.real(`${pki}/folder`));
    for (const [code, bad] of [
      ['PathNotAllowed', { ...file, path: '/etc/shadow' }],
      ['FileConflict', { ...file, path: `${pki}/folder` }],
      ['InvalidManifest', { ...file, path: `${pki}/sa.key`, content: Buffer.from('-----BEGIN PRIVATE KEY-----') }],
    ] as const) {
      await assert.rejects(plain.write([file, bad]), { code });
    }
    assert.deepEqual(disk.list(pki), ['folder']);
  });

  it('go away when they are removed, and only from where they may be', async () => {
    await plain.write([file]);
    await plain.remove(file.path);
    await plain.remove(file.path);
    await assert.rejects(plain.remove('/etc/shadow'), { code: 'PathNotAllowed' });
    assert.deepEqual(disk.list(pki), ['etcd']);
  });
});
