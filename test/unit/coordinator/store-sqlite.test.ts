import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { openSqliteStore, type SqliteStore, type SqliteStoreOptions, type WatchEvent } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import fc from 'fast-check';
import { plainEvents, runStep, StoreModel, steps } from '../../contract/store-model.ts';

const put = (key: string, value = key, lease?: string) => ({
  type: 'put' as const,
  key,
  value: Buffer.from(value),
  ...(lease && { lease }),
});

/** A database whose next commit fails as SQLite's would. */
class FailingDatabase extends DatabaseSync {
  failNextCommit: number | undefined;

  override exec(sql: string): void {
    if (sql === 'COMMIT' && this.failNextCommit !== undefined) {
      const errcode = this.failNextCommit;
      this.failNextCommit = undefined;
      throw Object.assign(new Error('disk I/O error'), { errcode });
    }
    super.exec(sql);
  }
}

const ioErrorWrite = 778;
const ioErrorFsync = 1034;

describe('the SQLite store', () => {
  let folder: string;
  let file: string;
  let clock: FakeClock;
  let opened: SqliteStore[];

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-store-'));
    file = join(folder, 'store.db');
    clock = new FakeClock();
    opened = [];
  });

  afterEach(async () => {
    for (const store of opened) await store.close();
    rmSync(folder, { recursive: true });
  });

  const open = async (options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> => {
    const store = await openSqliteStore({ file, clock, logger: silentLogger, ...options });
    opened.push(store);
    return store;
  };
  /** What another program does with the file while no store has it open. */
  const withDatabase = <T>(use: (db: DatabaseSync) => T): T => {
    const db = new DatabaseSync(file);
    try {
      return use(db);
    } finally {
      db.close();
    }
  };
  const count = (table: string): number => withDatabase((db) => Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.['n']));
  const openFailing = async (): Promise<{ store: SqliteStore; database: FailingDatabase }> => {
    const database = new FailingDatabase(file);
    return { store: await open({ open: () => database }), database };
  };

  describe('snapshots', () => {
    const keys = Array.from({ length: 300 }, (_, i) => `k${String(i).padStart(3, '0')}`);
    const filled = async (options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> => {
      const store = await open(options);
      for (let i = 0; i < keys.length; i += 100)
        await store.transact(
          [],
          keys.slice(i, i + 100).map((key) => put(key)),
        );
      return store;
    };
    const signal = new AbortController().signal;

    it('fail when more is replaced while they are read than memory is given for it, and can be begun again', async () => {
      const store = await filled({ snapshotBytes: 100 });
      const pages = store.snapshot({ prefix: '', signal })[Symbol.asyncIterator]();
      await pages.next();
      await store.transact(
        [],
        keys.slice(-50).map((key) => put(key, 'new')),
      );
      await assert.rejects(pages.next(), { code: 'FailedPrecondition', message: /start the snapshot again/ });
      let entries = 0;
      for await (const page of store.snapshot({ prefix: '', signal })) entries += page.entries.length;
      assert.equal(entries, keys.length);
    });

    it('are not hurt by a commit that is rolled back', async () => {
      const database = new FailingDatabase(file);
      const store = await filled({ open: () => database });
      const pages = store.snapshot({ prefix: '', signal })[Symbol.asyncIterator]();
      const values = (await pages.next()).value.entries;
      database.failNextCommit = ioErrorWrite;
      await assert.rejects(store.transact([], [put('k299', 'rolled back'), put('k200/new')]));
      await store.transact([], [put('k298', 'new')]);
      for (let next = await pages.next(); !next.done; next = await pages.next()) values.push(...next.value.entries);
      assert.deepEqual(
        values.map((entry: { value: Uint8Array }) => Buffer.from(entry.value).toString()),
        keys,
      );
    });
  });

  describe('committing in groups', () => {
    it('needs one commit for all transactions of a turn', async () => {
      const store = await open();
      const results = await Promise.all(Array.from({ length: 100 }, (_, i) => store.transact([], [put(`k${i}`)])));
      assert.deepEqual(
        results.map((result) => result.revision),
        Array.from({ length: 100 }, (_, i) => i + 1),
      );
      assert.deepEqual(store.stats(), { commits: 1, transactions: 100, rollbacks: 0, revision: 100 });
    });

    it('shows a transaction to those behind it in the group, but to no read before the commit', async () => {
      const store = await open({ file: ':memory:' });
      const first = store.transact([{ key: 'k', modRevision: 0 }], [put('k', 'one')]);
      const second = store.transact([{ key: 'k', modRevision: 1 }], [put('k', 'two')]);
      assert.equal(await store.get('k'), undefined);
      assert.deepEqual(
        await Promise.all([first, second]),
        [1, 2].map((revision) => ({ succeeded: true, revision })),
      );
    });

    it('commits nothing when every comparison of the turn fails', async () => {
      const store = await open({ file: ':memory:' });
      await Promise.all([1, 2].map((modRevision) => store.transact([{ key: 'k', modRevision }], [put('k')])));
      assert.equal(store.stats().commits, 0);
    });

    it('answers in groups as the model does one after the other', async () => {
      const store = await open({ file: ':memory:' });
      const transactions = steps('p/').filter((step) => step.type === 'transact');
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(transactions, { minLength: 1, maxLength: 8 }), { maxLength: 8 }), async (groups) => {
          const { revision } = await store.transact([], [{ type: 'deletePrefix', prefix: 'p/' }]);
          const model = new StoreModel(revision);
          for (const group of groups) {
            await Promise.all(group.map((step) => runStep(store, model, step)));
            await runStep(store, model, { type: 'range', options: { prefix: 'p/' } });
          }
        }),
        { numRuns: 100 },
      );
    });

    it('refuses what would make the queue too long, and takes more when it has drained', async () => {
      const store = await open({ file: ':memory:', maxPending: 3 });
      const results = await Promise.allSettled(Array.from({ length: 5 }, (_, i) => store.transact([], [put(`k${i}`)])));
      assert.deepEqual(
        results.map((result) => (result.status === 'rejected' ? result.reason.code : 'ok')),
        ['ok', 'ok', 'ok', 'Overloaded', 'Overloaded'],
      );
      assert.equal((await store.transact([], [put('later')])).succeeded, true);
    });
  });

  describe('remembering changes', () => {
    const watch = (store: SqliteStore, fromRevision?: number): AsyncIterator<WatchEvent[]> => {
      const options = { prefix: '', signal: new AbortController().signal };
      return store.watch(fromRevision === undefined ? options : { ...options, fromRevision })[Symbol.asyncIterator]();
    };
    const overwrite = async (store: SqliteStore, times: number): Promise<void> => {
      for (let i = 0; i < times; i++) await store.transact([], [put('k', String(i)), put(`n${i}`), { type: 'delete', key: `n${i - 1}` }]);
    };

    it('forgets by count, and says so to a watch that comes too late', async () => {
      const store = await open({ file: ':memory:', historyRevisions: 10 });
      await overwrite(store, 40);
      await assert.rejects(watch(store, 1).next(), { code: 'FailedPrecondition' });
      assert.equal((await watch(store, 31).next()).value?.[0]?.revision, 31);
    });

    it('forgets by age', async () => {
      const store = await open({ file: ':memory:', historyAgeMs: 60_000 });
      await overwrite(store, 5);
      await clock.advance(60_001);
      await overwrite(store, 2);
      await assert.rejects(watch(store, 4).next(), { code: 'FailedPrecondition' });
      assert.equal((await watch(store, 6).next()).value?.[0]?.revision, 6);
    });

    it('keeps in the file what is current and what is remembered, and no more', async () => {
      const options = { historyRevisions: 4 };
      const store = await open(options);
      await overwrite(store, 50);
      await store.close();
      const rows = count('history');
      // Two current ones, and three writes and deletions in each of at most 8 revisions.
      assert.ok(rows <= 2 + 8 * 3, `${rows} rows`);
      const again = await open(options);
      assert.equal(again.stats().revision, 50);
      assert.equal(Buffer.from((await again.get('k'))?.value ?? []).toString(), '49');
      assert.equal((await watch(again, 47).next()).value?.[0]?.revision, 47);
    });

    it('lets a slow watcher read on from the file, in order and without a gap', async () => {
      const store = await open({ file: ':memory:', watchQueueEvents: 4 });
      const changes = watch(store);
      await overwrite(store, 300);
      const seen: number[] = [];
      while (seen.length < 300) seen.push((await changes.next()).value?.[0]?.revision ?? 0);
      assert.deepEqual(
        seen,
        Array.from({ length: 300 }, (_, i) => i + 1),
      );
    });

    it('ends a watcher that fell behind what is remembered', async () => {
      const store = await open({ file: ':memory:', watchQueueEvents: 4, historyRevisions: 10 });
      const changes = watch(store);
      await overwrite(store, 100);
      await assert.rejects(changes.next(), { code: 'FailedPrecondition' });
    });

    it('delivers what was committed while a watcher slept across many groups', async () => {
      const store = await open({ file: ':memory:', watchQueueEvents: 8 });
      const changes = watch(store, 1);
      const model = new StoreModel(0);
      const history = fc.sample(steps('p/'), { numRuns: 120, seed: 7 }).filter((step) => step.type === 'transact');
      for (let i = 0; i < history.length; i += 7) await Promise.all(history.slice(i, i + 7).map((step) => runStep(store, model, step)));
      const seen: WatchEvent[][] = [];
      while (seen.length < model.changes.length) seen.push((await changes.next()).value);
      assert.deepEqual(plainEvents(seen), plainEvents(model.changes));
    });
  });

  describe('its index, which lags behind in the file', () => {
    it('is made again when the store opens, wherever it stopped', async () => {
      // A short memory of changes, so that the index is brought up to date in between as well.
      const options = { historyRevisions: 3 };
      const transactions = steps('p/').filter((step) => step.type === 'transact');
      await fc.assert(
        fc.asyncProperty(fc.array(fc.array(transactions, { maxLength: 12 }), { minLength: 2, maxLength: 4 }), async (lives) => {
          let store = await open(options);
          const { revision } = await store.transact([], [{ type: 'deletePrefix', prefix: 'p/' }]);
          const model = new StoreModel(revision);
          for (const life of lives) {
            for (const step of life) await runStep(store, model, step);
            await store.close();
            store = await open(options);
            await runStep(store, model, { type: 'range', options: { prefix: 'p/' } });
            await runStep(store, model, { type: 'range', options: { prefix: 'p/', reverse: true, limit: 3 } });
          }
          await store.close();
        }),
        { numRuns: 12 },
      );
    });

    it('is brought up to date after some thousand writes, and nothing is lost on the way', async () => {
      const store = await open();
      const names = Array.from({ length: 60 * 100 }, (_, i) => `k/${String((i * 7919) % 6000).padStart(4, '0')}`);
      const writes = Array.from({ length: 60 }, (_, i) => names.slice(i * 100, (i + 1) * 100).map((key) => put(key)));
      await Promise.all(writes.slice(0, 30).map((operations) => store.transact([], operations)));
      await store.transact(
        [],
        names.slice(0, 50).map((key) => ({ type: 'delete' as const, key })),
      );
      for (const operations of writes.slice(30)) await store.transact([], operations);
      await store.transact(
        [],
        names.slice(50, 100).map((key) => ({ type: 'delete' as const, key })),
      );
      const expected = names.slice(100).sort();
      const keys = async (from: SqliteStore) => (await from.range({ prefix: 'k/' })).entries.map((entry) => entry.key);
      assert.deepEqual(await keys(store), expected);
      await store.close();
      assert.deepEqual(await keys(await open()), expected);
      for (const instance of opened) await instance.close();
      assert.ok(count('current') === expected.length, 'the file itself is up to date after opening');
    });
  });

  describe('its leases', () => {
    it('are not ended by a step of the wall clock', async () => {
      const store = await open({ file: ':memory:' });
      const lease = await store.grantLease(10);
      await clock.step(3_600_000);
      await store.keepLeaseAlive(lease);
    });

    it('run out while nobody has the file open', async () => {
      const store = await open();
      const [short, long] = [await store.grantLease(10), await store.grantLease(100)];
      await store.transact([], [put('short', '', short), put('long', '', long)]);
      await store.close();
      await clock.advance(11_000);
      const again = await open();
      await clock.advance(1);
      assert.deepEqual(
        (await again.range({ prefix: '' })).entries.map((entry) => entry.key),
        ['long'],
      );
    });

    it('live at most their time to live after a restart, even if the wall clock was set back', async () => {
      const store = await open();
      const lease = await store.grantLease(10);
      await store.close();
      await clock.step(-3_600_000);
      const again = await open();
      await clock.advance(10_001);
      await assert.rejects(again.keepLeaseAlive(lease), { code: 'NotFound' });
    });

    it('end a little later when the disk refuses at that moment', async () => {
      const { store, database } = await openFailing();
      const lease = await store.grantLease(10);
      await store.transact([], [put('k', '', lease)]);
      database.failNextCommit = ioErrorWrite;
      await clock.advance(10_001);
      assert.ok(await store.get('k'));
      await clock.advance(1_001);
      assert.equal(await store.get('k'), undefined);
    });
  });

  describe('when the disk fails', () => {
    it('rolls the whole group back and works on', async () => {
      const { store, database } = await openFailing();
      const changes = store.watch({ prefix: '', signal: new AbortController().signal })[Symbol.asyncIterator]();
      await store.transact([], [put('before')]);
      database.failNextCommit = ioErrorWrite;
      const failed = await Promise.allSettled([
        store.transact([], [put('a')]),
        store.transact([], [put('before', 'x')]),
        store.grantLease(5),
      ]);
      assert.deepEqual(
        failed.map((result) => result.status === 'rejected' && result.reason.code),
        ['StoreFailure', 'StoreFailure', 'StoreFailure'],
      );
      assert.equal(await store.get('a'), undefined);
      assert.deepEqual(await store.transact([{ key: 'before', modRevision: 1 }], [put('after')]), { succeeded: true, revision: 2 });
      assert.deepEqual(
        [await changes.next(), await changes.next()].map(({ value }) => value?.[0]?.key),
        ['before', 'after'],
      );
      assert.equal(store.stats().rollbacks, 1);
    });

    it('gives a revoked lease back when the revocation was rolled back', async () => {
      const { store, database } = await openFailing();
      const lease = await store.grantLease(10);
      database.failNextCommit = ioErrorWrite;
      await assert.rejects(store.revokeLease(lease), { code: 'StoreFailure' });
      await store.keepLeaseAlive(lease);
    });

    it('stops after a failed fsync, for what is in memory cannot be trusted then, and has everything acknowledged after a restart', async () => {
      const { store, database } = await openFailing();
      await store.transact([], [put('safe')]);
      database.failNextCommit = ioErrorFsync;
      await assert.rejects(store.transact([], [put('unsafe')]), { code: 'StoreFailure' });
      await assert.rejects(store.transact([], [put('later')]), { code: 'StoreFailure' });
      await assert.rejects(store.get('safe'), { code: 'StoreFailure' });
      await store.close();
      assert.ok(await (await open()).get('safe'));
    });
  });

  describe('opening', () => {
    it('makes a file that only its owner can read', async () => {
      await open();
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.equal(statSync(`${file}-wal`).mode & 0o777, 0o600);
      assert.deepEqual(readdirSync(folder), ['store.db', 'store.db-wal']);
    });

    it('is refused while another store has the file, in this process or another', async () => {
      const store = await open();
      await assert.rejects(open(), { code: 'FailedPrecondition', message: /another coordinator uses this data folder/ });
      const script = `import { openSqliteStore } from '@evercert/coordinator/store';
        import { systemClock } from '@evercert/shared/clock';
        import { silentLogger } from '@evercert/shared/logging';
        openSqliteStore({ file: ${JSON.stringify(file)}, clock: systemClock, logger: silentLogger }).catch((error) => console.log(error.code));`;
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
      assert.equal(stdout, 'FailedPrecondition\n');
      assert.equal((await store.transact([], [put('k')])).succeeded, true);
      await store.close();
      assert.ok(await (await open()).get('k'));
    });

    it('refuses a file of a newer version and names both', async () => {
      await (await open()).close();
      withDatabase((db) => db.exec('PRAGMA user_version = 99'));
      await assert.rejects(open(), { code: 'FailedPrecondition', message: /newer Evercert \(schema 99, this one knows up to 1\)/ });
    });

    it("refuses another program's database and leaves it as it is", async () => {
      withDatabase((db) => db.exec('CREATE TABLE theirs (x)'));
      await assert.rejects(open(), { code: 'FailedPrecondition', message: /another program/ });
      assert.equal(count('sqlite_schema'), 1);
    });

    it('tells a damaged file, at its beginning or within', async () => {
      const store = await open();
      for (let i = 0; i < 40; i++) await store.transact([], [put(`k${i}`, 'x'.repeat(3000))]);
      await store.close();
      const content = readFileSync(file);
      writeFileSync(file, Buffer.concat([content.subarray(0, 8192 * 3), Buffer.alloc(8192 * 4, 0xa5), content.subarray(8192 * 7)]));
      await assert.rejects(open(), { code: 'DataLoss' });
      writeFileSync(file, 'no database at all, but long enough to be read as a header. '.repeat(20));
      await assert.rejects(open(), { code: 'DataLoss' });
    });

    it('fails clearly when the folder is missing', async () => {
      await assert.rejects(open({ file: join(folder, 'missing', 'store.db') }), { code: 'StoreFailure', message: /missing\/store\.db/ });
    });
  });
});
