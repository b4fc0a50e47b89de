import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { EtcdStore } from '@evercert/coordinator/store';
import { waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { describeStoreContract } from '../contract/store.ts';
import { EtcdCluster, type EtcdClusterOptions } from '../support/etcd-cluster.ts';
import { StoreLoad } from '../support/store-load.ts';

/** Longest time without an acknowledged write that a fault of one member may cost: an election, or a dead connection found out. */
const longestPauseMs = 9000;

describe('the store on three real etcd members', function () {
  this.timeout(240_000);
  const options: EtcdClusterOptions = { namespaces: true, disks: { 2: 256 } };
  let etcd: EtcdCluster;

  before(async function () {
    if (!EtcdCluster.possible(options)) {
      process.stderr.write('skipped: the store on three etcd members needs root, etcd, ip, nft and mount\n');
      this.skip();
    }
    etcd = await EtcdCluster.start(options);
  });

  after(() => etcd?.dispose());

  describeStoreContract('etcd', async () => {
    const keyPrefix = `/${randomBytes(6).toString('hex')}/`;
    let store = await etcd.openStore({ keyPrefix });
    return {
      store,
      shared: true,
      advance: (ms) => systemClock.sleep(ms * 1.2),
      reopen: async () => {
        await store.close();
        store = await etcd.openStore({ keyPrefix });
        return store;
      },
      cleanup: () => store.close(),
    };
  });

  describe('under load, loses no acknowledged write and no event, doubles none, and goes on soon', () => {
    let stores: EtcdStore[];
    let load: StoreLoad;

    beforeEach(async () => {
      const keyPrefix = `/${randomBytes(6).toString('hex')}/`;
      // Three processes' clients, which begin at different members.
      stores = await Promise.all([0.1, 0.5, 0.9].map((first) => etcd.openStore({ keyPrefix, random: drawn(first) })));
      load = new StoreLoad(stores);
      await load.start();
      await load.more(100);
      load.restartClock();
    });

    afterEach(async () => {
      load.abandon();
      for (const index of etcd.endpoints.keys()) {
        await etcd.network?.mend(index);
        await etcd.start(index);
      }
      await etcd.untilHealthy();
      for (const store of stores) await store.close();
    });

    const leader = async (): Promise<number> => {
      let found: number | undefined;
      const known = async (): Promise<boolean> => {
        found = await etcd.leader();
        return found !== undefined;
      };
      await waitUntil(systemClock, known, { timeoutMs: 15_000, what: 'a leader' });
      return found!;
    };
    const follower = async (): Promise<number> => ((await leader()) + 1) % 3;
    const judged = async (): Promise<void> => {
      await load.more(100);
      await load.stopAndVerify();
      assert.ok(load.longestPauseMs < longestPauseMs, `nothing was acknowledged for ${Math.round(load.longestPauseMs)} ms`);
    };

    it('when a member is killed', async () => {
      const victim = await follower();
      await etcd.kill(victim);
      await load.more(200);
      await etcd.start(victim);
      await etcd.untilHealthy();
      await judged();
    });

    it('when the leader is killed', async () => {
      const victim = await leader();
      await etcd.kill(victim);
      await load.more(200);
      await etcd.start(victim);
      await etcd.untilHealthy();
      await judged();
    });

    for (const from of ['the others', 'everybody'] as const) {
      it(`when a member is cut off from ${from}`, async () => {
        const victim = await follower();
        await etcd.network?.cut(victim, from);
        await systemClock.sleep(6000);
        await load.more(200);
        await etcd.network?.mend(victim);
        await etcd.untilHealthy();
        await judged();
      });

      it(`when the leader is cut off from ${from}`, async () => {
        const victim = await leader();
        await etcd.network?.cut(victim, from);
        await systemClock.sleep(6000);
        await load.more(200);
        await etcd.network?.mend(victim);
        await etcd.untilHealthy();
        await judged();
      });
    }

    it('when the disk of a member is full', async () => {
      const disk = etcd.disks.get(2)!;
      disk.fill();
      try {
        // etcd writes into space that it has reserved, and ends when it needs more.
        const big = Buffer.alloc(256 * 1024, 7);
        for (let i = 0; i < 400 && etcd.members[2]!.running; i++) {
          await stores[i % 2]!.transact([], [{ type: 'put', key: `big/${i % 20}`, value: big }]).catch(() => undefined);
        }
        await load.more(200);
        assert.equal(etcd.members[2]!.running, false, 'the member went on without space');
      } finally {
        disk.free();
      }
      await etcd.start(2);
      await etcd.untilHealthy();
      await judged();
    });

    it('when everything is compacted again and again while watches run', async () => {
      for (let i = 0; i < 20; i++) {
        await load.more(20);
        await etcd.compact(i % 3);
      }
      const victim = await follower();
      await etcd.kill(victim);
      await load.more(20);
      await etcd.compact(await leader());
      await load.more(50);
      await etcd.start(victim);
      await etcd.untilHealthy();
      await judged();
    });
  });
});

/** The first number as given, which chooses the member to begin with; chance afterwards. */
function drawn(first: number): () => number {
  let left: number | undefined = first;
  return () => {
    const now = left ?? Math.random();
    left = undefined;
    return now;
  };
}
