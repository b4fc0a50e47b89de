import assert from 'node:assert/strict';
import { appendFile, chmod, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AuditFiles, type Sealer } from '@evercert/coordinator/audit';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { type AuditKey, auditStartMs, newAuditKey, verifyTexts } from '../../../support/audit-log.ts';
import { auditFiles, entriesIn, Sealing } from '../../../support/audit-sealing.ts';

describe('the files of the audit log', () => {
  let key: AuditKey;
  let clock: FakeClock;
  let store: Store;
  let sealing: Sealing;
  let sealer: Sealer;
  let directory: string;
  let files: AuditFiles | undefined;

  before(async () => {
    key = await newAuditKey();
  });
  beforeEach(async () => {
    clock = new FakeClock(auditStartMs);
    store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
    sealing = new Sealing(store, clock, key);
    sealer = sealing.sealer({ checkpoint: { everyMs: 1000, entries: 1000 } });
    sealer.start();
    directory = join(await mkdtemp(join(tmpdir(), 'evercert-audit-')), 'audit');
  });
  afterEach(async () => {
    await files?.stop();
    files = undefined;
    await sealer.stop();
    await store.close();
    await rm(join(directory, '..'), { recursive: true, force: true });
  });

  const begin = (options: { maxFileBytes?: number; maxFiles?: number } = {}): AuditFiles => {
    files = new AuditFiles({
      directory,
      maxFileBytes: 1e6,
      maxFiles: 100,
      reader: sealing.reader,
      events: sealing.events,
      clock,
      logger: silentLogger,
      ...options,
    });
    files.start();
    return files;
  };
  const texts = async (): Promise<string[]> => (await auditFiles(directory)).map(({ text }) => text);
  const written = async (): Promise<string[]> => entriesIn((await texts()).join('')).map(({ event }) => event.reason);
  const until = (count: number): Promise<void> =>
    sealing.until(async () => {
      const found = await written().catch(() => []);
      return found.length >= count && /"type":"checkpoint"}\n$/.test((await texts()).at(-1) ?? '');
    });

  it('hold the log as it is sealed, for their owner and group alone', async () => {
    begin();
    await sealing.tell('A', 'B');
    await until(2);
    const [{ name, text }] = (await auditFiles(directory)) as [{ name: string; text: string }];
    assert.match(name, /^audit-20260501T1200\d\dZ-0000000000000001\.jsonl$/);
    assert.equal((await stat(join(directory, name))).mode & 0o777, 0o640);
    assert.equal(text, await sealing.text());
    assert.deepEqual((await verifyTexts([text], [key])).faults, []);
  });

  it('go on behind their last whole line after a restart, and cut off what a crash left', async () => {
    await begin().stop();
    begin();
    await sealing.tell('A');
    await until(1);
    await files?.stop();
    const [{ name }] = (await auditFiles(directory)) as [{ name: string; text: string }];
    await appendFile(join(directory, name), '{"event":{"actor":"coord');
    await sealing.tell('B');
    begin();
    await sealing.tell('C');
    await until(3);
    await files?.stop();
    assert.deepEqual((await verifyTexts(await texts(), [key])).faults, []);
    const whole = await readFile(join(directory, name));
    await truncate(join(directory, name), whole.length - 7);
    begin();
    await until(3);
    assert.deepEqual(await readFile(join(directory, name)), whole, 'what was cut is written again');
  });

  it('are begun anew by size and by day, each with the value of the chain before it, and the oldest go', async () => {
    begin({ maxFileBytes: 4000, maxFiles: 3 });
    for (let day = 0; day < 3; day++) {
      await sealing.tell(`Morning${day}`, `Noon${day}`);
      await sealing.until(async () => (await written().catch(() => [] as string[])).includes(`Noon${day}`));
      await clock.advance(4000);
      await clock.step(86_400_000 / 2);
    }
    const all = await auditFiles(directory);
    assert.ok(all.length >= 2 && all.length <= 3, all.map(({ name }) => name).join());
    assert.deepEqual(
      (
        await verifyTexts(
          all.map(({ text }) => text),
          [key],
          true,
        )
      ).faults,
      [],
    );
    for (let round = 0; round < 12; round++) {
      await sealing.tell(...Array.from({ length: 8 }, (_, index) => `R${round}E${index}`));
      await clock.advance(3000);
    }
    await sealing.until(async () => (await written().catch(() => [] as string[])).includes('R11E7'));
    const kept = await auditFiles(directory);
    assert.equal(kept.length, 3);
    const report = await verifyTexts(
      kept.map(({ text }) => text),
      [key],
      true,
    );
    assert.deepEqual(report.faults, []);
    assert.ok(report.first > 1);
  });

  it('catch up after a time in which they could not be written, which the log itself tells of', async () => {
    if (process.getuid?.() === 0) await writeFile(directory, 'in the way');
    else await chmod(join(directory, '..'), 0o500);
    begin();
    await sealing.tell('A', 'B');
    await sealing.sealedTo(3);
    assert.ok((await sealing.reasons()).includes('AuditFilesBehind'));
    if (process.getuid?.() === 0) await rm(directory);
    else await chmod(join(directory, '..'), 0o700);
    await sealing.tell('C');
    await sealing.until(async () => (await written().catch(() => [] as string[])).includes('AuditFilesCaughtUp'));
    assert.deepEqual(
      (await written()).filter((reason) => reason.startsWith('Audit')),
      ['AuditFilesBehind', 'AuditFilesCaughtUp'],
    );
    assert.deepEqual((await written()).slice(0, 2), ['A', 'B']);
  });

  it('begin a new row where the store was restored, and both rows verify together', async () => {
    begin();
    await sealing.tell('A');
    await until(1);
    const backup = (await store.range({ prefix: '/evercert/' })).entries;
    await sealing.tell('Lost');
    await until(2);
    await files?.stop();
    await sealer.stop();
    await store.close();
    store = await openSqliteStore({ file: ':memory:', clock, logger: silentLogger });
    for (const { key: name, value } of backup) await store.transact([], [{ type: 'put', key: name, value }]);
    sealing = new Sealing(store, clock, key);
    sealer = sealing.sealer({ checkpoint: { everyMs: 1000, entries: 1000 } });
    sealer.start();
    await clock.advance(3000);
    // As a restore does: it tells of itself beside what the log tells.
    await sealing.tell('StoreRestored');
    begin();
    await sealing.tell('After');
    await sealing.until(async () => (await written()).includes('After'));
    await clock.advance(3000);
    const all = await texts();
    assert.equal(all.length, 2);
    const { faults, notes } = await verifyTexts(all, [key]);
    assert.deepEqual(faults, []);
    assert.match(notes.join(), /the store was restored from a backup there/);
  });
});
