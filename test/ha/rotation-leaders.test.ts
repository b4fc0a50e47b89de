/** Rotations that outlive their leaders: the coordinator that leads is killed at a step, and another one on the same etcd goes on. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterSpec, Role } from '@evercert/proto';
import { CommandMachines } from '../support/command-machines.ts';
import { Coordinators } from '../support/coordinators.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { RotationDriver } from '../support/rotations.ts';

const cluster = 'demo';
const nodes = { 'worker-1': '127.0.0.41' };
const places: [string, string][] = [
  ...['preparing-done', 'spreading-acted', 'activating-acted', 'reissuing-acted', 'retiring-done'].map((place): [string, string] => [
    'cluster-ca',
    place,
  ]),
  ...['spreading-done', 'reissuing-acted', 'retiring-acted'].map((place): [string, string] => ['control-ca', place]),
];

describe('a rotation whose leaders are killed', function () {
  this.timeout(240_000);
  let folder: string;
  let machines: CommandMachines;
  let coordinators: Coordinators;
  let driver: RotationDriver;

  before(async function () {
    this.timeout(300_000);
    if (!Coordinators.possible()) return this.skip();
    folder = temporaryFolder('rotation-leaders');
    machines = await CommandMachines.install(folder);
    const config = { rotation: { awayAfter: '60s', checkEvery: '1s' }, adminCertificateLifetime: '10m' };
    coordinators = await Coordinators.start({ count: 2, etcd: { members: 1 }, config });
    driver = new RotationDriver({ name: cluster, admin: () => coordinators.admin() }, 90_000);
    const admin = await coordinators.admin(0);
    const lives = { leafLifetimeSeconds: 3600, identityLifetimeSeconds: 3600, rotation: { settleSeconds: 1 } };
    await admin.createCluster(
      cluster,
      ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'], ...lives }),
    );
    for (const [name, address] of Object.entries(nodes)) {
      const { token, caPin } = await admin.createToken(cluster, { name, role: Role.WORKER, addresses: [address] });
      machines.seed(cluster, name, address, { token, caPin, endpoint: coordinators.addresses[0] ?? '' });
    }
    for (const name of Object.keys(nodes)) await machines.untilReady(cluster, name, 60_000);
  });

  after(async () => {
    machines?.endAll();
    await coordinators?.dispose();
    if (folder) rmSync(folder, { recursive: true, force: true });
  });

  for (const [name, place] of places) {
    it(`of ${name} goes on at another coordinator when its leader died at ${place}`, async () => {
      const before = await driver.authority(name);
      const armed = join(folder, `${name}-${place}.armed`);
      // Whichever leads is to die there.
      for (const index of [0, 1]) {
        await coordinators.kill(index);
        await coordinators.start(index, { EVERCERT_FAULT_POINT: `rotation-${place}`, EVERCERT_FAULT_ARM: armed });
      }
      await coordinators.untilLeading();
      writeFileSync(armed, '');
      // The credentials of admins elsewhere are given up soon.
      const deadline = name === 'control-ca' ? { seconds: 2, nanos: 0 } : undefined;
      const { id } = await driver.rotate(name, { deadline });
      const dead = (): number => coordinators.all.findIndex((one) => !one.process.running);
      await until('the leader to be killed', 60_000, () => dead() >= 0, 50);
      const leader = dead();
      // The next one lives.
      rmSync(armed);
      assert.equal((await coordinators.all[leader]?.process.waitForExit(1000))?.signal, 'SIGKILL', place);
      await driver.reaches(id, 'Completed');
      const after = await driver.authority(name);
      assert.notEqual(after.serial, before.serial);
      assert.equal(after.bundleVersion, before.bundleVersion + 2);
      await coordinators.start(leader);
      for (const node of Object.keys(nodes)) await machines.untilReady(cluster, node, 30_000);
    });
  }
});
