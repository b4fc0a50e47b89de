import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema } from '@evercert/coordinator';
import { KeyPlaces, type KeyProvider, openKeyProvider } from '@evercert/coordinator/keys';
import { openStore } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { spkiDer } from '@evercert/shared/x509';

/** What a process does that is killed: `open(caKeys)` gives a provider, `places(caKeys)` what the commands use. */
const prelude = (folder: string): string => `
  import { caKeysSchema, KeyPlaces, openKeyProvider } from '@evercert/coordinator/keys';
  import { openStore } from '@evercert/coordinator/store';
  import { systemClock as clock } from '@evercert/shared/clock';
  import { silentLogger as logger } from '@evercert/shared/logging';
  const dataDir = ${JSON.stringify(folder)};
  const configOf = (caKeys) => ({ dataDir, caKeys: caKeysSchema.parse(caKeys) });
  const store = await openStore({ dataDir, store: {} }, { clock, logger });
  const open = (caKeys) => openKeyProvider(configOf(caKeys), { store, clock, logger, env: {} });
  const places = (caKeys) => new KeyPlaces(configOf(caKeys), { store: async () => store, clock, logger, env: {} });
`;

describe('the keys, a process killed', () => {
  let folder: string;
  let kek: { kekFile: string; otherKekFiles: string[] };

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-keys-crash-'));
    const files = ['kek', 'next'].map((name) => join(folder, name));
    for (const file of files) writeFileSync(file, randomBytes(32).toString('base64'), { mode: 0o600 });
    kek = { kekFile: files[0] ?? '', otherKekFiles: files.slice(1) };
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  const killedAt = (point: string, work: string): void => {
    const env = { ...process.env, EVERCERT_FAULT_POINT: point };
    const { signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', prelude(folder) + work], { env });
    assert.equal(signal, 'SIGKILL', stderr.toString());
  };

  /** Opens store and keys as the next process would. */
  const withProvider = async <T>(
    caKeys: Record<string, unknown>,
    look: (provider: KeyProvider, places: KeyPlaces) => Promise<T>,
  ): Promise<T> => {
    const config = configSchema.parse({ dataDir: folder, caKeys: { store: kek, ...caKeys } });
    const common = { clock: systemClock, logger: silentLogger, env: {} };
    const store = await openStore(config, common);
    const provider = await openKeyProvider(config, { ...common, store });
    const places = new KeyPlaces(config, { ...common, store: async () => store });
    try {
      return await look(provider, places);
    } finally {
      await provider.close();
      await places.close();
      await store.close();
    }
  };

  for (const [kind, point, survives] of [
    ['file', 'keys.before-rename', false],
    ['file', 'keys.after-rename', true],
    ['file', 'keys.after-sync', true],
    ['store', 'keys.before-store', false],
    ['store', 'keys.after-store', true],
  ] as const) {
    it(`leaves a whole key or none when it dies at ${point}, and nothing half`, async () => {
      const caKeys = { provider: kind, store: kek };
      killedAt(point, `await (await open(${JSON.stringify(caKeys)})).generate('demo/ca', 'ecdsa-p256');`);
      await withProvider(caKeys, async (provider) => {
        assert.deepEqual(await provider.list(), survives ? ['demo/ca'] : []);
        if (survives) assert.ok(await (await provider.signer('demo/ca')).sign(Buffer.from('x')));
        else await provider.generate('demo/ca', 'ecdsa-p256');
      });
      if (kind === 'file') assert.deepEqual(readdirSync(join(folder, 'keys', 'demo')), ['ca.key']);
    });
  }

  for (const [from, to, point] of [
    ['file', 'store', 'keys-move-copied'],
    ['file', 'store', 'keys-move-verified'],
    ['file', 'store', 'keys-move-destroyed@2'],
    ['store', 'file', 'keys-move-copied'],
  ] as const) {
    it(`has every key in one place at least when it dies at ${point} of a move from ${from} to ${to}, and the move goes on from there`, async () => {
      const ids = ['demo/a', 'demo/b', 'demo/c'];
      const before = await withProvider({ provider: from }, (provider) =>
        Promise.all(ids.map(async (id) => spkiDer((await provider.generate(id, 'ecdsa-p256')).publicKey))),
      );
      const caKeys = { provider: to, also: [from], store: kek };
      killedAt(point, `await places(${JSON.stringify(caKeys)}).move({ to: '${to}' }, () => undefined);`);
      const look = async (provider: KeyProvider): Promise<void> => {
        assert.deepEqual(await provider.list(), ids);
        for (const [i, id] of ids.entries()) {
          const signer = await provider.signer(id);
          assert.deepEqual(spkiDer(signer.publicKey), before[i]);
          assert.ok(await signer.sign(Buffer.from('x')));
        }
      };
      await withProvider(caKeys, async (provider, places) => {
        await look(provider);
        await places.move({ to }, () => undefined);
        await look(provider);
      });
      await withProvider({ provider: to }, look);
      await withProvider({ provider: from }, async (provider) => assert.deepEqual(await provider.list(), []));
    });
  }

  it('opens every key when it dies in the middle of changing the key-encryption key, and the change goes on from there', async () => {
    const ids = ['demo/a', 'demo/b', 'demo/c'];
    const caKeys = { provider: 'store', store: kek };
    await withProvider(caKeys, async (provider) => {
      for (const id of ids) await provider.generate(id, 'ecdsa-p256');
    });
    const next = kek.otherKekFiles[0] ?? '';
    killedAt('keys.rewrapped@2', `await places(${JSON.stringify(caKeys)}).rotateKek(${JSON.stringify(next)});`);
    await withProvider(caKeys, async (provider, places) => {
      for (const id of ids) assert.ok(await (await provider.signer(id)).sign(Buffer.from('x')));
      assert.deepEqual(await places.rotateKek(next), { rewrapped: 1, total: 3 });
    });
    await withProvider({ provider: 'store', store: { kekFile: next } }, async (provider) => {
      for (const id of ids) assert.ok(await (await provider.signer(id)).sign(Buffer.from('x')));
    });
  });
});
