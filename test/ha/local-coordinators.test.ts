/** `npm start -- --coordinators 3`: three coordinators over an etcd of their own, and the summary of a run in which the first of them is killed. */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { findEtcd, type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { temporaryFolder, until } from '../support/live.ts';

describe('a local cluster with three coordinators', function () {
  this.timeout(180_000);
  let cluster: LocalCluster;
  let runDir: string;

  before(async function () {
    const stateEtcdBinary = findEtcd();
    if (stateEtcdBinary === undefined) {
      process.stderr.write('skipped: several coordinators need `etcd`, which this machine does not have\n');
      this.skip();
    }
    runDir = temporaryFolder('local-ha');
    const few = { controlPlanes: 1, workers: 3, leafLifetimeSeconds: 30 };
    cluster = await prepareLocalCluster({ runDir, coordinators: 3, stateEtcdBinary, ...few });
    await cluster.start();
    await cluster.waitUntilReady(90_000);
  });

  after(async () => {
    await cluster?.stop();
    if (runDir !== undefined) rmSync(runDir, { recursive: true });
  });

  const leader = (): string | undefined => cluster.coordinators.views.find(({ leads }) => leads)?.name;

  it('shows who leads, and whose nodes are where', () => {
    assert.equal(cluster.coordinators.views.filter(({ serves }) => serves).length, 3);
    assert.ok(leader());
    assert.equal(
      cluster.coordinators.views.reduce((sum, { nodes }) => sum + nodes, 0),
      4,
    );
  });

  it('goes on when the one that leads is killed, and starts it again', async () => {
    const first = leader();
    const killed = cluster.coordinators.all.find(({ process: { name } }) => name === first);
    killed?.process.signal('SIGKILL');
    await until('it to be started again', 10_000, () => cluster.restarts === 1);
    // Which of them leads then is open: it may be the same one again.
    const whole = (): boolean => leader() !== undefined && cluster.coordinators.views.every(({ serves }) => serves);
    await until('all three to serve, and one to lead', 60_000, whole);
    await until('all to be renewed', 60_000, () => cluster.book.totals().renewals >= cluster.book.totals().certificates);
    const { problems, restarts, lapses } = cluster.summary();
    assert.deepEqual([problems, restarts, lapses], [[], 1, 0]);
  });
});
