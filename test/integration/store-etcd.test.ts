import { randomBytes } from 'node:crypto';
import { systemClock } from '@evercert/shared/clock';
import { describeStoreContract } from '../contract/store.ts';
import { EtcdCluster } from '../support/etcd-cluster.ts';
import { needTool } from '../support/tools.ts';

describe('one real etcd member', () => {
  let etcd: EtcdCluster;

  before(async function () {
    needTool(this, 'etcd');
    etcd = await EtcdCluster.start({ members: 1, heartbeatMs: 50 });
  });

  after(() => etcd?.dispose());

  describeStoreContract('etcd', async () => {
    const keyPrefix = `/${randomBytes(6).toString('hex')}/`;
    let store = await etcd.openStore({ keyPrefix });
    return {
      store,
      shared: true,
      advance: (ms) => systemClock.sleep(ms),
      reopen: async () => {
        await store.close();
        store = await etcd.openStore({ keyPrefix });
        return store;
      },
      cleanup: () => store.close(),
    };
  });
});
