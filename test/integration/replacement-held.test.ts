/** What looks like the fault of many, or of the coordinator itself, has nobody replaced: a whole local cluster, real processes. */
import assert from 'node:assert/strict';
import type { LocalCluster } from '@evercert/local';
import type { Node } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { liveCluster, until } from '../support/live.ts';
import { evercert, nodeOf, pids, replacementsOf, revokePresent, untilNode } from '../support/replacements.ts';

const lifeSeconds = 16;
const graceSeconds = 2;
const readyMs = 60_000;
const workers = ['worker-1', 'worker-2', 'worker-3'];
const silent = 'worker-3';

describe('a local cluster in which replacement would be wrong', function () {
  this.timeout(120_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  let first: Record<string, number | undefined>;

  before(async () => {
    ({ cluster, dispose } = await liveCluster({
      controlPlanes: 1,
      workers: workers.length,
      leafLifetimeSeconds: lifeSeconds,
      identityLifetimeSeconds: lifeSeconds,
      // By default 40%: one of three.
      replacement: { graceSeconds, joinTimeoutSeconds: 60, backoffSeconds: 5 },
      spec: { workerRecovery: 'automatic', controlPlaneRecovery: 'automatic' },
      coordinatorConfig: { heartbeatInterval: '2s', unreachableAfter: '5s' },
    }));
    await cluster.waitUntilReady(readyMs);
    first = pids(cluster.nodes);
  });

  after(() => dispose());

  async function assertNobodyReplaced(): Promise<void> {
    assert.deepEqual(await replacementsOf(cluster), []);
    assert.deepEqual(pids(cluster.nodes), first);
    assert.equal(cluster.summary().replacements, 0);
  }

  const heldBy = ({ replacement }: Node, reason: string): boolean => replacement?.verdict === 'Held' && replacement.reason === reason;

  it('replaces nobody when all workers break at once, and says why', async () => {
    await revokePresent(cluster, 'everybody', workers);
    for (const name of workers) {
      const what = `${name} to be Expired and held back by TooManyUnhealthy`;
      const expired = ({ status }: Node): boolean => status?.phase === 'Expired';
      const node = await untilNode(
        cluster,
        name,
        what,
        lifeSeconds * 1000 + 20_000,
        (one) => expired(one) && heldBy(one, 'TooManyUnhealthy'),
      );
      assert.match(node.replacement?.message ?? '', /3 of 3 workers fail at once, at most 1 may/);
    }
    const { stdout } = await evercert(cluster, 'describe', 'node', 'worker-1', '--cluster', cluster.name);
    assert.match(stdout, /Replacement: +Held\/TooManyUnhealthy/);
    assert.match(stdout, /that looks like one fault of them all/);
    // Long after the grace time.
    await systemClock.sleep(graceSeconds * 1000 + 4000);
    await assertNobodyReplaced();
  });

  it('has those that break so repaired, each by its name', async () => {
    const nodes = workers.flatMap((name) => ['--node', name]);
    const { status, stdout, stderr } = await evercert(cluster, 'repair', cluster.name, ...nodes);
    assert.equal(status, 0, stdout + stderr);
    await cluster.waitUntilReady(readyMs);
    await assertNobodyReplaced();
  });

  it('replaces nobody after the coordinator was away beyond every life; who can comes back, and why the others stay is shown', async () => {
    await cluster.coordinator.stop();
    cluster.node(silent).agent.signal('SIGSTOP');
    await systemClock.sleep((lifeSeconds + 4) * 1000);
    await cluster.coordinator.start();
    const reasons = new Set<string>();
    const messages: string[] = [];
    const seeReasons = async (): Promise<boolean> => {
      const { replacement } = await nodeOf(cluster, silent);
      if (replacement?.verdict === 'Held' && !reasons.has(replacement.reason)) messages.push(replacement.message);
      if (replacement?.verdict === 'Held') reasons.add(replacement.reason);
      return reasons.has('CoordinatorWasAway');
    };
    await until(`${silent} to be held back by CoordinatorWasAway`, 20_000, seeReasons, 100).catch((error: unknown) => {
      throw new Error(`${String(error)}; seen: ${[...reasons]}`, { cause: error });
    });
    // At once: when the coordinator has been there for as long again, silence counts.
    cluster.node(silent).agent.signal('SIGCONT');
    assert.match(messages.at(-1) ?? '', /the coordinator was there for \d+% of the time/);
    await cluster.waitUntilReady(readyMs);
    await assertNobodyReplaced();
  });
});
