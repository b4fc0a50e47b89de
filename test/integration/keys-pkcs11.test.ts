import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema } from '@evercert/coordinator';
import { type KeyProvider, openKeyProvider } from '@evercert/coordinator/keys';
import { openSqliteStore, type SqliteStore } from '@evercert/coordinator/store';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { describeKeyProviderContract } from '../contract/key-provider.ts';
import { makeSoftHsm, needSoftHsm, type SoftHsm } from '../support/softhsm.ts';

describe('a PKCS#11 token', () => {
  let hsm: SoftHsm;
  let folder: string;
  let store: SqliteStore;
  let provider: KeyProvider;
  const opened: KeyProvider[] = [];

  const open = async (): Promise<KeyProvider> => {
    const caKeys = { provider: 'pkcs11', pkcs11: hsm.config };
    const config = configSchema.parse({ dataDir: folder, caKeys });
    const each = await openKeyProvider(config, { store, clock: systemClock, logger: silentLogger, env: {} });
    opened.push(each);
    return each;
  };

  before(async function () {
    needSoftHsm(this);
    hsm = await makeSoftHsm();
    folder = mkdtempSync(join(tmpdir(), 'evercert-pkcs11-'));
    store = await openSqliteStore({ file: join(folder, 'store.db'), clock: systemClock, logger: silentLogger });
    provider = await open();
  });

  after(async () => {
    for (const each of opened) await each.close();
    await store?.close();
    if (folder) rmSync(folder, { recursive: true });
    hsm?.dispose();
  });

  describeKeyProviderContract('SoftHSM2', async () => ({
    provider,
    kind: 'pkcs11',
    seesDestruction: true,
    reopen: open,
    cleanup: async () => {
      for (const each of opened.splice(1)) await each.close();
      for (const id of await provider.list()) await provider.delete(id);
    },
  }));
});
