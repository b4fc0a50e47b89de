import assert from 'node:assert/strict';
import { type KubernetesStatistics, type LocalCluster, memberHealth, pause, type SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { assertReadyz, assertUnharmed, controlPlaneUnderLoad, leastRenewed } from '../support/control-plane.ts';
import { until } from '../support/live.ts';

const lifeSeconds = 120;
const minutes = Number(process.env['EVERCERT_KUBERNETES_MINUTES'] ?? 30);
const restartTimeoutMs = 120_000;
const settleMs = 10_000;

describe(`three API servers over three etcd members for ${minutes} minutes, in lives of ${lifeSeconds} s`, function () {
  this.timeout(minutes * 60_000 + 900_000);
  let cluster: LocalCluster;
  let notices: string[] = [];
  let dispose: (() => Promise<void>) | undefined;

  before(async function () {
    assert.ok(minutes > 0, 'EVERCERT_KUBERNETES_MINUTES is a number of minutes');
    ({ cluster, notices, dispose } = await controlPlaneUnderLoad(this, { leafLifetimeSeconds: lifeSeconds }));
  });

  after(() => dispose?.());

  const load = (): KubernetesStatistics => cluster.kubernetesStatistics as KubernetesStatistics;
  const failures = (): string =>
    load()
      .endpoints.map(({ name, failed, attempts }) => `${name} ${failed}/${attempts}`)
      .join(', ');

  it('answer every request through all renewals of all certificates', async () => {
    const pids = cluster.controlPlaneNodes.map(({ apiServer }) => apiServer?.pid);
    const never = new AbortController().signal;
    for (let minute = 1; minute <= Math.ceil(minutes); minute++) {
      await pause(systemClock, Math.min(1, minutes - minute + 1) * 60_000, never);
      for (const node of cluster.controlPlaneNodes) await assertReadyz(cluster, node);
      await cluster.refresh();
      const { requests, retried, failed } = load();
      const { name, renewals } = leastRenewed(cluster);
      process.stdout.write(
        `      ${minute} min: ${requests} requests, ${retried} retried, ${failed} failed; failed attempts: ${failures()}; ${cluster.book.totals().renewals} renewals, the fewest ${renewals} (${name})\n`,
      );
    }
    await cluster.observe();
    const summary = cluster.summary();
    process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
    assertUnharmed(summary);
    const { name, renewals } = leastRenewed(cluster);
    // Due at two thirds of the life at the latest.
    assert.ok(renewals >= Math.floor((minutes * 60) / lifeSeconds), `${name} was renewed ${renewals} times`);
    assert.deepEqual(
      summary.kubeEndpoints.map(({ failed }) => failed),
      [0, 0, 0],
      `nothing was restarted, so no single attempt may fail: ${notices.join('\n')}`,
    );
    assert.deepEqual(
      cluster.controlPlaneNodes.map(({ apiServer }) => apiServer?.pid),
      pids,
    );
  });

  // The connections between API servers and etcd outlive the certificates that they began with: these make new ones.
  it('come back to etcd members that are restarted one by one, and nobody who tries again sees it', async () => {
    for (const node of cluster.controlPlaneNodes) {
      const { etcd, etcdClient } = node;
      assert.ok(etcd && etcdClient);
      const healthy = async (): Promise<boolean> => (await memberHealth(etcdClient, systemClock)).healthy;
      await restart(etcd, node.name, healthy);
    }
    assert.equal(load().failed, 0, notices.join('\n'));
  });

  it('are restarted one by one themselves, each seen at its own endpoint alone', async () => {
    for (const node of cluster.controlPlaneNodes) {
      const before = load();
      assert.ok(node.apiServer);
      await restart(node.apiServer, node.name, async () => true);
      const others = load().endpoints.filter(({ name, failed }) => name !== node.name && failed > failedAt(before, name));
      assert.deepEqual(others, [], notices.join('\n'));
    }
    assert.equal(load().failed, 0, notices.join('\n'));
  });

  async function restart(process_: SupervisedProcess, name: string, healthy: () => Promise<boolean>): Promise<void> {
    const before = load();
    await process_.restart();
    await until(
      `${process_.name} to be back`,
      restartTimeoutMs,
      async () => (await healthy()) && (await cluster.apiServerReady(name)),
      500,
    );
    // Whatever is still to come of it comes now.
    await pause(systemClock, settleMs, new AbortController().signal);
    const { requests, retried, failed } = load();
    process.stdout.write(
      `      ${process_.name} restarted: ${requests - before.requests} requests, ${retried - before.retried} retried, ${failed - before.failed} failed; failed attempts so far: ${failures()}\n`,
    );
  }

  function failedAt(statistics: KubernetesStatistics, name: string): number {
    return statistics.endpoints.find((endpoint) => endpoint.name === name)?.failed ?? 0;
  }
});
