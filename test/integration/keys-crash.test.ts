import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openFileKeyProvider } from '@evercert/coordinator/keys';
import { silentLogger } from '@evercert/shared/logging';

describe('the file key provider, its process killed', () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-keys-crash-'));
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  for (const [point, survives] of [
    ['keys.before-rename', false],
    ['keys.after-rename', true],
    ['keys.after-sync', true],
  ] as const) {
    it(`holds a whole key or none when it dies at ${point}, and nothing half`, async () => {
      const paths = { directory: join(folder, 'keys'), passphraseFile: join(folder, 'passphrase') };
      const options = { ...paths, createPassphrase: true, logger: silentLogger };
      const script = `import { openFileKeyProvider } from '@evercert/coordinator/keys';
        import { silentLogger } from '@evercert/shared/logging';
        const provider = await openFileKeyProvider({ ...${JSON.stringify({ ...paths, createPassphrase: true })}, logger: silentLogger });
        await provider.generate('demo/ca', 'ecdsa-p256');`;
      const env = { ...process.env, EVERCERT_FAULT_POINT: point };
      assert.equal(spawnSync(process.execPath, ['--input-type=module', '-e', script], { env }).signal, 'SIGKILL');
      const provider = await openFileKeyProvider(options);
      assert.deepEqual(await provider.list(), survives ? ['demo/ca'] : []);
      if (survives) assert.ok(await (await provider.signer('demo/ca')).sign(Buffer.from('x')));
      else await provider.generate('demo/ca', 'ecdsa-p256');
      assert.deepEqual(readdirSync(join(options.directory, 'demo')), ['ca.key']);
    });
  }
});
