/** Acceptance of replacement: the coordinator dies by SIGKILL in the middle of it, is started again, and finishes what it has begun. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type AdminApi, type LocalCluster, prepareLocalCluster } from '@evercert/local';
import { ClusterSpec, type Replacement, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { CommandMachines } from './command-machines.ts';
import { DoomedCoordinator, replacementsOf, setPause, usableTokens } from './doomed-coordinator.ts';
import { temporaryFolder, until } from './live.ts';
import { endedReplacement } from './replacements.ts';

const lifeSeconds = 20;
const node = 'worker-1';
const address = '127.0.0.21';

/** Each is a fault point without its `replacement-`, and the name of a cluster of its own with one worker. */
export function describeReplacementCrashes(points: readonly string[]): void {
  describe("a coordinator killed in the middle of a replacement by the operator's executables", function () {
    this.timeout(120_000);
    let folder: string;
    let local: LocalCluster;
    let machines: CommandMachines;
    let admin: AdminApi;
    let doomed: DoomedCoordinator;
    const oldPids = new Map<string, number>();

    before(async function () {
      this.timeout(240_000);
      folder = temporaryFolder('kills');
      machines = await CommandMachines.install(folder);
      const coordinatorConfig = { provisioners: { op: machines.provisioner } };
      local = await prepareLocalCluster({
        runDir: join(folder, 'run'),
        controlPlanes: 1,
        workers: 0,
        autoRestart: false,
        coordinatorConfig,
      });
      await local.coordinator.start();
      admin = await local.admin();
      doomed = new DoomedCoordinator(local.coordinator, folder);
      const waiting = [...points];
      await Promise.all(
        [1, 2, 3].map(async () => {
          for (let cluster = waiting.shift(); cluster !== undefined; cluster = waiting.shift()) await hangWorker(cluster);
        }),
      );
      await systemClock.sleep(lifeSeconds * 1000);
    });

    after(async () => {
      machines?.endAll();
      await local?.stop();
      if (folder) rmSync(folder, { recursive: true, force: true });
    });

    for (const [index, point] of points.entries()) {
      it(`goes on after it died at ${point}, and does nothing twice`, async () => {
        await doomed.runningFor(point);
        doomed.arm(point);
        if (point.startsWith('uncordon')) await cancelled(point);
        else await setPause(admin, point, false);
        assert.equal((await local.coordinator.process.waitForExit(30_000))?.signal, 'SIGKILL', point);
        await doomed.runningFor(points[index + 1]);
        const replacement = await endedReplacement(() => replacementsOf(admin, point), 60_000);
        await setPause(admin, point, true);
        if (point.startsWith('uncordon')) await assertCancelled(point, replacement);
        else await assertSucceeded(point, replacement);
        for (const pid of machines.processes(point)) process.kill(pid, 'SIGKILL');
      });
    }

    /** A worker that joined, got everything, and then hangs for ever: its certificates expire, its machine is still there. */
    async function hangWorker(cluster: string): Promise<void> {
      const replacement = {
        provisioner: 'op',
        mode: 'active',
        graceSeconds: 1,
        maxUnhealthy: '1',
        maxConcurrent: 1,
        maxPerHour: 100,
        drainTimeoutSeconds: 30,
        joinTimeoutSeconds: cluster.startsWith('discard') ? 10 : 60,
        backoffSeconds: 1,
        maxBackoffSeconds: 1,
      };
      const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds };
      await admin.createCluster(
        cluster,
        ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'], ...lives, replacement }),
      );
      await setPause(admin, cluster, true);
      const { token, caPin } = await admin.createToken(cluster, { name: node, role: Role.WORKER, addresses: [address] });
      machines.seed(cluster, node, address, { token, caPin, endpoint: local.coordinator.address });
      await machines.untilReady(cluster, node, 60_000);
      const pid = machines.pid(cluster, node);
      process.kill(pid, 'SIGSTOP');
      oldPids.set(cluster, pid);
    }

    async function cancelled(cluster: string): Promise<void> {
      writeFileSync(join(folder, `${cluster}.stuck`), '');
      await setPause(admin, cluster, false);
      let id: string | undefined;
      await until('a drain that cannot be done', 30_000, async () => {
        const [replacement] = await replacementsOf(admin, cluster);
        id = replacement?.id;
        return replacement?.step === 'Drain' && replacement.message !== '';
      });
      await setPause(admin, cluster, true);
      // The answer may be lost: the coordinator dies once it takes the cordon back.
      await admin.call(admin.client.cancelReplacement, { cluster, id: id ?? '' }).catch((error: unknown) => {
        assert.ok(error instanceof EvercertError && error.code === 'Unavailable', String(error));
      });
    }

    async function assertSucceeded(cluster: string, { id, state, attempt, newNode }: Replacement): Promise<void> {
      assert.deepEqual({ state, newNode }, { state: 'Succeeded', newNode: node });
      assert.equal((await replacementsOf(admin, cluster)).length, 1);
      const again = cluster.startsWith('discard');
      assert.equal(attempt, again ? 2 : 1);
      const keys = ['1-cordon', '1-drain', '1-remove', '1-create', ...(again ? ['1-discard', '2-create'] : [])];
      assert.deepEqual(
        machines.effects(cluster),
        keys.map((key) => `${id}-${key}`),
        'each step took effect once, in its order',
      );
      const pid = machines.pid(cluster, node);
      assert.deepEqual(machines.machines(cluster), [node]);
      assert.deepEqual(machines.processes(cluster), [pid], 'one machine runs, and nothing of the others');
      assert.notEqual(pid, oldPids.get(cluster));
      await machines.untilReady(cluster, node, 10_000);
      const nodes = await admin.listNodes(cluster);
      assert.deepEqual(
        nodes.map(({ name, status }) => ({ name, phase: status?.phase })),
        [{ name: node, phase: 'Ready' }],
      );
      assert.deepEqual(await usableTokens(admin, cluster), []);
    }

    async function assertCancelled(cluster: string, { id, state }: Replacement): Promise<void> {
      assert.equal(state, 'Cancelled');
      assert.deepEqual(machines.effects(cluster), [`${id}-1-cordon`, `${id}-1-uncordon`]);
      assert.deepEqual(machines.processes(cluster), [oldPids.get(cluster)]);
    }
  });
}
