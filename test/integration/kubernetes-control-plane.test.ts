import assert from 'node:assert/strict';
import type { LocalCluster } from '@evercert/local';
import { assertReadyz, assertUnharmed, controlPlaneUnderLoad, leastRenewed } from '../support/control-plane.ts';

const lifeSeconds = 30;

describe(`three API servers over three etcd members, in lives of ${lifeSeconds} s`, function () {
  this.timeout(180_000);
  let cluster: LocalCluster;
  let notices: string[] = [];
  let dispose: (() => Promise<void>) | undefined;

  before(async function () {
    ({ cluster, notices, dispose } = await controlPlaneUnderLoad(this, { leafLifetimeSeconds: lifeSeconds }));
  });

  after(() => dispose?.());

  it('are ready for the issued admin kubeconfig', async () => {
    for (const node of cluster.controlPlaneNodes) await assertReadyz(cluster, node);
  });

  it('answer every request while all certificates are renewed, and serve the new ones without a restart', async () => {
    const pids = cluster.controlPlaneNodes.map(({ apiServer }) => apiServer?.pid);
    const renewed = (): boolean =>
      leastRenewed(cluster).renewals >= 1 && cluster.summary().kubeEndpoints.every(({ certificates }) => certificates >= 2);
    // kube-apiserver looks at its serving pair once a minute.
    await cluster.waitUntil(renewed, 120_000, 'every certificate to be renewed, and every API server to show a new one');
    await cluster.stopWriter();
    await cluster.observe();
    const summary = cluster.summary();
    assertUnharmed(summary);
    assert.ok(summary.kubeRequests >= 50, `${summary.kubeRequests} requests`);
    assert.deepEqual(
      [summary.kubeRequestsRetried, ...summary.kubeEndpoints.map(({ failed }) => failed)],
      [0, 0, 0, 0],
      `nothing was restarted, so nothing had to be tried again: ${notices.join('\n')}`,
    );
    assert.deepEqual(
      cluster.controlPlaneNodes.map(({ apiServer }) => apiServer?.pid),
      pids,
    );
  });

  it('are ready for the renewed admin kubeconfig', async () => {
    for (const node of cluster.controlPlaneNodes) await assertReadyz(cluster, node);
  });
});
