/**
 * The coordinator is killed at place after place of a replacement, one after the other in the same saga: its machines are processes that a local cluster keeps, so that they outlive it.
 * The first new machine breaks at once, for the way through Discard and a second attempt.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LocalCluster, LocalNode } from '@evercert/local';
import { liveCluster } from '../support/live.ts';
import { endedReplacement, nodeOf, replacementsOf } from '../support/replacements.ts';

const lifeSeconds = 20;
const readyMs = 60_000;
const deathMs = 60_000;
const worker = 'worker-1';

const inSteps = (steps: string[]): string[] => steps.flatMap((step) => ['begun', 'acted', 'done'].map((when) => `${step}-${when}`));
/** In the order of the saga. */
const everywhere = [
  ...inSteps(['cordon', 'drain']),
  ...['remove-begun', 'remove-withdrawn', 'remove-acted', 'remove-done'],
  ...inSteps(['allocate', 'create']),
  'join-begun',
  ...inSteps(['discard']),
  ...['join-acted', 'join-done'],
  ...inSteps(['verify']),
];
/** Where it matters most; `npm run test:replacement` does them all. */
const chosen = new Set([...['remove-withdrawn', 'remove-acted', 'create-acted', 'discard-acted', 'join-done', 'verify-acted']]);
const points = process.env['EVERCERT_ALL_FAULT_POINTS'] === '1' ? everywhere : everywhere.filter((point) => chosen.has(point));

describe('a coordinator killed in the midst of a replacement by the process driver', function () {
  this.timeout(120_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  let old: { pid: number | undefined; identity: string | undefined };

  before(async () => {
    ({ cluster, dispose } = await liveCluster({
      controlPlanes: 1,
      workers: 1,
      leafLifetimeSeconds: lifeSeconds,
      // The coordinator lives for moments only: on a busy machine an identity of such a life would run out, and its node need a repair.
      identityLifetimeSeconds: 3600,
      replacement: { graceSeconds: 1, maxUnhealthy: '1', maxPerHour: 20, joinTimeoutSeconds: 12, backoffSeconds: 1, maxBackoffSeconds: 1 },
    }));
    await cluster.waitUntilReady(readyMs);
    old = { pid: cluster.node(worker).agent.pid, identity: (await nodeOf(cluster, worker)).status?.identitySerial };
    // As by a power cut.
    await cluster.node(worker).agent.kill();
    await restartedFor(points[0]);
  });

  after(() => dispose());

  for (const [index, point] of points.entries()) {
    it(`dies at ${point}, and goes on from there`, async () => {
      const exit = await cluster.coordinator.process.waitForExit(deathMs).catch(async (error: unknown) => {
        throw new Error(
          `${String(error)}; ${JSON.stringify([(await nodeOf(cluster, worker)).replacement, await replacementsOf(cluster)])}`,
          {
            cause: error,
          },
        );
      });
      assert.equal(exit?.signal, 'SIGKILL', point);
      if (point === 'create-acted') await breakNewMachine();
      await restartedFor(points[index + 1]);
    });
  }

  it('has done every step once, and left no machine over', async () => {
    const { id, state, attempt, steps } = await endedReplacement(() => replacementsOf(cluster, worker), readyMs);
    assert.equal(state, 'Succeeded');
    assert.equal(attempt, 2);
    assert.equal((await replacementsOf(cluster)).length, 1, 'no other replacement was begun');
    const keys = ['1-remove', '1-create', '1-discard', '2-create'].map((key) => `${id}-${key}`);
    assert.deepEqual(keysDone(), keys, 'the host of machines was asked for each action under one key');
    const done = steps.filter(({ result }) => result === 'Done').map((step) => step.idempotencyKey);
    assert.deepEqual(done, [...new Set(done)], 'no step is recorded as done twice');
    assertMachines();
  });

  it('has one node of the name, which is another and Ready, and no token that could still be used', async () => {
    await cluster.waitUntilReady(readyMs);
    const node = await nodeOf(cluster, worker);
    assert.notEqual(node.status?.identitySerial, old.identity);
    const admin = await cluster.admin();
    assert.equal((await admin.listNodes(cluster.name)).length, 2);
    const { tokens } = await admin.call(admin.client.listTokens, { cluster: cluster.name });
    assert.deepEqual(
      tokens.filter(({ uses, maxUses }) => uses < maxUses).map(({ description }) => description),
      [],
    );
  });

  /** A coordinator that will die at the point; undefined: one that lives. */
  async function restartedFor(point: string | undefined): Promise<void> {
    await cluster.coordinator.process.kill();
    // Its start may be all that it lives for.
    await cluster.coordinator.process.start(point === undefined ? {} : { EVERCERT_FAULT_POINT: `replacement-${point}` });
    if (point === undefined) await cluster.coordinator.waitUntilServing();
  }

  /** It has not joined: the coordinator died when it was made. */
  async function breakNewMachine(): Promise<void> {
    const made = cluster.node(worker);
    assert.notEqual(made.agent.pid, old.pid);
    await made.agent.kill();
  }

  /** Of the host's journal, in the order of their ends; all that were begun are done. */
  function keysDone(): string[] {
    const { entries } = JSON.parse(readFileSync(join(cluster.folder.path, 'machines.json'), 'utf8')) as {
      entries: { key: string; state: string }[];
    };
    assert.ok(
      entries.every(({ state }) => state === 'done'),
      JSON.stringify(entries),
    );
    return entries.map(({ key }) => key);
  }

  /** One that is there, and two that are gone: the one that broke first, and the one that did not join. */
  function assertMachines(): void {
    const folders = readdirSync(cluster.folder.nodes).sort();
    assert.deepEqual(folders, ['cp-1', worker, `${worker}.removed-1`, `${worker}.removed-2`]);
    assert.equal(cluster.summary().replacements, 2);
    const running = (nodes: readonly LocalNode[]): boolean[] => nodes.map(({ agent }) => agent.running);
    assert.deepEqual(
      [running(cluster.nodes), running(cluster.removedMachines)],
      [
        [true, true],
        [false, false],
      ],
    );
    assert.deepEqual(agentsIn(cluster.folder.nodes), [cluster.node('cp-1').agent.pid, cluster.node(worker).agent.pid].sort());
  }
});

/** Process groups that run an agent of a folder, as the operating system knows them. */
function agentsIn(folder: string): number[] {
  const groups = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const text = (file: string): string => {
        try {
          return readFileSync(`/proc/${pid}/${file}`, 'utf8');
        } catch (error) {
          if (error instanceof Error && 'code' in error && ['ENOENT', 'ESRCH'].includes(String(error.code))) return '';
          throw error;
        }
      };
      if (!text('cmdline').includes(`${folder}/`)) return [];
      const stat = text('stat');
      return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
    });
  return [...new Set(groups)].sort();
}
