/** Clusters that were off for days, by a clock that is moved on under real processes. etcd is left out: a static Go program does not see the moved clock. */
import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { type Environment, type LocalCluster, startLocalCluster, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
const evercertCoordinator = join(repositoryRoot, 'coordinator', 'bin', 'evercert-coordinator');
const findLibrary = (): string | undefined => globSync('/usr/lib/*/faketime/libfaketime.so.1').find((path) => existsSync(path));

describe('a cluster that was powered off for days', function () {
  this.timeout(150_000);
  let cluster: LocalCluster;
  let library: string;

  before(async function () {
    library = needTool(this, 'libfaketime', findLibrary);
    cluster = await startLocalCluster({
      controlPlanes: 3,
      workers: 0,
      leafLifetimeSeconds: 3600,
      identityLifetimeSeconds: 3600,
      autoRestart: false,
    });
    await cluster.waitUntilReady(60_000);
  });
  after(() => cluster?.stop());

  const moved = (days: number): Environment => ({ LD_PRELOAD: library, FAKETIME: `+${days}d`, FAKETIME_DONT_FAKE_MONOTONIC: '1' });
  const cli = (days: number, ...args: string[]): Promise<RunResult> =>
    run(evercert, args, {
      env: { ...moved(days), EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml') },
      timeoutMs: 120_000,
    });

  for (const days of [1, 10, 400]) {
    it(`is back by one command within a minute after ${days} ${days === 1 ? 'day' : 'days'}`, async () => {
      await Promise.all(cluster.nodes.map(({ agent }) => agent.stop()));
      await cluster.coordinator.stop();
      // By the process itself: this test's own calls are made at another time than the coordinator lives in.
      await cluster.coordinator.process.start(moved(days));
      const serving = async (): Promise<boolean> => (await cli(days, 'get', 'nodes', '-c', cluster.name)).status === 0;
      await waitUntil(systemClock, serving, { timeoutMs: 30_000, what: 'the coordinator' });
      await Promise.all(cluster.nodes.map(({ agent }) => agent.start(moved(days))));
      const start = performance.now();
      const { status, stdout, stderr } = await cli(days, 'repair', cluster.name);
      const tookMs = performance.now() - start;
      assert.equal(status, 0, stdout + stderr);
      assert.ok(tookMs < 60_000, `${tookMs} ms`);
      process.stdout.write(`      back after ${(tookMs / 1000).toFixed(1)} s\n`);
      const nodes = JSON.parse((await cli(days, 'get', 'nodes', '-c', cluster.name, '-o', 'json')).stdout) as {
        items: { status: { phase: string } }[];
      };
      assert.deepEqual(
        nodes.items.map((node) => node.status.phase),
        ['Ready', 'Ready', 'Ready'],
      );
    });
  }

  it('forgets the latest time that was seen, if it was that which was wrong', async () => {
    await cluster.coordinator.stop();
    const reset = (): Promise<RunResult> => run(evercertCoordinator, ['reset-clock-mark', '--config', cluster.coordinator.configPath]);
    const inAYear = new Date(systemClock.nowMs() + 365 * 86_400_000).getUTCFullYear();
    const { status, stdout, stderr } = await reset();
    assert.equal(status, 0, stderr);
    assert.match(stdout, new RegExp(`The latest time seen was ${inAYear}-.*; it is ${new Date(systemClock.nowMs()).getUTCFullYear()}-`));
    assert.match((await reset()).stdout, new RegExp(`The latest time seen was ${new Date(systemClock.nowMs()).getUTCFullYear()}-`));
  });
});
