/** A local cluster of three control-plane nodes with real etcd members and API servers under load, and what the tests of it ask. */
import assert from 'node:assert/strict';
import { findEtcd, findKubeApiServer, type LocalCluster, type LocalClusterOptions, type LocalNode, type Summary } from '@evercert/local';
import { liveCluster } from './live.ts';
import { findTool, needTool, run } from './tools.ts';

/** For `before`; the suite is skipped with one line where a binary is missing. Resolves when requests go through all three API servers. */
export async function controlPlaneUnderLoad(
  context: Mocha.Context,
  options: LocalClusterOptions,
): Promise<{ cluster: LocalCluster; notices: string[]; dispose: () => Promise<void> }> {
  const etcdBinary = needTool(context, 'etcd', () => findEtcd());
  const kubeApiServerBinary = needTool(context, 'kube-apiserver', () => findKubeApiServer());
  const notices: string[] = [];
  const onNotice: LocalClusterOptions['onNotice'] = ({ level, message }) => {
    if (level === 'warn') notices.push(message);
  };
  const { cluster, dispose } = await liveCluster({ controlPlanes: 3, workers: 0, etcdBinary, kubeApiServerBinary, onNotice, ...options });
  try {
    await cluster.waitUntilServing(150_000);
    return { cluster, notices, dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

/** By the real kubectl where there is one; else one request as it would make it. */
export async function assertReadyz(cluster: LocalCluster, node: LocalNode): Promise<void> {
  const kubectl = process.env['KUBECTL'] ?? findTool('kubectl');
  if (kubectl === undefined) {
    assert.ok(await cluster.apiServerReady(node.name), `${node.name} is not ready`);
    return;
  }
  const { adminKubeconfig, apiServerClient } = node;
  const args = [`--kubeconfig=${adminKubeconfig}`, `--server=${apiServerClient?.server}`, 'get', '--raw', '/readyz'];
  const { status, stdout, stderr } = await run(kubectl, args, { env: { HOME: node.rootDir } });
  assert.deepEqual([status, stdout], [0, 'ok'], `${node.name}: ${stderr}`);
}

/** The least number of renewals that any certificate of the cluster has had, with that certificate's name. */
export function leastRenewed(cluster: LocalCluster): { name: string; renewals: number } {
  const all = cluster.book.nodes.flatMap(({ name, certificates }) =>
    certificates.map((certificate) => ({ name: `${certificate.name} of ${name}`, renewals: certificate.renewals })),
  );
  return all.reduce((least, each) => (each.renewals < least.renewals ? each : least), all[0] ?? { name: 'none', renewals: 0 });
}

/** Nobody who tries again saw anything fail, no certificate ran out, nothing was restarted. */
export function assertUnharmed(summary: Summary): void {
  assert.deepEqual(summary.problems, []);
  const { kubeRequestsFailed, lapses, reusedKeys, etcdWritesFailed, etcdReadsFailed, restarts, kubeApiServerRestarts } = summary;
  assert.deepEqual(
    { kubeRequestsFailed, lapses, reusedKeys, etcdWritesFailed, etcdReadsFailed, restarts, kubeApiServerRestarts },
    { kubeRequestsFailed: 0, lapses: 0, reusedKeys: 0, etcdWritesFailed: 0, etcdReadsFailed: 0, restarts: 0, kubeApiServerRestarts: 0 },
  );
}
