import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { type PathWatcher, watchPaths } from '@evercert/agent/files';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { certificateSpec, createTestCa, installNew, outputs, pki, type TestCa, TestDisk } from '../support/pair.ts';

const certificate = outputs.pem.certificate.path;
const key = outputs.pem.privateKey.path;

describe('Watching declared paths', () => {
  const spec = certificateSpec([outputs.pem, outputs.dated]);
  let ca: TestCa;
  let disk: TestDisk;
  let watcher: PathWatcher;
  let paths: string[];
  let seen: string[];
  let wake: () => void;

  before(async () => {
    ca = await createTestCa();
  });
  beforeEach(() => {
    disk = new TestDisk();
    seen = [];
    wake = () => undefined;
  });
  afterEach(async () => {
    await watcher.close();
    disk.remove();
  });

  async function watch(...wanted: string[]): Promise<void> {
    paths = wanted;
    watcher = await watchPaths({
      paths: () => paths.map((path) => disk.real(path)),
      onChange: (path) => {
        seen.push(path.slice(disk.root.length));
        wake();
      },
      clock: systemClock,
      logger: silentLogger,
    });
  }

  /** Does something and waits, for a second at most, until a path is reported. */
  async function reported(path: string, action: () => void): Promise<void> {
    seen = [];
    action();
    const deadline = systemClock.nowMs() + 2000;
    while (!seen.includes(path)) {
      assert.ok(systemClock.nowMs() < deadline, `${path} was not reported; seen: ${seen.join(', ')}`);
      await Promise.race([new Promise<void>((resolve) => (wake = resolve)), systemClock.sleep(100)]);
    }
  }

  /** Waits until nothing has been reported for some time. */
  async function quiet(): Promise<void> {
    for (let last = -1; last !== seen.length; ) {
      last = seen.length;
      await systemClock.sleep(80);
    }
  }

  it('reports whatever happens to a file, through symlinks and beside dated ones', async () => {
    const files = disk.files();
    await installNew(files, ca, spec);
    await watch(certificate, key, outputs.dated.file.path);
    const real = disk.real(key);
    const damages: (() => void)[] = [
      () => chmodSync(real, 0o644),
      () => truncateSync(real),
      () => unlinkSync(real),
      () => {
        unlinkSync(real);
        mkdirSync(real);
      },
    ];
    for (const damage of damages) {
      await reported(key, damage);
      rmSync(real, { recursive: true, force: true });
      await files.restore(spec, [ca.der]);
      await quiet();
      assert.deepEqual(await files.inspect(spec, [ca.der]), []);
    }
    await reported(outputs.dated.file.path, () => truncateSync(disk.real(outputs.dated.file.path)));
  });

  it('follows a switch to a new version', async () => {
    const files = disk.files();
    await installNew(files, ca, spec);
    await watch(certificate, key);
    await installNew(files, ca, spec);
    await quiet();
    assert.ok(seen.includes(certificate));
    await reported(certificate, () => writeFileSync(disk.real(certificate), 'changed'));
  });

  it('follows folders that are missing, come, are deleted and made again, and are moved away', async () => {
    const path = '/etc/kubernetes/new/deep/file';
    await watch(path);
    const write = (text: string): void => disk.write(path, text);
    await reported(path, () => write('1'));
    await quiet();
    await reported(path, () => write('2'));
    const folder = dirname(disk.real(path));
    await reported(path, () => rmSync(folder, { recursive: true }));
    await quiet();
    await reported(path, () => write('3'));
    await quiet();
    await reported(path, () => write('4'));
    await reported(path, () => renameSync(folder, `${folder}-away`));
    await quiet();
    await reported(path, () => write('5'));
    await quiet();
    await reported(path, () => write('6'));
    await reported(path, () => {
      rmSync(folder, { recursive: true });
      write('7');
    });
    await quiet();
    await reported(path, () => write('8'));
  });

  it('reports a symlink put in a file’s place, takes up new paths at an update, and is quiet after its end', async () => {
    disk.write(`${pki}/a`, '1');
    await watch(`${pki}/a`);
    await reported(`${pki}/a`, () => {
      symlinkSync('/etc/hostname', disk.real(`${pki}/link`));
      renameSync(disk.real(`${pki}/link`), disk.real(`${pki}/a`));
    });
    paths = [`${pki}/b`];
    await watcher.update();
    await reported(`${pki}/b`, () => disk.write(`${pki}/b`, '1'));
    await quiet();
    await watcher.close();
    seen = [];
    disk.write(`${pki}/b`, '2');
    await quiet();
    assert.deepEqual(seen, []);
  });
});
