import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore, type SqliteStore } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';

describe('the SQLite store on a full disk', () => {
  let folder: string;
  let mounted = false;
  const file = (): string => join(folder, 'store.db');
  const open = (): Promise<SqliteStore> => openSqliteStore({ file: file(), clock: new FakeClock(), logger: silentLogger });
  const put = (key: string, bytes: number) => ({ type: 'put' as const, key, value: Buffer.alloc(bytes, key) });

  before(function () {
    folder = mkdtempSync(join(tmpdir(), 'evercert-store-full-'));
    if (process.getuid?.() !== 0) this.skip(); // mounting needs root
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', folder]);
    mounted = true;
  });

  after(() => {
    if (mounted) execFileSync('umount', [folder]);
    rmSync(folder, { recursive: true });
  });

  it('answers DiskFull, keeps what it acknowledged, writes nothing of the rest, and works on once there is space', async () => {
    const ballast = join(folder, 'ballast');
    writeFileSync(ballast, Buffer.alloc(1024 * 1024));
    let store = await open();
    const written: string[] = [];
    const refused: string[] = [];
    for (let i = 0; i < 100; i++) {
      const keys = [`a${i}`, `b${i}`];
      try {
        await store.transact(
          [],
          keys.map((key) => put(key, 10_000)),
        );
        written.push(...keys);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'DiskFull');
        refused.push(...keys);
      }
    }
    assert.ok(written.length > 0 && refused.length > 0, `${written.length} written, ${refused.length} refused`);
    const present = async (): Promise<string[]> => (await store.range({ prefix: '' })).entries.map((entry) => entry.key);
    assert.deepEqual(await present(), written.toSorted());

    rmSync(ballast);
    await store.transact([], [put('later', 10_000)]);
    assert.deepEqual(await present(), [...written, 'later'].toSorted());

    await store.close();
    store = await open();
    assert.deepEqual(await present(), [...written, 'later'].toSorted());
    await store.close();
  });

  it('can be opened on a full disk, or says clearly that it cannot', async () => {
    const ballast = join(folder, 'ballast-2');
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${ballast} bs=1k 2>/dev/null || true`]);
    try {
      const store = await open();
      assert.ok(await store.get('later'));
      await store.close();
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'DiskFull');
    }
    rmSync(ballast);
    const store = await open();
    assert.ok(await store.get('later'));
    await store.close();
  });
});
