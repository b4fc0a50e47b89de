/** Rotations in a whole local cluster: processes, files and the `evercert` command. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalCluster, LocalNode } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { certificatesFromPem, parseCertificate, verifyChain } from '@evercert/shared/x509';
import { DoomedCoordinator } from '../support/doomed-coordinator.ts';
import { liveCluster, until } from '../support/live.ts';
import { RotationDriver } from '../support/rotations.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');
const rotatedMs = 60_000;
const everyPoint = process.env['EVERCERT_ALL_FAULT_POINTS'] !== undefined;

const forward = ['preparing', 'spreading', 'activating', 'reissuing', 'retiring'];
const back = ['abort-reissuing', 'abort-retiring'];
const places = (stages: string[]): string[] => stages.flatMap((stage) => ['begun', 'acted', 'done'].map((what) => `${stage}-${what}`));
/** Where most is at stake; the others are in the longer suite. */
const chosen = ['preparing-acted', 'activating-acted', 'abort-reissuing-acted'];

describe('the rotation of CAs in a local cluster', function () {
  this.timeout(everyPoint ? 600_000 : 180_000);
  let cluster: LocalCluster;
  let dispose: (() => Promise<void>) | undefined;
  let doomed: DoomedCoordinator;
  let driver: RotationDriver;

  before(async () => {
    ({ cluster, dispose } = await liveCluster({
      controlPlanes: 1,
      workers: 1,
      leafLifetimeSeconds: 600,
      spec: { rotation: { settleSeconds: 1 } },
      coordinatorConfig: { rotation: { awayAfter: '30s', checkEvery: '1s' }, adminCertificateLifetime: '30s' },
    }));
    await cluster.waitUntilReady(60_000);
    driver = new RotationDriver(cluster, 60_000);
    doomed = new DoomedCoordinator(cluster.coordinator, cluster.folder.path, 'rotation');
  });
  after(() => dispose?.());

  const cli = (...args: string[]): Promise<RunResult> =>
    run(evercert, args, { env: { EVERCERT_CONFIG: join(cluster.coordinator.adminDir, 'config.yaml') }, timeoutMs: 120_000 });

  const pem = (node: LocalNode, ...names: string[]): Buffer[] => certificatesFromPem(readFileSync(join(node.pkiDir, ...names)));

  /** What a node has of a CA comes from its present key, and it trusts no other. */
  async function assertRotated(name: string, bundle: string[], leaves: { node: string; file: string[] }[]): Promise<void> {
    const { certificatePem } = await driver.authority(name);
    const [current] = certificatesFromPem(certificatePem);
    for (const node of cluster.nodes) {
      if (name !== 'cluster-ca' && node.role === 'worker') continue;
      assert.deepEqual(pem(node, ...bundle), [current], `${node.name} trusts ${name} alone`);
    }
    for (const { node, file } of leaves) {
      const chain = pem(cluster.node(node), ...file);
      verifyChain({ chain, anchors: [current!], atMs: systemClock.nowMs() });
    }
  }

  it('takes the three CAs of a cluster one after the other, to another kind of key, from the command line', async () => {
    const before = await Promise.all(['cluster-ca', 'etcd-ca', 'front-proxy-ca'].map((name) => driver.authority(name)));
    const planned = await cli('ca', 'rotate', cluster.name, '--ca', 'cluster-ca', '--dry-run');
    assert.equal(planned.status, 0, planned.stderr);
    assert.match(planned.stdout, /cluster-ca of cluster demo would be rotated to a new ecdsa-p384 key/);
    assert.match(planned.stdout, /worker-1 +worker +Waiting +2 +no/);
    const done = await cli('ca', 'rotate', cluster.name, '--ca', 'all', '--key-algorithm', 'ecdsa-p256', '--wait');
    assert.equal(done.status, 0, done.stderr + done.stdout);
    for (const { name } of before) assert.match(done.stdout, new RegExp(`${name} {2}Completed`));
    await assertRotated('cluster-ca', ['ca.crt'], [{ node: 'cp-1', file: ['apiserver.crt'] }]);
    await assertRotated('etcd-ca', ['etcd', 'ca.crt'], [{ node: 'cp-1', file: ['etcd', 'peer.crt'] }]);
    await assertRotated('front-proxy-ca', ['front-proxy-ca.crt'], [{ node: 'cp-1', file: ['front-proxy-client.crt'] }]);
    for (const { name, serial } of before) {
      const { keyAlgorithm, generations } = await driver.authority(name);
      assert.equal(keyAlgorithm, 'ecdsa-p256');
      assert.deepEqual(
        generations.map(({ state }) => state),
        ['current', 'retired'],
      );
      assert.equal(generations[1]?.serial, serial);
    }
    const shown = await cli('get', 'cas', '-c', cluster.name);
    assert.match(shown.stdout, /cluster-ca +ecdsa-p256 +here +3 +current,retired +Ready/);
  });

  it('delivers with each leaf the way from the key before, for who has not read his trust bundle again', async () => {
    const { generations } = await driver.authority('cluster-ca');
    const [old] = certificatesFromPem(generations[1]!.certificatePem);
    const chain = pem(cluster.node('cp-1'), 'apiserver.crt');
    assert.equal(chain.length, 2);
    verifyChain({ chain, anchors: [old!], atMs: systemClock.nowMs() });
  });

  it('takes the control CA: identities, coordinator and admin go over to the new one, and nobody loses touch', async () => {
    const before = await driver.authority('control-ca');
    // The credentials of admins elsewhere, of which nobody keeps a list, are given up then.
    const { id } = await driver.rotate('control-ca', { deadline: { seconds: 4, nanos: 0 } });
    await driver.reaches(id, 'Completed');
    const after = await driver.authority('control-ca');
    assert.notEqual(after.serial, before.serial);
    const [anchor] = certificatesFromPem(after.certificatePem);
    const adminCertificate = readFileSync(join(cluster.coordinator.adminDir, 'admin.crt'));
    assert.ok(new X509Certificate(adminCertificate).verify(new X509Certificate(anchor!).publicKey));
    const shown = await cli('get', 'nodes');
    assert.equal(shown.status, 0, shown.stderr);
    await cluster.waitUntilReady(30_000);
    const admin = await cluster.admin();
    for (const { name } of cluster.nodes) {
      const { certificates } = await admin.call(admin.client.listCertificates, {
        cluster: cluster.name,
        node: name,
        name: 'identity',
        serial: '',
        includeSuperseded: false,
        pageSize: 1,
        pageToken: '',
      });
      const identity = parseCertificate(certificatesFromPem(certificates[0]!.certificatePem)[0]!);
      assert.ok(new X509Certificate(identity.der).verify(new X509Certificate(anchor!).publicKey), name);
    }
  });

  it('says what it waits for while an agent is stopped, goes on when it is back, and can be paused and aborted', async () => {
    await cluster.node('cp-1').agent.stop();
    const { id } = await driver.rotate('front-proxy-ca');
    await until('the stage', 10_000, async () => (await driver.get(id)).waitingFor !== '', 100);
    const waiting = await driver.get(id);
    assert.equal(waiting.stage, 'Spreading');
    assert.match(waiting.waitingFor, /^1 of 1 nodes: cp-1 \(trust bundle front-proxy-ca .* is of version 3, not 4\)$/);
    const paused = await cli('ca', 'pause', cluster.name, '--ca', 'front-proxy-ca', '--reason', 'lunch');
    assert.match(paused.stdout, new RegExp(`rotation/${id} paused \\(Spreading\\)`));
    await cluster.node('cp-1').agent.start();
    const status = await cli('ca', 'status', cluster.name, '-o', 'json');
    const [item] = JSON.parse(status.stdout).items;
    assert.deepEqual([item.kind, item.metadata.name, item.status.stage], ['CertificateAuthorityRotation', id, 'Spreading']);
    assert.equal(item.status.pausedBy, 'admin/admin');
    const aborted = await cli('ca', 'abort', cluster.name, '--ca', 'front-proxy-ca');
    assert.equal(aborted.status, 0, aborted.stderr);
    await driver.reaches(id, 'Aborted');
    const again = await cli('ca', 'abort', cluster.name, '--ca', 'front-proxy-ca');
    assert.equal(again.status, 0, 'an abort is idempotent');
    assert.equal(pem(cluster.node('cp-1'), 'front-proxy-ca.crt').length, 1);
  });

  for (const place of everyPoint ? [...places(forward), ...places(back)] : chosen) {
    it(`goes on after the coordinator was killed at ${place}`, async () => {
      const before = await driver.authority('front-proxy-ca');
      await doomed.runningFor(place);
      await cluster.waitUntilReady(30_000);
      const goesBack = place.startsWith('abort');
      if (!goesBack) doomed.arm(place);
      const { id } = await driver.rotate('front-proxy-ca');
      if (goesBack) {
        await driver.reaches(id, 'Reissuing');
        doomed.arm(place);
        await driver.abort(id);
      }
      assert.equal((await cluster.coordinator.process.waitForExit(rotatedMs))?.signal, 'SIGKILL', place);
      await doomed.runningFor(undefined);
      await driver.reaches(id, goesBack ? 'Aborted' : 'Completed');
      const after = await driver.authority('front-proxy-ca');
      assert.equal(after.serial === before.serial, goesBack);
      assert.equal(after.bundleVersion, before.bundleVersion + 2);
      await assertRotated('front-proxy-ca', ['front-proxy-ca.crt'], [{ node: 'cp-1', file: ['front-proxy-client.crt'] }]);
    });
  }
});
