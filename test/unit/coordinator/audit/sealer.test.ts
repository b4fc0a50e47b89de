import assert from 'node:assert/strict';
import { layout } from '@evercert/coordinator';
import { decodeBlockHead, relinkOperations } from '@evercert/coordinator/audit';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { FakeClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { type AuditKey, auditStartMs, kinds, newAuditKey } from '../../../support/audit-log.ts';
import { Sealing } from '../../../support/audit-sealing.ts';

describe('the sealer of the audit log', () => {
  let key: AuditKey;
  let clock: FakeClock;
  let store: Store;
  let sealing: Sealing;

  const open = (options: object = {}): Promise<Store> => openSqliteStore({ file: ':memory:', clock, logger: silentLogger, ...options });

  before(async () => {
    key = await newAuditKey();
  });
  beforeEach(async () => {
    clock = new FakeClock(auditStartMs);
    store = await open();
    sealing = new Sealing(store, clock, key);
  });
  afterEach(() => store.close());

  it('takes events in within a second, in their order, each once, and signs the end within the interval', async () => {
    const sealer = sealing.sealer();
    sealer.start();
    await sealing.tell('A', 'B', 'C');
    await sealing.sealedTo(3);
    const [first] = (await store.range({ prefix: layout.auditBlocks })).entries;
    assert.ok(decodeBlockHead(first!).sealedAtMs - auditStartMs <= 1500);
    assert.deepEqual(await sealing.reasons(), ['A', 'B', 'C']);
    assert.deepEqual(kinds(await sealing.verify()), ['cut-off'], 'not signed yet');
    await sealing.until(async () => (await sealing.reader.head())?.checkpointSequence === 3);
    const { checkpointAtMs } = (await sealing.reader.head())!;
    assert.ok(checkpointAtMs - auditStartMs <= 65_000, `signed after ${checkpointAtMs - auditStartMs} ms`);
    assert.deepEqual((await sealing.verify()).faults, []);
    const { block } = (await sealing.reader.head())!;
    await clock.advance(10 * 60_000);
    assert.equal((await sealing.reader.head())!.block, block, 'nothing new is nothing to sign');
    await sealer.stop();
  });

  it('signs after so many entries, and at its stop', async () => {
    const sealer = sealing.sealer({ checkpoint: { everyMs: 86_400_000, entries: 300 } });
    sealer.start();
    await sealing.tell(...Array.from({ length: 400 }, (_, index) => `E${index}`));
    await sealing.sealedTo(400);
    const { checkpointSequence } = (await sealing.reader.head())!;
    assert.ok(checkpointSequence >= 300, `signed to ${checkpointSequence}`);
    await sealing.tell('Last');
    await sealing.until(async () => (await sealing.reader.head())?.sequence === 401);
    await sealer.stop();
    assert.equal((await sealing.reader.head())?.checkpointSequence, 401);
    assert.deepEqual((await sealing.verify()).faults, []);
    assert.equal((await sealing.reasons()).length, 401);
  });

  it('seals an event once, also one that is written again or that another leader finds', async () => {
    const first = sealing.sealer();
    first.start();
    await sealing.tell('A', 'B');
    await sealing.sealedTo(2);
    const [again] = (await store.range({ prefix: layout.events })).entries;
    assert.ok(again);
    await store.transact([], [{ type: 'put', key: again.key, value: again.value }]);
    await sealing.tell('C');
    await sealing.sealedTo(3);
    await first.stop();
    const second = sealing.sealer();
    second.start();
    await sealing.tell('D');
    await sealing.sealedTo(4);
    await second.stop();
    assert.deepEqual(await sealing.reasons(), ['A', 'B', 'C', 'D']);
  });

  it('does no harm when two run at once', async () => {
    const sealers = [sealing.sealer(), sealing.sealer()];
    for (const sealer of sealers) sealer.start();
    await sealing.tell(...Array.from({ length: 50 }, (_, index) => `E${index}`));
    await sealing.sealedTo(50);
    await sealing.tell('X');
    await sealing.sealedTo(51);
    for (const sealer of sealers) await sealer.stop();
    assert.deepEqual((await sealing.verify()).faults, []);
    assert.equal(new Set(await sealing.reasons()).size, 51);
  });

  for (const point of ['audit-seal-begun', 'audit-seal-acted']) {
    it(`leaves nothing out and seals nothing twice when it dies at ${point}`, async () => {
      const died = new Error('killed');
      let deaths = 3;
      const doomed = sealing.sealer({
        fault: (name) => {
          if (name === point && deaths-- > 0) throw died;
        },
      });
      doomed.start();
      for (let round = 0; round < 6; round++) {
        await sealing.tell(`R${round}a`, `R${round}b`);
        await clock.advance(1500);
      }
      await sealing.until(async () => (await sealing.reader.head())?.checkpointSequence === 12);
      await doomed.stop();
      assert.ok(deaths <= 0);
      assert.deepEqual(
        await sealing.reasons(),
        [0, 1, 2, 3, 4, 5].flatMap((round) => [`R${round}a`, `R${round}b`]),
      );
      assert.deepEqual((await sealing.verify()).faults, []);
    });
  }

  it('goes on after a store that fails, and does not know whether a block was written', async () => {
    let failures = 4;
    const flaky = {
      get: (key: string) => store.get(key),
      range: (options: Parameters<Store['range']>[0]) => store.range(options),
      watch: (options: Parameters<Store['watch']>[0]) => store.watch(options),
      transact: async (...call: Parameters<Store['transact']>) => {
        const block = call[1].some((operation) => operation.type === 'put' && operation.key.startsWith(layout.auditBlocks));
        if (block && failures-- > 0) {
          // Every other time it was carried out.
          if (failures % 2 === 0) await store.transact(...call);
          throw new EvercertError('StoreFailure', 'the connection broke');
        }
        return store.transact(...call);
      },
    } as Store;
    const sealer = sealing.sealer({ store: flaky });
    sealer.start();
    await sealing.tell('A', 'B');
    await sealing.sealedTo(2);
    await sealing.tell('C', 'D');
    await sealing.until(async () => (await sealing.reader.head())?.checkpointSequence === 4);
    await sealer.stop();
    assert.deepEqual(await sealing.reasons(), ['A', 'B', 'C', 'D']);
    assert.deepEqual((await sealing.verify()).faults, []);
  });

  it('finds what happened while nobody sealed and the history was compacted', async () => {
    await store.close();
    store = await open({ historyRevisions: 10 });
    sealing = new Sealing(store, clock, key);
    const first = sealing.sealer();
    first.start();
    await sealing.tell('A', 'B');
    await sealing.sealedTo(2);
    await first.stop();
    await sealing.tell(...Array.from({ length: 200 }, (_, index) => `E${index}`));
    await clock.advance(60_000);
    const second = sealing.sealer();
    second.start();
    await sealing.sealedTo(202);
    await sealing.tell('Z');
    await sealing.sealedTo(203);
    await second.stop();
    const reasons = await sealing.reasons();
    assert.deepEqual([reasons.length, reasons[2], reasons[201], reasons.at(-1)], [203, 'E0', 'E199', 'Z']);
    assert.deepEqual((await sealing.verify()).faults, []);
  });

  it('tells which events are sealed, so that none is forgotten before', async () => {
    const sealer = sealing.sealer();
    await sealing.tell('A');
    const [a] = (await store.range({ prefix: layout.events })).entries;
    assert.ok(a);
    assert.equal(sealer.isSealed(a), false);
    sealer.start();
    await sealing.sealedTo(1);
    assert.equal(sealer.isSealed(a), true);
    await sealing.tell('B');
    const b = (await store.range({ prefix: layout.events })).entries.at(-1)!;
    assert.equal(sealer.isSealed(b), false);
    await sealer.stop();
  });

  it('drops the oldest blocks after their time, or when there are too many bytes, and what is left verifies as a part', async () => {
    const sealer = sealing.sealer({ keep: { ageMs: 3600_000, bytes: 1e9 } });
    sealer.start();
    await sealing.tell('Old1', 'Old2');
    await sealing.sealedTo(2);
    await clock.advance(2 * 3600_000);
    await sealing.tell('New');
    await sealing.sealedTo(3);
    await sealing.until(async () => ((await sealing.reader.head())?.oldest ?? 0) > 2);
    assert.deepEqual(await sealing.reasons(), ['New']);
    await sealer.stop();
    assert.deepEqual((await sealing.verify(true)).faults, []);
    const { bytes } = (await sealing.reader.head())!;
    const blocks = (await store.range({ prefix: layout.auditBlocks })).entries;
    assert.equal(
      bytes,
      blocks.reduce((sum, { value }) => sum + value.length, 0),
    );
  });

  it('links a log on in a store that was filled from another, and takes in what was not sealed there', async () => {
    const first = sealing.sealer();
    first.start();
    await sealing.tell('A', 'B');
    await sealing.sealedTo(2);
    await first.stop();
    await sealing.tell('Unsealed1');
    await clock.advance(5);
    await sealing.tell('Unsealed2');
    const other = new Sealing(await open(), clock, key);
    await other.store.transact([], [{ type: 'put', key: '/elsewhere', value: Buffer.from('x') }]);
    for (const entry of (await store.range({ prefix: '/evercert/' })).entries) {
      await other.store.transact([], [{ type: 'put', key: entry.key, value: entry.value }]);
    }
    const relink = {
      reason: 'StoreMigrated' as const,
      atMs: clock.nowMs(),
      actor: 'coordinator',
      message: 'moved',
      details: { to: 'etcd' },
    };
    await other.store.transact([], relinkOperations(relink));
    const second = other.sealer();
    second.start();
    await other.sealedTo(5);
    await other.tell('C');
    await other.sealedTo(6);
    await second.stop();
    assert.deepEqual(await other.reasons(), ['A', 'B', 'StoreMigrated', 'Unsealed1', 'Unsealed2', 'C']);
    assert.deepEqual((await other.verify()).faults, []);
    const third = other.sealer();
    third.start();
    await other.tell('D');
    await other.sealedTo(7);
    await third.stop();
    assert.equal((await other.reasons()).length, 7);
    await other.store.close();
  });

  it('notices a copy of the store that nobody told it of', async () => {
    const first = sealing.sealer();
    first.start();
    await sealing.tell('A');
    await sealing.sealedTo(1);
    await first.stop();
    const other = new Sealing(await open(), clock, key);
    for (const entry of (await store.range({ prefix: '/evercert/' })).entries) {
      await other.store.transact([], [{ type: 'put', key: entry.key, value: entry.value }]);
    }
    let deaths = 2;
    const second = other.sealer({
      fault: (name) => {
        if (name === 'audit-seal-acted' && deaths-- > 0) throw new Error('killed');
      },
    });
    second.start();
    await other.sealedTo(2);
    await other.tell('B');
    await other.sealedTo(3);
    await second.stop();
    assert.deepEqual(await other.reasons(), ['A', 'StoreRestored', 'B'], 'told once, also when it died on the way');
    await other.store.close();
  });

  it('goes on unsigned while its key cannot sign', async () => {
    let broken = true;
    const sealer = sealing.sealer({
      checkpoint: { everyMs: 1000, entries: 1 },
      signer: {
        sign: (state) => (broken ? Promise.reject(new EvercertError('FileSystem', 'the token is unplugged')) : sealing.sign(state)),
      },
    });
    sealer.start();
    await sealing.tell('A');
    await sealing.sealedTo(1);
    await sealing.tell('B');
    await sealing.sealedTo(2);
    assert.equal((await sealing.reader.head())?.checkpointSequence, 0);
    broken = false;
    await sealing.until(async () => (await sealing.reader.head())?.checkpointSequence === 2);
    await sealer.stop();
    assert.deepEqual((await sealing.verify()).faults, []);
  });
});
