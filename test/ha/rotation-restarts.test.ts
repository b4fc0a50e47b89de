/** Rotations where trust bundles declare how their components are restarted: etcd members and API servers, one control-plane node at a time, under continuous load. */
import assert from 'node:assert/strict';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type KubernetesStatistics, type LocalCluster, memberHealth, type SupervisedProcess } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { stringify } from 'yaml';
import { assertReadyz, controlPlaneUnderLoad } from '../support/control-plane.ts';
import { until } from '../support/live.ts';
import { RotationDriver } from '../support/rotations.ts';

const backMs = 120_000;

/** The supervisor of the test stands in for systemd: an agent's command asks for a restart by a file, and waits until it is gone. */
function askFor(folder: string, component: string): string[] {
  const node = 'n=$(tr "\\0" "\\n" < /proc/$PPID/cmdline | sed -n "s#.*/nodes/\\([^/]*\\)/.*#\\1#p")';
  return ['/bin/sh', '-c', `${node}; f=$0/restart-$n-$1; touch $f; while [ -e $f ]; do sleep 0.2; done`, folder, component];
}

describe('rotations that restart components', function () {
  this.timeout(1_800_000);
  let cluster: LocalCluster;
  let notices: string[] = [];
  let dispose: (() => Promise<void>) | undefined;
  let driver: RotationDriver;
  const restarted: string[] = [];
  const atOnce: string[] = [];
  const stop = new AbortController();
  let watching: Promise<void> = Promise.resolve();

  before(async function () {
    ({ cluster, notices, dispose } = await controlPlaneUnderLoad(this, {
      workers: 0,
      leafLifetimeSeconds: 3600,
      spec: { rotation: { settleSeconds: 65 } },
      coordinatorConfig: { rotation: { checkEvery: '1s' } },
    }));
    driver = new RotationDriver(cluster, 900_000);
    const port = cluster.controlPlaneNodes[0]?.etcdClient?.target.split(':')[1];
    await declare('etcd-ca', 'etcd', '/etc/kubernetes/pki/etcd/ca.crt', `tls://{{ node.address }}:${port}`);
    await declare('cluster-ca', 'kube-apiserver', '/etc/kubernetes/pki/ca.crt');
    watching = watch();
  });

  after(async () => {
    stop.abort();
    await watching;
    await dispose?.();
  });

  async function declare(name: string, component: string, file: string, verify?: string): Promise<void> {
    const reload = { command: { argv: askFor(cluster.folder.path, component), timeout: '3m' }, oneAtATime: true, component };
    const spec = {
      ...(name === 'etcd-ca' && { selector: { role: 'control-plane' } }),
      issuer: name,
      file,
      reload,
      ...(verify && { verify }),
    };
    const yaml = stringify({ apiVersion: 'evercert.io/v1', kind: 'TrustBundleManifest', metadata: { name }, spec });
    const admin = await cluster.admin();
    await admin.call(admin.client.apply, { cluster: cluster.name, documents: [{ source: 'test.yaml', yaml }], dryRun: false });
  }

  /** Restarts what agents ask for, and takes down whether two asked at once. */
  async function watch(): Promise<void> {
    const under = new Map<string, Promise<void>>();
    while (!stop.signal.aborted) {
      for (const node of cluster.controlPlaneNodes) {
        for (const [component, process_] of [
          ['etcd', node.etcd],
          ['kube-apiserver', node.apiServer],
        ] as const) {
          const file = join(cluster.folder.path, `restart-${node.name}-${component}`);
          const key = `${component} of ${node.name}`;
          if (!process_ || under.has(key) || !existsSync(file)) continue;
          if (under.size > 0) atOnce.push(`${key} beside ${[...under.keys()].join(', ')}`);
          restarted.push(key);
          under.set(
            key,
            restart(node.name, component, process_).finally(() => {
              under.delete(key);
              rmSync(file, { force: true });
            }),
          );
        }
      }
      await systemClock.sleep(100);
    }
    await Promise.all(under.values());
  }

  async function restart(name: string, component: string, process_: SupervisedProcess): Promise<void> {
    await process_.restart();
    const { etcdClient } = cluster.node(name);
    const back = async (): Promise<boolean> =>
      (component !== 'etcd' || (etcdClient !== undefined && (await memberHealth(etcdClient, systemClock)).healthy)) &&
      (await cluster.apiServerReady(name));
    await until(`${component} of ${name} to be back`, backMs, back, 250);
  }

  const load = (): KubernetesStatistics => cluster.kubernetesStatistics as KubernetesStatistics;

  for (const [name, component] of [
    ['etcd-ca', 'etcd'],
    ['cluster-ca', 'kube-apiserver'],
  ] as const) {
    it(`take ${name} with restarts of ${component}, one node at a time, and nobody who tries again sees it`, async () => {
      const before = await driver.authority(name);
      const from = restarted.length;
      const { id } = await driver.rotate(name);
      await driver.reaches(id, 'Completed');
      assert.notEqual((await driver.authority(name)).serial, before.serial);
      const { requests, retried, failed } = load();
      process.stdout.write(
        `      ${name}: ${requests} requests, ${retried} retried, ${failed} failed; restarted: ${restarted.slice(from).join(', ')}\n`,
      );
      for (const node of cluster.controlPlaneNodes) {
        // Once to trust both, once to trust the new one alone.
        assert.ok(restarted.slice(from).filter((each) => each === `${component} of ${node.name}`).length >= 2, node.name);
        await assertReadyz(cluster, node);
      }
      assert.deepEqual(atOnce, []);
      assert.equal(failed, 0, notices.join('\n'));
    });
  }
});
