/** Agents and the command line with three coordinators on three etcd members, real processes all of them: one stops, one is killed, one falls silent. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ClusterSpec, CreateTokenRequest, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { parse, stringify } from 'yaml';
import { Coordinators } from '../support/coordinators.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';
import { AgentHosts } from './chaos/agent-hosts.ts';
import type { AgentSpec, Statistics } from './chaos/messages.ts';

const cluster = 'demo';
const count = 9;
const lifeSeconds = 20;

describe('three coordinators on three etcd members', function () {
  this.timeout(180_000);
  let coordinators: Coordinators;
  let hosts: AgentHosts;
  let folder: string;
  let join_: { token: string; caPins: string[] };

  before(async function () {
    if (!Coordinators.possible()) {
      process.stderr.write('skipped: three coordinators need `etcd`, which this machine does not have\n');
      this.skip();
    }
    folder = temporaryFolder('ha');
    coordinators = await Coordinators.start();
    const admin = await coordinators.admin();
    const lives = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds, workerRecovery: 'automatic' };
    await admin.createCluster(cluster, ClusterSpec.fromPartial({ nodeAddressRanges: ['127.0.0.0/8'], ...lives }));
    const request = CreateTokenRequest.fromPartial({ cluster, role: Role.WORKER, lifetime: { seconds: 3600, nanos: 0 } });
    const { token, caPin } = await admin.call(admin.client.createToken, request);
    join_ = { token, caPins: [caPin] };
    hosts = new AgentHosts(1, folder);
    for (let index = 1; index <= count; index += 1) await hosts.start(machine(`w-${index}`, coordinators.addresses));
    await until('all agents to be ready', 60_000, async () => (await hosts.statistics()).ready === count);
  });

  after(async () => {
    await hosts?.close();
    await coordinators?.dispose();
    if (folder !== undefined) rmSync(folder, { recursive: true });
  });

  function machine(node: string, endpoints: string[]): AgentSpec {
    const own = join(folder, node);
    mkdirSync(join(own, 'state'), { recursive: true, mode: 0o700 });
    mkdirSync(join(own, 'root'), { recursive: true });
    writeFileSync(join(own, 'token'), `${join_.token}\n`, { mode: 0o600 });
    const address = `127.2.0.${Number(node.replace(/\D/g, '')) + 1}`;
    return { id: node, node, address, folder: own, endpoints, caPins: join_.caPins };
  }

  function at(index: number, { connectedTo }: Statistics): number {
    return connectedTo[coordinators.addresses[index]!] ?? 0;
  }

  /** As an administrator, with a context in which these coordinators stand. */
  function evercert(endpoints: string[], ...args: string[]): Promise<RunResult> {
    const running = coordinators.all.findIndex(({ process: { running: runs } }) => runs);
    const path = coordinators.contextsFile(running);
    const file = parse(readFileSync(path, 'utf8')) as { contexts: object[] };
    const [server, ...others] = endpoints;
    const contexts = file.contexts.map((context) => ({ ...context, server, endpoints: others }));
    const mine = join(coordinators.all[running]!.adminDir, 'mine.yaml');
    writeFileSync(mine, stringify({ ...file, contexts }), { mode: 0o600 });
    return run(join(repositoryRoot, 'cli', 'bin', 'evercert'), args, { env: { EVERCERT_CONFIG: mine }, timeoutMs: 60_000 });
  }

  it('have their share of the agents each, and show who leads', async () => {
    const statistics = await hosts.statistics();
    for (const index of coordinators.all.keys()) assert.ok(at(index, statistics) > 0, JSON.stringify(statistics.connectedTo));
    const { stdout } = await evercert(['127.0.0.1:1', ...coordinators.addresses], 'get', 'coordinators', '-o', 'json');
    const { items } = JSON.parse(stdout) as { items: { status: { address: string; leader: boolean; nodes: number } }[] };
    assert.deepEqual(items.map(({ status }) => status.address).sort(), [...coordinators.addresses].sort());
    assert.equal(items.filter(({ status }) => status.leader).length, 1);
    assert.equal(
      items.reduce((sum, { status }) => sum + status.nodes, 0),
      count,
    );
  });

  it("name each other in the local admins' contexts", async () => {
    for (const [index, address] of coordinators.addresses.entries()) {
      await until('the others to be named', 10_000, () => {
        const { contexts } = parse(readFileSync(coordinators.contextsFile(index), 'utf8')) as { contexts: { endpoints?: string[] }[] };
        return [address, ...(contexts[0]?.endpoints ?? [])].sort().join() === [...coordinators.addresses].sort().join();
      });
    }
  });

  it('let the command line find the leader by itself', async () => {
    const leader = await coordinators.untilLeading();
    for (const index of coordinators.all.keys()) {
      const { stdout, stderr, status } = await evercert([coordinators.addresses[index]!], 'repair', cluster, '--dry-run');
      assert.equal(status, 0, `at ${index} (${leader} leads): ${stdout}${stderr}`);
    }
  });

  it('send their agents on when one is stopped, without one renewal that fails or one moment without a connection', async () => {
    const before = await hosts.statistics();
    const stopped = coordinators.addresses.findIndex((_, index) => at(index, before) > 0);
    await coordinators.stop(stopped);
    const after = await hosts.statistics();
    assert.equal(at(stopped, after), 0);
    assert.equal(
      coordinators.addresses.reduce((sum, _, index) => sum + at(index, after), 0),
      count,
    );
    assert.deepEqual(after.reconnectMs, before.reconnectMs);
    assert.equal(after.failedCalls, before.failedCalls);
    await coordinators.start(stopped);
    await until('agents to drift back', 2 * lifeSeconds * 1000, async () => at(stopped, await hosts.statistics()) > 0);
    assert.equal((await hosts.statistics()).failedCalls, before.failedCalls);
  });

  it('lose the leader: another leads within 15 s, and agents are with others within seconds', async () => {
    const leader = await coordinators.untilLeading();
    const before = await hosts.statistics();
    const lost = at(leader, before);
    const killedMs = performance.now();
    await coordinators.kill(leader);
    await until('the agents to be with others', 10_000, async () => {
      const { connectedTo, ready } = await hosts.statistics();
      return ready === count && coordinators.addresses.reduce((sum, address) => sum + (connectedTo[address] ?? 0), 0) === count;
    });
    await coordinators.untilLeading(leader, 15_000);
    assert.ok(performance.now() - killedMs < 15_000);
    const after = await hosts.statistics();
    const gaps = after.reconnectMs.slice(before.reconnectMs.length);
    assert.ok(gaps.length >= lost && gaps.every((ms) => ms < 5000), JSON.stringify(gaps));
    assert.equal(after.failedCalls, before.failedCalls);
    await coordinators.start(leader);
  });

  it('have one fall silent: agents notice, and renew at the others in time', async () => {
    const before = await hosts.statistics();
    const silent = coordinators.addresses.findIndex((_, index) => at(index, before) > 0);
    const { process: stopped } = coordinators.all[silent]!;
    stopped.signal('SIGSTOP');
    try {
      await until('no agent to be with the silent one', 30_000, async () => at(silent, await hosts.statistics()) === 0);
      await systemClock.sleep(lifeSeconds * 1000);
      const after = await hosts.statistics();
      assert.equal(after.ready, count);
      assert.equal(after.failedCalls, before.failedCalls, JSON.stringify(after.failuresByCode));
    } finally {
      stopped.signal('SIGCONT');
    }
    await until('the silent one to serve again', 30_000, async () => (await coordinators.instances()).length === 3);
  });

  it('take an agent in that knew only one of them, and was off past the end of its identity while that one was away', async () => {
    const only = 0;
    const node = machine('w-100', [coordinators.addresses[only]!]);
    await hosts.start(node);
    await until('it to be ready', 30_000, async () => (await hosts.statistics()).ready === count + 1);
    await hosts.stop(node.id);
    await coordinators.kill(only);
    await systemClock.sleep((lifeSeconds + 2) * 1000);
    await hosts.start(node);
    await until('it to be back', 30_000, async () => (await hosts.statistics()).ready === count + 1);
    await coordinators.start(only);
  });
});
