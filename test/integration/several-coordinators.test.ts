/** Two coordinators, each a process, on a real etcd: what is done at one is known at the other, and one takes the other's place. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AdminApi } from '@evercert/local';
import { ClusterSpec, type Goodbye, type Node, Role, type Welcome } from '@evercert/proto';
import { systemClock, type Timer } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem } from '@evercert/shared/x509';
import { type CoordinatorAddress, enroll, nodeClient, type TestNode } from '../support/coordinator.ts';
import { Coordinators } from '../support/coordinators.ts';
import { until } from '../support/live.ts';
import { withCode } from '../support/node-calls.ts';
import { TestAgent } from '../support/test-agent.ts';

const cluster = 'demo';
const worker = 'w-1';
/** As the specification has it; the lease of these coordinators is 3 s. */
const takeOverMs = 15_000;

describe('two coordinators on one etcd', function () {
  this.timeout(120_000);
  let coordinators: Coordinators;
  let leader: number;
  let follower: number;
  let node: TestNode;
  let agent: TestAgent;
  let beating: Timer | undefined;

  before(async function () {
    if (!Coordinators.possible()) return this.skip();
    const config = { leadership: { leaseTtl: '3s' }, heartbeatInterval: '1s', unreachableAfter: '4s', shutdownGrace: '2s' };
    coordinators = await Coordinators.start({ count: 2, etcd: { members: 1 }, config });
    leader = await coordinators.untilLeading();
    follower = 1 - leader;
    beat();
  });
  after(async () => {
    beating?.cancel();
    agent?.disconnect();
    await coordinators?.dispose();
  });

  /** As long as its stream is open, the agent is heard. */
  const beat = (): void => {
    if (agent && agent.stream.ended === undefined) agent.heartbeat();
    beating = systemClock.after(1000, beat);
  };
  const admin = (index: number): Promise<AdminApi> => coordinators.admin(index);
  const at = (index: number): CoordinatorAddress => ({
    address: coordinators.addresses[index] ?? '',
    anchors: certificatesFromPem(readFileSync(join(coordinators.all[index]?.adminDir ?? '', 'ca.crt'))),
  });
  const nodeAt = async (index: number): Promise<Node | undefined> =>
    (await (await admin(index)).listNodes(cluster)).find(({ name }) => name === worker);
  /** The same node, whose agent has gone to a coordinator. */
  const connected = async (index: number): Promise<TestAgent> => {
    const { address, anchors } = at(index);
    const there = new TestAgent({ ...node, client: nodeClient({ address, anchors }, node.chain, node.privateKey) });
    await there.connect();
    return there;
  };
  const untilPhase = async (index: number, phase: string, withinMs = 10_000): Promise<void> => {
    let status: Node['status'];
    const isSo = async (): Promise<boolean> => {
      status = (await nodeAt(index))?.status;
      return status?.phase === phase;
    };
    await until(`the node to be ${phase}`, withinMs, isSo).catch((error: unknown) => {
      throw new Error(`${String(error)}; at coordinator ${index} it is ${status?.phase}: ${status?.message}`, { cause: error });
    });
  };
  const sent = <T>(from: TestAgent, kind: 'welcome' | 'goodbye'): T | undefined =>
    from.stream.messages.flatMap(({ message }) => (message?.$case === kind ? [message.value as T] : []))[0];

  it('both serve, and both tell which of them leads', async () => {
    for (const index of [leader, follower]) {
      const api = await admin(index);
      const { coordinators: told } = await api.call(api.client.listCoordinators, {});
      assert.deepEqual(told.map(({ address }) => address).toSorted(), coordinators.addresses.toSorted());
      assert.deepEqual(
        told.filter((one) => one.leader).map(({ address }) => address),
        [coordinators.addresses[leader]],
      );
      const info = await api.call(api.client.getServerInfo, {});
      assert.deepEqual([info.leaderAddress, info.address], [coordinators.addresses[leader], coordinators.addresses[index]]);
      assert.ok(told.some(({ id }) => id === info.coordinatorId));
    }
  });

  it('answer what only the leader can do there, and elsewhere with where that is', async () => {
    await (await admin(follower)).createCluster(
      cluster,
      ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'] }),
    );
    const ask = async (index: number): Promise<unknown> => {
      const api = await admin(index);
      return api.call(api.client.planReplacements, { cluster });
    };
    await until('the leader to know the cluster', 5000, () =>
      ask(leader).then(
        () => true,
        () => false,
      ),
    );
    await assert.rejects(
      ask(follower),
      (error: EvercertError) => error.code === 'NotLeader' && error.metadata['leader'] === coordinators.addresses[leader],
    );
  });

  it('let a node join at one, and show it Ready at both', async () => {
    const { token } = await (await admin(leader)).createToken(cluster, { name: worker, role: Role.WORKER, addresses: ['127.0.0.31'] });
    node = await enroll(at(follower), { token, name: worker, role: Role.WORKER });
    agent = await connected(follower);
    await agent.obtainAll();
    agent.report();
    for (const index of [leader, follower]) await untilPhase(index, 'Ready');
    const welcome = sent<Welcome>(agent, 'welcome');
    assert.deepEqual(welcome?.endpoints.toSorted(), coordinators.addresses.toSorted());
    const api = await admin(leader);
    const { coordinators: told } = await api.call(api.client.listCoordinators, {});
    assert.deepEqual(
      told.map(({ address, nodes }) => [address, nodes]).toSorted(),
      coordinators.addresses.map((address, index) => [address, index === follower ? 1 : 0]).toSorted(),
    );
  });

  it('bring what an admin asks for at one to a node at the other', async () => {
    const { revision } = agent.desired;
    const api = await admin(leader);
    const { delivered } = await api.call(api.client.renewCertificates, { cluster, node: worker, certificates: [] });
    assert.equal(delivered, true);
    const desired = await agent.stream.desired(revision);
    assert.ok(desired.certificates.every(({ renewIfIssuedBefore }) => renewIfIssuedBefore !== undefined));
    await agent.connect();
    await agent.obtainAll();
    agent.report();
  });

  it('have the newest stream of a node, and end the older one', async () => {
    const older = agent;
    agent = await connected(leader);
    await until('the older stream to end', 5000, async () => older.stream.ended !== undefined);
    assert.match(sent<Goodbye>(older, 'goodbye')?.reason ?? '', /at another coordinator/);
    await agent.obtainAll();
    agent.report();
    await untilPhase(follower, 'Ready');
  });

  it('refuse at both what was revoked at one', async () => {
    const yaml = `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: all-w, namespace: kube-system }\nspec:\n  revocations:\n  - { kind: group, group: "system:nodes" }\n`;
    const api = await admin(follower);
    await api.call(api.client.apply, { cluster, documents: [{ source: 'r.yaml', yaml }], dryRun: false });
    const [name = ''] = agent.desired.certificates.map((one) => one.name);
    await until('the other coordinator to refuse it', 5000, () =>
      agent.obtain(name).then(
        () => false,
        (error: EvercertError) => error.code === 'Revoked',
      ),
    );
    await api.call(api.client.deleteRevocation, { cluster, name: 'all-w', dryRun: false });
    await until('it to be issued again', 5000, () =>
      agent.obtain(name).then(
        () => true,
        () => false,
      ),
    );
  });

  it('repair, at the one that leads, a node that is at the other', async () => {
    agent.disconnect();
    agent = await connected(follower);
    await agent.obtainAll();
    const served = Object.fromEntries(agent.desired.certificates.map(({ name }) => [name, { served: 'Served' }]));
    agent.report(served);
    const serials = [...agent.held.values()].map(({ serial }) => `  - { kind: serialnumber, serialNumber: "${serial}" }\n`).join('');
    const api = await admin(follower);
    await api.apply(
      cluster,
      'x.yaml',
      `apiVersion: certificates.microsoft.com/v1\nkind: RenewRevocation\nmetadata: { name: old, namespace: kube-system }\nspec:\n  revocations:\n${serials}`,
    );
    const [name = ''] = agent.desired.certificates.map((one) => one.name);
    await assert.rejects(agent.obtain(name), withCode('Revoked'));
    const { revision } = agent.desired;
    const repaired = (await admin(leader)).repair(cluster, [worker]);
    // The window that the leader has opened is heard of where the node is.
    await agent.stream.desired(revision);
    await until('the node to be issued certificates again', 5000, () =>
      agent.obtain(name).then(
        () => true,
        () => false,
      ),
    );
    agent.disconnect();
    agent = await connected(follower);
    await agent.obtainAll();
    agent.report(served);
    assert.deepEqual(
      (await repaired).map(({ node: of, result }) => [of, result]),
      [[worker, 'Repaired']],
    );
    await api.call(api.client.deleteRevocation, { cluster, name: 'old', dryRun: false });
    agent.disconnect();
    agent = await connected(leader);
  });

  it('hand over at a planned stop, and send agents to the one that stays', async () => {
    const stopping = coordinators.stop(leader);
    await until('the goodbye', 5000, async () => sent<Goodbye>(agent, 'goodbye') !== undefined);
    assert.deepEqual(sent<Goodbye>(agent, 'goodbye')?.endpoints, [coordinators.addresses[follower]]);
    const next = await connected(follower);
    await next.obtainAll();
    next.report();
    await stopping;
    const api = await admin(follower);
    const { coordinators: told } = await api.call(api.client.listCoordinators, {});
    assert.deepEqual(
      told.map(({ address, leader: leads }) => [address, leads]),
      [[coordinators.addresses[follower], true]],
    );
    agent = next;
    await untilPhase(follower, 'Ready');
    await coordinators.start(leader);
    [leader, follower] = [follower, leader];
    assert.equal(await coordinators.untilLeading(), leader, 'who comes back does not take it away');
  });

  it('take the place of one that is killed, and give its nodes their time', async () => {
    await until('the other to be told', 5000, async () => (await coordinators.instances()).length === 2);
    const killedAtMs = systemClock.monotonicMs();
    await coordinators.kill(leader);
    assert.equal(await coordinators.untilLeading(leader, takeOverMs), follower);
    assert.ok(systemClock.monotonicMs() - killedAtMs < takeOverMs);
    assert.equal((await nodeAt(follower))?.status?.phase, 'Ready', 'that its coordinator died is no fault of the node');
    agent = await connected(follower);
    await agent.obtainAll();
    agent.report();
    await untilPhase(follower, 'Ready');
    agent.disconnect();
    await untilPhase(follower, 'Unreachable', 20_000);
  });
});
