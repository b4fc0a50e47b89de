import assert from 'node:assert/strict';
import { type KeyValue, type Store, storeLimits, type WatchEvent } from '@evercert/coordinator/store';
import fc from 'fast-check';
import { compareBytes, plain, plainEvents, runStep, StoreModel, steps } from './store-model.ts';

export interface StoreFixture {
  store: Store;
  /** What the driver says of itself. */
  shared: boolean;
  /** Lets time pass for leases. Milliseconds. */
  advance(durationMs: number): Promise<void>;
  /** Closes the store and opens it again over the same data; absent: the driver cannot. */
  reopen?(): Promise<Store>;
  cleanup(): Promise<void>;
}

const bytes = (text: string): Uint8Array => Buffer.from(text);
const put = (key: string, text = key, lease?: string) => ({ type: 'put' as const, key, value: bytes(text), ...(lease && { lease }) });

/** Every promise of the store's contract, over any driver. `runs`: random histories that are compared with the model. */
export function describeStoreContract(name: string, open: () => Promise<StoreFixture>, runs = 10): void {
  describe(`${name} as a store`, () => {
    let fixture: StoreFixture;
    let store: Store;
    let watching: AbortController;

    beforeEach(async () => {
      fixture = await open();
      store = fixture.store;
      watching = new AbortController();
    });

    afterEach(async () => {
      watching.abort();
      await fixture.cleanup();
    });

    const watch = (prefix: string, fromRevision?: number): AsyncIterator<WatchEvent[]> =>
      store.watch({ prefix, signal: watching.signal, ...(fromRevision !== undefined && { fromRevision }) })[Symbol.asyncIterator]();
    const next = async (iterator: AsyncIterator<WatchEvent[]>): Promise<WatchEvent[]> => {
      const result = await iterator.next();
      assert.ok(!result.done, 'the watch ended');
      return result.value;
    };
    const keys = async (prefix: string): Promise<string[]> => (await store.range({ prefix })).entries.map((entry) => entry.key);

    describe('transactions', () => {
      it('write what they say, and the next read sees it', async () => {
        const { succeeded, revision } = await store.transact([], [put('k', 'one')]);
        assert.equal(succeeded, true);
        const expected = { key: 'k', value: bytes('one'), createRevision: revision, modRevision: revision, version: 1 };
        assert.deepEqual(plain(await store.get('k')), plain(expected));
      });

      it('raise the revision by exactly one, which all their keys carry', async () => {
        const { revision } = await store.transact([], [put('first')]);
        const second = await store.transact([], [put('a'), put('b'), { type: 'delete', key: 'first' }]);
        assert.equal(second.revision, revision + 1);
        assert.deepEqual(
          (await store.range({ prefix: '' })).entries.map((entry) => entry.modRevision),
          [revision + 1, revision + 1],
        );
      });

      it('leave the revision alone when nothing changes', async () => {
        const { revision } = await store.transact([], [put('k')]);
        assert.deepEqual(await store.transact([], [{ type: 'delete', key: 'none' }]), { succeeded: true, revision });
        assert.deepEqual(await store.transact([], []), { succeeded: true, revision });
      });

      it('count versions from the creation, which begins anew after a deletion', async () => {
        const first = await store.transact([], [put('k')]);
        const second = await store.transact([], [put('k')]);
        const entry = await store.get('k');
        assert.deepEqual([entry?.version, entry?.createRevision, entry?.modRevision], [2, first.revision, second.revision]);
        await store.transact([], [{ type: 'delete', key: 'k' }]);
        assert.equal(await store.get('k'), undefined);
        const third = await store.transact([], [put('k')]);
        const reborn = await store.get('k');
        assert.deepEqual([reborn?.version, reborn?.createRevision], [1, third.revision]);
      });

      it('write nothing when one comparison fails', async () => {
        const { revision } = await store.transact([], [put('k', 'one')]);
        const compares = [
          { key: 'k', modRevision: revision },
          { key: 'other', modRevision: 5 },
        ];
        assert.deepEqual(await store.transact(compares, [put('k', 'two'), put('x')]), { succeeded: false, revision });
        assert.equal(Buffer.from((await store.get('k'))?.value ?? []).toString(), 'one');
        assert.equal(await store.get('x'), undefined);
      });

      it('let one of many win that compare the same key', async () => {
        const { revision } = await store.transact([], [put('k', 'start')]);
        const contenders = Array.from({ length: 20 }, (_, i) =>
          store.transact([{ key: 'k', modRevision: revision }], [put('k', String(i))]),
        );
        const results = await Promise.all(contenders);
        assert.equal(results.filter((result) => result.succeeded).length, 1);
        assert.equal((await store.get('k'))?.version, 2);
      });

      it('lose no increment of a counter under contention', async () => {
        const increment = async (): Promise<void> => {
          for (;;) {
            const entry = await store.get('counter');
            const value = Number(Buffer.from(entry?.value ?? []).toString() || '0');
            const compares = [{ key: 'counter', modRevision: entry?.modRevision ?? 0 }];
            if ((await store.transact(compares, [put('counter', String(value + 1))])).succeeded) return;
          }
        };
        await Promise.all(Array.from({ length: 12 }, increment));
        assert.equal(Buffer.from((await store.get('counter'))?.value ?? []).toString(), '12');
      });

      it('are not hurt by a neighbour that fails', async () => {
        const lease = 'no-such-lease';
        const results = await Promise.allSettled([
          store.transact([], [put('a')]),
          store.transact([{ key: 'a', modRevision: 12345 }], [put('b')]),
          store.transact([], [put('c', 'c', lease)]),
          store.transact([], [put('d')]),
        ]);
        assert.deepEqual(
          results.map((result) => (result.status === 'fulfilled' ? result.value.succeeded : result.reason.code)),
          [true, false, 'NotFound', true],
        );
        assert.deepEqual(await keys(''), ['a', 'd']);
      });

      it('delete every key under a prefix and no other', async () => {
        await store.transact([], [put('a/1'), put('a/2'), put('a0'), put('a'), put('b')]);
        await store.transact([], [{ type: 'deletePrefix', prefix: 'a/' }]);
        assert.deepEqual(await keys(''), ['a', 'a0', 'b']);
      });

      it('keep an empty value apart from no value', async () => {
        await store.transact([], [put('empty', '')]);
        assert.deepEqual((await store.get('empty'))?.value.byteLength, 0);
      });

      it('refuse what is out of bounds, and nothing is written', async () => {
        const big = { type: 'put' as const, key: 'big', value: new Uint8Array(storeLimits.transactionBytes + 1) };
        const refused: Parameters<Store['transact']>[] = [
          [[], [put('')]],
          [[], [put('x'.repeat(storeLimits.keyBytes + 1))]],
          [[], [put('nul\0')]],
          [[], [put('lone\ud800')]],
          [[], [big]],
          [[], [put('k'), put('k')]],
          [[], [put('k'), { type: 'delete', key: 'k' }]],
          [[], [{ type: 'deletePrefix', prefix: 'k' }, put('k')]],
          [[], Array.from({ length: storeLimits.operations + 1 }, (_, i) => put(`k${i}`))],
          [[{ key: 'k', modRevision: -1 }], [put('k')]],
        ];
        for (const [compares, operations] of refused)
          await assert.rejects(store.transact(compares, operations), { code: 'InvalidArgument' });
        assert.deepEqual(await keys(''), []);
      });

      it('take what is just within the bounds', async () => {
        const value = new Uint8Array(storeLimits.transactionBytes).fill(7);
        await store.transact([], [{ type: 'put', key: 'x'.repeat(storeLimits.keyBytes), value }]);
        assert.deepEqual((await store.get('x'.repeat(storeLimits.keyBytes)))?.value.byteLength, value.byteLength);
        const many = Array.from({ length: storeLimits.operations }, (_, i) => put(`many/${i}`));
        assert.equal((await store.transact([], many)).succeeded, true);
      });
    });

    describe('ranges', () => {
      const all = ['a', 'a/1', 'a/2', 'a/3', 'a0', 'b/é', 'b/\u{ff5e}', 'b/\u{10348}'];

      beforeEach(async () => {
        await store.transact(
          [],
          all.map((key) => put(key)),
        );
      });

      it('answer in byte order, in both directions', async () => {
        assert.deepEqual(await keys(''), [...all].sort(compareBytes));
        const { entries } = await store.range({ prefix: 'b/', reverse: true });
        assert.deepEqual(
          entries.map((entry) => entry.key),
          ['b/\u{10348}', 'b/\u{ff5e}', 'b/é'],
        );
      });

      it('page through everything without a gap or a repeat', async () => {
        for (const reverse of [false, true]) {
          const seen: string[] = [];
          for (let more = true; more; ) {
            const after = seen.at(-1);
            const page = await store.range({ prefix: '', limit: 3, reverse, ...(after !== undefined && { after }) });
            seen.push(...page.entries.map((entry) => entry.key));
            more = page.more;
          }
          const expected = [...all].sort(compareBytes);
          assert.deepEqual(seen, reverse ? expected.reverse() : expected);
        }
      });

      it('say that there is more only when the limit cut them', async () => {
        assert.equal((await store.range({ prefix: 'a/', limit: 2 })).more, true);
        assert.equal((await store.range({ prefix: 'a/', limit: 3 })).more, false);
        assert.equal((await store.range({ prefix: 'a/' })).more, false);
      });

      it('carry the revision of the read', async () => {
        const { revision } = await store.transact([], [put('z')]);
        assert.equal((await store.range({ prefix: 'none' })).revision, revision);
      });
    });

    describe('watches', () => {
      it('report changes from the call on, one array for each revision', async () => {
        await store.transact([], [put('w/before')]);
        const changes = watch('w/');
        const { revision } = await store.transact([], [put('w/1'), put('other'), put('w/2')]);
        await store.transact([], [put('other')]);
        await store.transact([], [{ type: 'delete', key: 'w/1' }]);
        const first = await next(changes);
        assert.deepEqual(
          first.map((event) => [event.type, event.key, event.revision]),
          [
            ['put', 'w/1', revision],
            ['put', 'w/2', revision],
          ],
        );
        const entry = { key: 'w/1', value: bytes('w/1'), createRevision: revision, modRevision: revision, version: 1 };
        assert.deepEqual(plain(first[0]?.entry), plain(entry));
        assert.deepEqual(await next(changes), [{ type: 'delete', key: 'w/1', revision: revision + 2 }]);
      });

      it('resume from a revision with all that happened since, also what was overwritten', async () => {
        const { revision } = await store.transact([], [put('w', 'one')]);
        await store.transact([], [put('w', 'two')]);
        await store.transact([], [{ type: 'delete', key: 'w' }]);
        const changes = watch('w', revision);
        const seen = [await next(changes), await next(changes), await next(changes)].flat();
        assert.deepEqual(
          seen.map((event) => [event.revision - revision, event.entry && Buffer.from(event.entry.value).toString()]),
          [
            [0, 'one'],
            [1, 'two'],
            [2, undefined],
          ],
        );
        await store.transact([], [put('w', 'live')]);
        assert.equal((await next(changes))[0]?.revision, revision + 3);
      });

      it('lose and repeat nothing between the past and the present', async () => {
        const { revision } = await store.transact([], [put('w/0')]);
        for (let i = 1; i < 10; i++) await store.transact([], [put(`w/${i}`)]);
        const changes = watch('w/', revision);
        const seen: number[] = [];
        for (let i = 10; i < 40; i++) {
          await store.transact([], [put(`w/${i}`)]);
          if (i % 2 === 0) seen.push(...(await next(changes)).map((event) => event.revision));
        }
        while (seen.length < 40) seen.push(...(await next(changes)).map((event) => event.revision));
        assert.deepEqual(
          seen,
          Array.from({ length: 40 }, (_, i) => revision + i),
        );
      });

      it('wait for a revision that is still to come', async () => {
        const { revision } = await store.transact([], [put('w/0')]);
        const changes = watch('w/', revision + 2);
        await store.transact([], [put('w/1')]);
        await store.transact([], [put('w/2')]);
        assert.equal((await next(changes))[0]?.key, 'w/2');
      });

      it('end quietly when the signal aborts, also while they wait', async () => {
        const changes = watch('w');
        const waiting = changes.next();
        watching.abort();
        assert.equal((await waiting).done, true);
        assert.equal((await watch('w').next()).done, true);
      });

      it('are independent of each other', async () => {
        const [one, two, all] = [watch('w/1'), watch('w/1'), watch('')];
        await store.transact([], [put('w/1'), put('w/2')]);
        assert.deepEqual(
          [await next(one), await next(two), await next(all)].map((events) => events.length),
          [1, 1, 2],
        );
      });

      it('end with Unavailable when the store closes', async () => {
        const waiting = watch('w').next();
        await store.close();
        await assert.rejects(waiting, { code: 'Unavailable' });
      });
    });

    describe('leases', () => {
      it('delete their keys in one revision when they run out, and watches see it', async () => {
        const lease = await store.grantLease(2);
        const { revision } = await store.transact([], [put('l/1', '1', lease), put('l/2', '2', lease), put('l/3')]);
        assert.equal((await store.get('l/1'))?.lease, lease);
        const changes = watch('l/');
        await fixture.advance(1000);
        assert.deepEqual(await keys('l/'), ['l/1', 'l/2', 'l/3']);
        await fixture.advance(2500);
        assert.deepEqual(
          (await next(changes)).sort((a, b) => compareBytes(a.key, b.key)),
          ['l/1', 'l/2'].map((key) => ({ type: 'delete', key, revision: revision + 1 })),
        );
        assert.deepEqual(await keys('l/'), ['l/3']);
      });

      it('live on while they are kept alive', async () => {
        const lease = await store.grantLease(2);
        await store.transact([], [put('l', '', lease)]);
        for (let i = 0; i < 3; i++) {
          await fixture.advance(1400);
          await store.keepLeaseAlive(lease);
        }
        assert.ok(await store.get('l'));
        await fixture.advance(3500);
        assert.equal(await store.get('l'), undefined);
      });

      it('are gone for good once they ran out', async () => {
        const lease = await store.grantLease(1);
        await fixture.advance(2500);
        await assert.rejects(store.keepLeaseAlive(lease), { code: 'NotFound' });
        await assert.rejects(store.revokeLease(lease), { code: 'NotFound' });
        await assert.rejects(store.transact([], [put('l', '', lease)]), { code: 'NotFound' });
      });

      it('end at once when revoked', async () => {
        const lease = await store.grantLease(60);
        await store.transact([], [put('l', '', lease)]);
        await store.revokeLease(lease);
        assert.equal(await store.get('l'), undefined);
        await assert.rejects(store.keepLeaseAlive(lease), { code: 'NotFound' });
      });

      it('let go of a key that is put without one', async () => {
        const lease = await store.grantLease(60);
        await store.transact([], [put('l', '', lease)]);
        await store.transact([], [put('l')]);
        await store.revokeLease(lease);
        assert.equal((await store.get('l'))?.lease, undefined);
      });

      it('have a time to live above zero', async () => {
        for (const ttl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
          await assert.rejects(store.grantLease(ttl), { code: 'InvalidArgument' });
        }
      });
    });

    describe('closing', () => {
      it('answers what is under way first, and can be repeated', async () => {
        const underWay = store.transact([], [put('k')]);
        await Promise.all([store.close(), store.close()]);
        assert.equal((await underWay).succeeded, true);
        await store.close();
      });

      it('refuses everything afterwards', async () => {
        await store.close();
        await assert.rejects(store.get('k'), { code: 'Unavailable' });
        await assert.rejects(store.range({ prefix: '' }), { code: 'Unavailable' });
        await assert.rejects(store.transact([], [put('k')]), { code: 'Unavailable' });
        await assert.rejects(store.grantLease(1), { code: 'Unavailable' });
      });

      it('keeps everything for the next time: keys, revisions, leases and what watches resume from', async function () {
        if (!fixture.reopen) this.skip();
        const lease = await store.grantLease(3);
        const { revision } = await store.transact([], [put('a', 'one'), put('l', '', lease)]);
        await store.transact([], [put('a', 'two')]);
        const before = await store.range({ prefix: '' });
        store = await fixture.reopen();
        const after = await store.range({ prefix: '' });
        assert.deepEqual([after.entries.map(plain), after.revision], [before.entries.map(plain), before.revision]);
        assert.equal((await next(watch('a', revision)))[0]?.revision, revision);
        assert.equal((await store.transact([{ key: 'a', modRevision: revision + 1 }], [put('a')])).revision, revision + 2);
        await fixture.advance(4500);
        assert.equal(await store.get('l'), undefined);
      });
    });

    describe('snapshots', () => {
      const fill = async (count: number): Promise<void> => {
        for (let from = 0; from < count; from += storeLimits.operations) {
          const size = Math.min(storeLimits.operations, count - from);
          await store.transact(
            [],
            Array.from({ length: size }, (_, i) => put(`s/${String(from + i).padStart(5, '0')}`)),
          );
        }
      };
      const read = async (prefix: string, betweenPages: () => Promise<void> = async () => undefined): Promise<KeyValue[]> => {
        const entries: KeyValue[] = [];
        const revisions = new Set<number>();
        for await (const page of store.snapshot({ prefix, signal: watching.signal })) {
          revisions.add(page.revision);
          entries.push(...page.entries);
          await betweenPages();
        }
        assert.ok(revisions.size <= 1, 'the pages show several revisions');
        return entries;
      };

      it('show everything under a prefix in byte order, with leases, and nothing else', async () => {
        const lease = await store.grantLease(60);
        await store.transact([], [put('s/b'), put('s/\u{10348}'), put('s/\u{ff5e}'), put('s/a', 'on a lease', lease), put('t')]);
        const entries = await read('s/');
        assert.deepEqual(
          entries.map(({ key, lease: on }) => [key, on]),
          [
            ['s/a', lease],
            ['s/b', undefined],
            ['s/\u{ff5e}', undefined],
            ['s/\u{10348}', undefined],
          ],
        );
        assert.deepEqual(await read('none/'), []);
        assert.equal((await read('')).length, 5);
      });

      it('show one revision however much is written, overwritten and deleted while they are read', async () => {
        await fill(700);
        const before = (await store.range({ prefix: 's/' })).entries;
        let turn = 0;
        const entries = await read('s/', async () => {
          turn += 1;
          const at = (index: number): string => `s/${String(index).padStart(5, '0')}`;
          const changes = [0, 300, 699 - turn, 400 + turn].map((index) => put(at(index), `changed ${turn}`));
          await store.transact([], [...changes, { type: 'delete', key: at(500 + turn) }, put(`${at(350)}/${turn}`)]);
          await store.transact([], [put(at(500 + turn), 'born again'), { type: 'deletePrefix', prefix: at(60).slice(0, -1) }]);
        });
        assert.ok(turn > 1, 'the snapshot came in one page');
        assert.deepEqual(entries.map(plain), before.map(plain));
      });

      it('are told apart from each other', async () => {
        await fill(400);
        const first = store.snapshot({ prefix: 's/', signal: watching.signal })[Symbol.asyncIterator]();
        const { value: page } = await first.next();
        await store.transact([], [put('s/00399', 'second'), put('s/00001', 'second')]);
        const second = await read('s/');
        const rest: KeyValue[] = [...page!.entries];
        for (let next = await first.next(); !next.done; next = await first.next()) rest.push(...next.value.entries);
        assert.deepEqual(rest.map(({ value }) => Buffer.from(value).toString()).filter((text) => text === 'second').length, 0);
        assert.deepEqual(second.map(({ value }) => Buffer.from(value).toString()).filter((text) => text === 'second').length, 2);
      });

      it('end quietly when the signal aborts', async () => {
        await fill(600);
        const stop = new AbortController();
        let pages = 0;
        for await (const _ of store.snapshot({ prefix: 's/', signal: stop.signal })) {
          pages += 1;
          stop.abort();
        }
        assert.equal(pages, 1);
      });

      it('are refused once the store is closed', async () => {
        await store.close();
        await assert.rejects(read('s/'), { code: 'Unavailable' });
      });
    });

    it('says whether others may have it open', () => {
      assert.equal(store.shared, fixture.shared);
    });

    it('behaves as the model does, whatever happens in whatever order', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(steps('p/'), { minLength: 1, maxLength: 40 }), async (history) => {
          await store.transact([], [{ type: 'deletePrefix', prefix: 'p/' }]);
          const { revision } = await store.range({ prefix: 'p/' });
          const model = new StoreModel(revision);
          const stop = new AbortController();
          const changes = store.watch({ prefix: 'p/', fromRevision: revision + 1, signal: stop.signal })[Symbol.asyncIterator]();
          for (const step of history) await runStep(store, model, step);
          const { entries } = await store.range({ prefix: 'p/' });
          assert.deepEqual(
            entries.map(plain),
            model.range({ prefix: 'p/' }).keys.map((key) => plain(model.entries.get(key))),
          );
          const seen: WatchEvent[][] = [];
          while (seen.length < model.changes.length) seen.push(await next(changes));
          stop.abort();
          assert.deepEqual(plainEvents(seen), plainEvents(model.changes));
        }),
        { numRuns: runs },
      );
    });
  });
}
