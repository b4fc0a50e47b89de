/** Three coordinators with their defaults, on an etcd of three members: how long it takes until another leads, and that nothing an agent asks for fails at a planned stop. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterSpec, type Goodbye, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem } from '@evercert/shared/x509';
import { type CoordinatorAddress, enroll, nodeClient, type TestNode } from '../support/coordinator.ts';
import { Coordinators } from '../support/coordinators.ts';
import { until } from '../support/live.ts';
import { TestAgent } from '../support/test-agent.ts';

const cluster = 'demo';
/** As the specification has it. */
const takeOverMs = 15_000;
const rounds = 3;
const agents = 8;

describe('the leader of three coordinators', function () {
  this.timeout(180_000);
  let coordinators: Coordinators;

  before(async function () {
    if (!Coordinators.possible()) return this.skip();
    const config = { leadership: { leaseTtl: '10s' }, heartbeatInterval: '10s', unreachableAfter: '40s', shutdownGrace: '10s' };
    coordinators = await Coordinators.start({ count: 3, etcd: { members: 3 }, config });
  });
  after(() => coordinators?.dispose());

  const at = (index: number): CoordinatorAddress => ({
    address: coordinators.addresses[index] ?? '',
    anchors: certificatesFromPem(readFileSync(join(coordinators.all[index]?.adminDir ?? '', 'ca.crt'))),
  });
  const pid = (index: number): number => coordinators.all[index]?.process.pid ?? assert.fail('it does not run');
  /** How long it takes until another leads. */
  const timed = async (leader: number): Promise<number> => {
    const sinceMs = systemClock.monotonicMs();
    await coordinators.untilLeading(leader, takeOverMs);
    return systemClock.monotonicMs() - sinceMs;
  };
  const tell = (what: string, times: readonly number[]): void =>
    console.log(`      ${what}: ${times.map((ms) => (ms / 1000).toFixed(2)).join(', ')} s`);

  it('is another within 15 s when it is killed', async () => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const leader = await coordinators.untilLeading();
      await coordinators.kill(leader);
      times.push(await timed(leader));
      await coordinators.start(leader);
    }
    tell('killed', times);
  });

  it('is another at once when it is stopped', async () => {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const leader = await coordinators.untilLeading();
      const stopping = coordinators.stop(leader);
      times.push(await timed(leader));
      await stopping;
      await coordinators.start(leader);
    }
    tell('stopped', times);
    assert.ok(
      times.every((ms) => ms < 3000),
      `${times.join()}`,
    );
  });

  it('is another when it stands still, which does not take it back when it goes on', async () => {
    const leader = await coordinators.untilLeading();
    // Whoever is asked has to answer.
    const asked = coordinators.all[(leader + 1) % 3];
    process.kill(pid(leader), 'SIGSTOP');
    try {
      const leads = async (): Promise<string | undefined> => {
        const admin = await asked?.admin();
        const found = await admin?.call(admin.client.listCoordinators, {});
        return found?.coordinators.find((one) => one.leader)?.address;
      };
      const endMs = systemClock.monotonicMs() + takeOverMs;
      let now = await leads();
      while (now === undefined || now === coordinators.addresses[leader]) {
        assert.ok(systemClock.monotonicMs() < endMs, `${now} leads`);
        await systemClock.sleep(200);
        now = await leads();
      }
      process.kill(pid(leader), 'SIGCONT');
      await systemClock.sleep(3000);
      assert.equal(await leads(), now);
      const admin = await coordinators.all[leader]?.admin();
      const told = await admin?.call(admin.client.getServerInfo, {});
      assert.equal(told?.leaderAddress, now, 'it knows that itself');
    } finally {
      process.kill(pid(leader), 'SIGCONT');
    }
  });

  it('answers all that was asked of it before it stops', async () => {
    const leader = await coordinators.untilLeading();
    const other = (leader + 1) % 3;
    const admin = await coordinators.admin(leader);
    const spec = ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', nodeAddressRanges: ['127.0.0.0/8'] });
    await admin.createCluster(cluster, spec);
    const nodes = await Promise.all(
      Array.from({ length: agents }, async (_, index): Promise<TestNode> => {
        const name = `w-${index}`;
        const { token } = await admin.createToken(cluster, { name, role: Role.WORKER, addresses: [`127.0.0.${30 + index}`] });
        return enroll(at(leader), { token, name, role: Role.WORKER });
      }),
    );
    let ended = false;
    let renewals = 0;
    const goodbyeOf = (agent: TestAgent): Goodbye | undefined =>
      agent.stream.messages.flatMap(({ message }) => (message?.$case === 'goodbye' ? [message.value] : []))[0];
    /** Renews without a pause; goes to another coordinator when it is told to. */
    const run = async (node: TestNode): Promise<void> => {
      let agent = new TestAgent(node);
      await agent.connect();
      const [name = ''] = agent.desired.certificates.map((one) => one.name);
      while (!ended) {
        const goodbye = goodbyeOf(agent);
        if (goodbye) {
          const next = coordinators.addresses.indexOf(goodbye.endpoints[0] ?? '');
          assert.ok(next >= 0 && next !== leader, goodbye.endpoints.join());
          const { address, anchors } = at(next);
          agent = new TestAgent({ ...node, client: nodeClient({ address, anchors }, node.chain, node.privateKey) });
          await agent.connect();
        }
        try {
          await agent.obtain(name);
          renewals += 1;
        } catch (error) {
          // Not sent: it had stopped to listen when it was made, and had said so before.
          const unsent = error instanceof EvercertError && error.message.startsWith('No connection established');
          if (!unsent || !goodbyeOf(agent)) throw error;
        }
      }
      agent.disconnect();
    };
    const running = Promise.all(nodes.map(run));
    const moreThan = (count: number): Promise<unknown> => Promise.race([running, until('renewals', 60_000, async () => renewals > count)]);
    await moreThan(4 * agents);
    await coordinators.stop(leader);
    await moreThan(renewals + 2 * agents);
    ended = true;
    await running;
    assert.equal((await (await coordinators.admin(other)).listNodes(cluster)).length, agents);
    await coordinators.start(leader);
  });

  it('is there again when the store is, and nobody takes agents meanwhile', async () => {
    const leader = await coordinators.untilLeading();
    const admin = await coordinators.admin(leader);
    const name = 'late';
    const { token } = await admin.createToken(cluster, { name, role: Role.WORKER, addresses: ['127.0.0.60'] });
    const node = await enroll(at(leader), { token, name, role: Role.WORKER });
    const agent = new TestAgent(node);
    await agent.connect();
    for (const index of coordinators.etcd.members.keys()) await coordinators.etcd.kill(index);
    await until('the agent to be sent away', 30_000, async () => agent.stream.ended !== undefined);
    for (const index of coordinators.all.keys()) {
      const { address, anchors } = at(index);
      const there = new TestAgent({ ...node, client: nodeClient({ address, anchors }, node.chain, node.privateKey) });
      await until('every coordinator to refuse it', 15_000, () => there.connect().then(() => false, isUnavailable));
    }
    for (const index of coordinators.etcd.members.keys()) await coordinators.etcd.start(index);
    await coordinators.untilLeading();
    await until('the agent to be taken again', 30_000, () =>
      agent.connect().then(
        () => true,
        () => false,
      ),
    );
    agent.disconnect();
  });
});

function isUnavailable(error: unknown): boolean {
  return error instanceof EvercertError && error.code === 'Unavailable';
}
