/**
 * A replacement that outlives its leaders: the one that leads is killed at place after place, each in a cluster of its own, and another coordinator goes on. The machines are processes that the
 * operator's executables make and remove.
 */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AdminApi } from '@evercert/local';
import { ClusterSpec, type Replacement, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { CommandMachines } from '../support/command-machines.ts';
import { Coordinators } from '../support/coordinators.ts';
import { replacementsOf, setPause, usableTokens } from '../support/doomed-coordinator.ts';
import { temporaryFolder } from '../support/live.ts';
import { endedReplacement } from '../support/replacements.ts';

const lifeSeconds = 20;
const node = 'worker-1';
const address = '127.0.0.21';
const takeOverMs = 15_000;
/** Each is a fault point without its `replacement-`, and the name of a cluster with one worker. */
const points = [
  ...['cordon-acted', 'drain-acted', 'remove-begun', 'remove-withdrawn', 'remove-acted', 'remove-done'],
  ...['allocate-acted', 'create-acted', 'create-done', 'join-done', 'verify-acted'],
];

describe('a replacement whose leaders are killed', function () {
  this.timeout(180_000);
  let folder: string;
  let machines: CommandMachines;
  let coordinators: Coordinators;
  let admin: AdminApi;

  before(async function () {
    this.timeout(300_000);
    if (!Coordinators.possible()) return this.skip();
    folder = temporaryFolder('leaders');
    machines = await CommandMachines.install(folder);
    const config = { provisioners: { op: machines.provisioner } };
    coordinators = await Coordinators.start({ count: 2, etcd: { members: 1 }, config });
    admin = await coordinators.admin(0);
    for (const point of points) await hangWorker(point);
    await systemClock.sleep(lifeSeconds * 1000);
  });

  after(async () => {
    machines?.endAll();
    await coordinators?.dispose();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  for (const point of points) {
    it(`goes on at another coordinator when its leader died at ${point}, and does nothing twice`, async () => {
      const armed = join(folder, `${point}.armed`);
      const env = { EVERCERT_FAULT_POINT: `replacement-${point}`, EVERCERT_FAULT_ARM: armed };
      // Whichever leads is to die there.
      for (const index of [0, 1]) {
        await coordinators.kill(index);
        await coordinators.start(index, env);
      }
      const leader = await coordinators.untilLeading();
      const other = coordinators.all[1 - leader];
      admin = await coordinators.admin(1 - leader);
      writeFileSync(armed, '');
      await setPause(admin, point, false);
      const exit = await coordinators.all[leader]?.process.waitForExit(60_000);
      // The next one lives.
      rmSync(armed);
      const diedAtMs = systemClock.monotonicMs();
      assert.equal(exit?.signal, 'SIGKILL', point);
      assert.equal(await coordinators.untilLeading(leader, takeOverMs), 1 - leader);
      assert.ok(systemClock.monotonicMs() - diedAtMs < takeOverMs);
      const replacement = await endedReplacement(() => replacementsOf(admin, point), 90_000);
      assert.equal(other?.process.running, true);
      await setPause(admin, point, true);
      await assertDoneOnce(point, replacement);
    });
  }

  /** A worker that joined, got everything, and then hangs for ever: its certificates expire, its machine is still there. */
  async function hangWorker(cluster: string): Promise<void> {
    const limits = { graceSeconds: 1, maxUnhealthy: '1', maxConcurrent: 1, maxPerHour: 100, backoffSeconds: 1, maxBackoffSeconds: 1 };
    const replacement = { ...limits, provisioner: 'op', mode: 'active', drainTimeoutSeconds: 30, joinTimeoutSeconds: 60 };
    const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds };
    const spec = ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'], ...lives, replacement });
    await admin.createCluster(cluster, spec);
    await setPause(admin, cluster, true);
    const { token, caPin } = await admin.createToken(cluster, { name: node, role: Role.WORKER, addresses: [address] });
    machines.seed(cluster, node, address, { token, caPin, endpoint: coordinators.addresses[0] ?? '' });
    await machines.untilReady(cluster, node, 60_000);
    process.kill(machines.pid(cluster, node), 'SIGSTOP');
  }

  async function assertDoneOnce(cluster: string, { id, state, attempt, newNode, steps }: Replacement): Promise<void> {
    assert.deepEqual({ state, newNode, attempt }, { state: 'Succeeded', newNode: node, attempt: 1 });
    assert.equal((await replacementsOf(admin, cluster)).length, 1);
    const keys = ['1-cordon', '1-drain', '1-remove', '1-create'].map((key) => `${id}-${key}`);
    assert.deepEqual(machines.effects(cluster), keys, 'each step took effect once, in its order');
    const done = steps.filter(({ result }) => result === 'Done').map(({ idempotencyKey }) => idempotencyKey);
    assert.deepEqual(done, [...new Set(done)], 'no step is recorded as done twice');
    assert.deepEqual(machines.processes(cluster), [machines.pid(cluster, node)], 'one machine runs, and nothing of the other');
    await machines.untilReady(cluster, node, 10_000);
    assert.deepEqual(await usableTokens(admin, cluster), []);
    for (const pid of machines.processes(cluster)) process.kill(pid, 'SIGKILL');
  }
});
