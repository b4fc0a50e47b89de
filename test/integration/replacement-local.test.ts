/**
 * One worker whose renewals are refused and one that is cut off are replaced, a control-plane node in the same state is not: a whole local cluster, real processes.
 * EVERCERT_TEST_LEAF_SECONDS sets the life of leaves; 60 shows all of it at leisure.
 */
import assert from 'node:assert/strict';
import type { LocalCluster, LocalNode } from '@evercert/local';
import { issuedCertificates, liveCluster, statusOf, until } from '../support/live.ts';
import { evercert, nodeOf, PhaseWatch, pids, replacementsOf, revokePresent, untilNode } from '../support/replacements.ts';
import { SeverableProxy } from '../support/severable-proxy.ts';

const lifeSeconds = Number(process.env['EVERCERT_TEST_LEAF_SECONDS'] ?? 20);
const readyMs = 60_000;
/** From a breakage to the new machine: a life, the grace time, one replacement after the other. */
const replacedMs = lifeSeconds * 1000 + 60_000;
const revoked = 'worker-1';
const cutOff = 'worker-2';

describe('broken nodes of a local cluster', function () {
  this.timeout(replacedMs + 60_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  let proxy: SeverableProxy;
  let watch: PhaseWatch;
  let first: { pids: Record<string, number | undefined>; identities: Record<string, string | undefined> };

  before(async () => {
    let proxied: SeverableProxy | undefined;
    ({ cluster, dispose } = await liveCluster({
      controlPlanes: 1,
      workers: 3,
      leafLifetimeSeconds: lifeSeconds,
      identityLifetimeSeconds: Math.max(60, lifeSeconds),
      replacement: {
        graceSeconds: 2,
        maxUnhealthy: '67%',
        maxPerHour: 20,
        drainTimeoutSeconds: 10,
        joinTimeoutSeconds: 60,
        backoffSeconds: 5,
      },
      coordinatorConfig: { heartbeatInterval: '2s', unreachableAfter: '5s' },
      endpointFor: async (node, coordinator) => {
        if (node !== cutOff) return coordinator;
        proxied = await SeverableProxy.open(coordinator);
        return proxied.address;
      },
    }));
    assert.ok(proxied);
    proxy = proxied;
    await cluster.waitUntilReady(readyMs);
    watch = await PhaseWatch.open(cluster);
    const identities = await Promise.all(
      cluster.nodes.map(async ({ name }) => [name, (await nodeOf(cluster, name)).status?.identitySerial]),
    );
    first = { pids: pids(cluster.nodes), identities: Object.fromEntries(identities) };
    // At once: their lives run out while the test waits but once.
    await revokePresent(cluster, 'stolen', [revoked, 'cp-1']);
    proxy.sever();
  });

  after(async () => {
    await watch?.close();
    proxy?.close();
    await dispose();
  });

  const seen = (name: string): string => `${name}: ${watch.of(name).join(' > ')}`;

  it('let a worker whose renewals are refused run out, and replace it by a machine that is Ready', async () => {
    const phases = ['RenewalFailing', 'Expiring', 'Expired', 'Replacing', 'Ready'];
    await until(`${revoked} to be replaced (${phases.join(', ')})`, replacedMs, () => watch.saw(revoked, phases)).catch(
      (error: unknown) => {
        throw new Error(`${String(error)}; ${seen(revoked)}`, { cause: error });
      },
    );
    await assertReplaced(revoked);
  });

  it('do so with a worker that is cut off', async () => {
    const phases = ['Unreachable', 'Expired', 'Replacing', 'Ready'];
    await until(`${cutOff} to be replaced (${phases.join(', ')})`, replacedMs, () => watch.saw(cutOff, phases)).catch((error: unknown) => {
      throw new Error(`${String(error)}; ${seen(cutOff)}`, { cause: error });
    });
    await assertReplaced(cutOff);
  });

  it('never remove a control-plane node, and ask for its repair', async () => {
    const node = await untilNode(cluster, 'cp-1', 'cp-1 to be Expired', replacedMs, ({ status }) => status?.phase === 'Expired');
    assert.deepEqual([node.replacement?.verdict, node.replacement?.reason], ['Never', 'NeedsRepair']);
    assert.match(node.replacement?.message ?? '', /never removed: .*evercert repair demo --node cp-1/);
    assert.ok(watch.saw('cp-1', ['RenewalFailing', 'Expiring', 'Expired']), seen('cp-1'));
    assert.equal(watch.of('cp-1').includes('Replacing'), false);
    assert.deepEqual(await replacementsOf(cluster, 'cp-1'), []);
    assert.equal(cluster.node('cp-1').agent.pid, first.pids['cp-1']);
    const { stdout } = await evercert(cluster, 'describe', 'node', 'cp-1', '--cluster', cluster.name);
    assert.match(stdout, /Replacement: +Never\/NeedsRepair/);
  });

  it('bring that one back by repair', async () => {
    const repaired = await evercert(cluster, 'repair', cluster.name, '--node', 'cp-1');
    assert.equal(repaired.status, 0, repaired.stdout + repaired.stderr);
    await cluster.waitUntilReady(readyMs);
    assert.equal(cluster.node('cp-1').agent.pid, first.pids['cp-1']);
  });

  for (const name of [revoked, cutOff]) {
    it(`refuse the machine that was ${name} when it comes back, and tell of it`, async () => {
      const identity = (await nodeOf(cluster, name)).status?.identitySerial;
      if (name === cutOff) proxy.mend();
      const old = cluster.removedMachines.find((each) => each.name === name) as LocalNode;
      await old.agent.start();
      const admin = await cluster.admin();
      await until('the event', 30_000, async () => {
        const events = await admin.listEvents(cluster.name, { node: name, reason: 'RemovedNodeReturned' });
        return events.length > 0;
      });
      const status = await statusOf(old);
      assert.notEqual(status?.connection.state, 'Connected', JSON.stringify(status?.connection));
      const { stdout } = await evercert(cluster, 'describe', 'node', name, '--cluster', cluster.name);
      assert.match(stdout, /Removed Machines That Returned:[\s\S]*refused the machine that was node/);
      const node = await nodeOf(cluster, name);
      assert.deepEqual([node.status?.phase, node.status?.identitySerial], ['Ready', identity]);
      const issued = await issuedCertificates(cluster, { node: name });
      const removedAtMs = (await replacementsOf(cluster, name))[0]?.steps.find(({ step }) => step === 'Remove')?.finishedAt?.getTime() ?? 0;
      const shown = await serialsOf(old);
      const later = issued.filter(({ issuedAt }) => (issuedAt?.getTime() ?? 0) > removedAtMs).map(({ serial }) => serial);
      assert.deepEqual(
        later.filter((serial) => shown.includes(serial)),
        [],
        'the old machine has got nothing since',
      );
      await old.agent.stop();
    });
  }

  it('leave the others alone, and count as replaced and not as lapsed', async () => {
    assert.deepEqual(watch.of('worker-3'), ['Ready']);
    assert.equal(cluster.node('worker-3').agent.pid, first.pids['worker-3']);
    await cluster.observe();
    const { replacements, lapses, lapsesReplaced, ready, nodes } = cluster.summary();
    assert.deepEqual({ replacements, ready, nodes }, { replacements: 2, ready: 4, nodes: 4 });
    assert.ok(lapsesReplaced >= 4, `${lapsesReplaced} of ${lapses}`);
  });

  async function assertReplaced(name: string): Promise<void> {
    const [replacement, ...others] = await replacementsOf(cluster, name);
    assert.deepEqual(others, []);
    await until(
      'the replacement to be recorded as done',
      10_000,
      async () => (await replacementsOf(cluster, name))[0]?.state === 'Succeeded',
    );
    assert.equal(replacement?.attempt, 1);
    const { agent, rootDir } = cluster.node(name);
    assert.notEqual(agent.pid, first.pids[name]);
    assert.equal(isAlive(first.pids[name]), false, 'the old machine runs no more');
    const node = await nodeOf(cluster, name);
    assert.notEqual(node.status?.identitySerial, first.identities[name]);
    assert.deepEqual(node.addresses, [cluster.node(name).address]);
    const names = (await (await cluster.admin()).listNodes(cluster.name)).map((each) => each.name);
    assert.deepEqual(names, [...new Set(names)]);
    const old = cluster.removedMachines.filter((each) => each.name === name);
    assert.deepEqual(
      old.map((each) => each.rootDir),
      [`${rootDir}.removed-1`],
    );
  }

  async function serialsOf(node: LocalNode): Promise<string[]> {
    const status = await statusOf(node);
    return status ? [status.identity.serial, ...status.certificates.map(({ serial }) => serial)] : [];
  }
});

function isAlive(pid: number | undefined): boolean {
  assert.ok(pid);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}
