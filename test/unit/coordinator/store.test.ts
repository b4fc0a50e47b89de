import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteStore } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { describeStoreContract } from '../../contract/store.ts';

const inMemory = async () => {
  const clock = new FakeClock();
  const store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
  return { store, shared: false, advance: (ms: number) => clock.advance(ms), cleanup: () => store.close() };
};

describeStoreContract('SQLite in memory', inMemory, 100);

describeStoreContract('SQLite in a file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-store-'));
  const options = { file: join(folder, 'store.db'), clock: new FakeClock(), logger: silentLogger };
  let store = await openSqliteStore(options);
  return {
    store,
    shared: false,
    advance: (ms) => options.clock.advance(ms),
    reopen: async () => {
      await store.close();
      store = await openSqliteStore(options);
      return store;
    },
    cleanup: async () => {
      await store.close();
      rmSync(folder, { recursive: true });
    },
  };
});
