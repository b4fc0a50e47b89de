/** Rotations of all four CAs in a local cluster with real etcd members and API servers under continuous load: with a node that is off throughout, with aborts, and with kills at every stage. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { KubernetesStatistics, LocalCluster, WriterStatistics } from '@evercert/local';
import { assertReadyz, controlPlaneUnderLoad } from '../support/control-plane.ts';
import { DoomedCoordinator } from '../support/doomed-coordinator.ts';
import { until } from '../support/live.ts';
import { RotationDriver } from '../support/rotations.ts';
import { repositoryRoot, run } from '../support/tools.ts';

const lifeSeconds = 90;
const stageMs = 240_000;
const cas = ['cluster-ca', 'etcd-ca', 'front-proxy-ca', 'control-ca'];
const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
const stages = ['preparing', 'spreading', 'activating', 'reissuing', 'retiring', 'abort-reissuing', 'abort-retiring'];

describe('rotations under continuous load', function () {
  this.timeout(1_800_000);
  let cluster: LocalCluster;
  let notices: string[] = [];
  let dispose: (() => Promise<void>) | undefined;
  let driver: RotationDriver;
  let doomed: DoomedCoordinator;
  let pids: (number | undefined)[] = [];

  before(async function () {
    ({ cluster, notices, dispose } = await controlPlaneUnderLoad(this, {
      workers: 1,
      leafLifetimeSeconds: lifeSeconds,
      identityLifetimeSeconds: lifeSeconds,
      // kube-apiserver reads its client CAs again within a minute.
      spec: { rotation: { settleSeconds: 65 } },
      coordinatorConfig: { rotation: { awayAfter: '20s', checkEvery: '1s' }, adminCertificateLifetime: '30s', unreachableAfter: '15s' },
    }));
    driver = new RotationDriver(cluster, stageMs);
    doomed = new DoomedCoordinator(cluster.coordinator, cluster.folder.path, 'rotation');
    pids = processes();
  });

  after(() => dispose?.());

  const processes = (): (number | undefined)[] => cluster.controlPlaneNodes.flatMap(({ apiServer, etcd }) => [apiServer?.pid, etcd?.pid]);
  const load = (): KubernetesStatistics => cluster.kubernetesStatistics as KubernetesStatistics;
  const writer = (): WriterStatistics => cluster.writerStatistics as WriterStatistics;

  async function assertUnharmed(what: string): Promise<void> {
    const { requests, failed } = load();
    const { writes, writesFailed, readsFailed, lastError } = writer();
    process.stdout.write(`      ${what}: ${requests} requests, ${failed} failed; ${writes} writes, ${writesFailed} failed\n`);
    assert.deepEqual(
      { failed, writesFailed, readsFailed },
      { failed: 0, writesFailed: 0, readsFailed: 0 },
      lastError ?? notices.join('\n'),
    );
    assert.deepEqual(processes(), pids, 'nothing was restarted');
    for (const node of cluster.controlPlaneNodes) await assertReadyz(cluster, node);
  }

  it('take all four CAs in turn while a node is off throughout, and no write fails', async () => {
    const off = cluster.node('worker-1');
    await off.agent.kill();
    for (const name of cas) {
      const before = await driver.authority(name);
      const { id } = await driver.rotate(name);
      await driver.reaches(id, 'Completed');
      const after = await driver.authority(name);
      assert.notEqual(after.serial, before.serial);
      await assertUnharmed(name);
    }
    // It slept through the rotation of the control CA too: its identity has ended, and an admin lets it come back.
    await off.agent.start();
    const { status, stdout } = await run(evercert, ['repair', cluster.name, '--node', 'worker-1'], {
      env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml') },
      timeoutMs: 240_000,
    });
    assert.equal(status, 0, stdout);
    await cluster.waitUntilReady(60_000);
  });

  for (const [stage, then] of [
    ['Spreading', 'AbortRetiring'],
    ['Reissuing', 'AbortReissuing'],
  ] as const) {
    it(`go back when they are aborted at ${stage}, and no write fails`, async () => {
      for (const name of cas) {
        const before = await driver.authority(name);
        const { id } = await driver.rotate(name);
        // That of the control CA has nothing to wait for, and may be further already.
        await driver.reaches(id, stage, 'Reissuing');
        await driver.abort(id);
        await driver.reaches(id, then, 'AbortRetiring', 'Aborted');
        await driver.reaches(id, 'Aborted');
        assert.equal((await driver.authority(name)).serial, before.serial);
        await assertUnharmed(`${name} aborted at ${stage}`);
      }
    });
  }

  for (const stage of stages) {
    it(`go on when the coordinator is killed at ${stage}, and no write fails`, async () => {
      const name = 'cluster-ca';
      const before = await driver.authority(name);
      const goesBack = stage.startsWith('abort');
      await doomed.runningFor(`${stage}-acted`);
      await cluster.waitUntilReady(60_000);
      if (!goesBack) doomed.arm(`${stage}-acted`);
      const { id } = await driver.rotate(name);
      if (goesBack) {
        await driver.reaches(id, 'Reissuing');
        doomed.arm(`${stage}-acted`);
        await driver.abort(id);
      }
      await until('the coordinator to be killed', stageMs, () => !cluster.coordinator.process.running, 50);
      await doomed.runningFor(undefined);
      await driver.reaches(id, goesBack ? 'Aborted' : 'Completed');
      assert.equal((await driver.authority(name)).serial === before.serial, goesBack);
      await assertUnharmed(`killed at ${stage}`);
    });
  }
});
