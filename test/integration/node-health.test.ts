import assert from 'node:assert/strict';
import { ClusterSpec, type Event, type Node, type WatchResponse } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { createToken, deadline, enroll, nodeClient, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { Role, withCode } from '../support/node-calls.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';
import { type Held, TestAgent } from '../support/test-agent.ts';

const cluster = 'demo';
const unreachableMs = 2000;
const hour = 3600_000;

describe("a node's health in a coordinator", function () {
  this.timeout(30_000);
  const clock = new ShiftedClock();
  let coordinator: TestCoordinator;
  let agent: TestAgent;
  let beats: NodeJS.Timeout | undefined;

  const call = <Request, Response>(method: Parameters<typeof unary<Request, Response>>[0], request: Request): Promise<Response> =>
    unary(method.bind(coordinator.admin) as typeof method, request, deadline);
  const nodeNow = async (name = 'worker-1'): Promise<Node> => {
    const [found] = (await call(coordinator.admin.listNodes, { cluster, name })).nodes;
    assert.ok(found);
    return found;
  };
  const phase = async (): Promise<string> => (await nodeNow()).status?.phase ?? '';
  const condition = async (type: string) => (await nodeNow()).status?.conditions.find((one) => one.type === type);
  const events = async (filter: { reason?: string; renewalLog?: boolean; node?: string } = {}): Promise<Event[]> => {
    const request = { cluster, node: 'worker-1', certificate: '', reason: '', pageSize: 1000, pageToken: '', renewalLog: false, ...filter };
    return (await call(coordinator.admin.listEvents, request)).events;
  };
  /** Asks until the answer is the wanted one. */
  const until = async <T>(ask: () => Promise<T>, wanted: T): Promise<void> => {
    for (let last = await ask(); last !== wanted; last = await ask()) {
      assert.ok(clock.monotonicMs() < timeLimit, `waited for ${String(wanted)}, it is ${String(last)}`);
      await clock.sleep(50);
    }
  };
  let timeLimit = 0;
  const wellAgain = async (): Promise<void> => {
    agent.report();
    await until(phase, 'Ready');
  };

  before(async () => {
    coordinator = await startTestCoordinator({ clock, config: { unreachableAfter: '2s', backdate: '6h' } });
    await call(coordinator.admin.createCluster, {
      name: cluster,
      spec: ClusterSpec.fromPartial({ controlPlaneEndpoint: 'api.example.com' }),
    });
    const token = await createToken(coordinator, cluster, { role: Role.WORKER });
    agent = new TestAgent(await enroll(coordinator, { token, name: 'worker-1', addresses: [] }));
  });

  beforeEach(() => {
    timeLimit = clock.monotonicMs() + 12_000;
    beats = setInterval(() => agent.heartbeat(), 500);
  });

  afterEach(() => clearInterval(beats));

  after(async () => {
    clearInterval(beats);
    agent.disconnect();
    agent.node.client.close();
    await coordinator.dispose();
  });

  it('is Joining until everything declared is in place, then Ready, and each is an event', async () => {
    clearInterval(beats);
    assert.equal(await phase(), 'Joining');
    assert.equal((await condition('Reachable'))?.reason, 'NeverSeen');
    await agent.connect();
    agent.report();
    await until(async () => (await condition('CertificatesValid'))?.reason, 'NotIssued');
    await agent.obtainAll();
    await wellAgain();
    const status = (await nodeNow()).status;
    assert.deepEqual(
      status?.conditions.map(({ type, status: truth }) => `${type} ${truth}`),
      [
        'Ready True',
        'Reachable True',
        'CertificatesValid True',
        'RenewalsSucceeding True',
        'ComponentsServing True',
        'TrustBundleCurrent True',
      ],
    );
    assert.ok((status?.phaseSince?.getTime() ?? 0) > Date.now() - 10_000);
    await until(async () => (await events({ reason: 'NodeReady' })).length, 1);
    const [joining] = await events({ reason: 'NodeJoining' });
    assert.deepEqual([joining?.type, joining?.actor, joining?.source], ['Normal', 'coordinator', 'certificate-renewal-worker']);
  });

  it('is Unreachable by time alone, which a watch shows, and Ready with the next heartbeat', async () => {
    clearInterval(beats);
    const seen: string[] = [];
    const watch = coordinator.admin.watch({ cluster, resources: ['nodes'] });
    watch.on('error', () => undefined);
    watch.on('data', ({ object }: WatchResponse) => {
      if (object?.$case === 'node') seen.push(object.value.status?.phase ?? '');
    });
    await until(async () => seen.at(-1), 'Unreachable');
    const reachable = await condition('Reachable');
    assert.deepEqual([reachable?.status, reachable?.reason], ['False', 'HeartbeatsMissing']);
    assert.equal((await condition('RenewalsSucceeding'))?.status, 'Unknown');
    agent.heartbeat();
    await until(phase, 'Ready');
    watch.cancel();
    assert.deepEqual([...new Set(seen)], ['Ready', 'Unreachable']);
    await until(async () => (await events({ reason: 'NodeUnreachable' })).length, 1);
    await until(async () => (await events({ reason: 'NodeReady' })).length, 2);
  });

  it('does not mind steps of the wall clock, nor that the coordinator itself was asleep', async () => {
    const before = (await nodeNow()).status;
    for (const step of [3 * hour, -6 * hour, 3 * hour]) {
      clock.wallMs += step;
      await clock.sleep(1200);
      assert.equal(await phase(), 'Ready', `after a step of ${step / hour} h`);
    }
    // Both clocks go on while nothing of this process does.
    clock.wallMs += hour;
    clock.monotonicShiftMs += hour;
    timeLimit += hour;
    await clock.sleep(1200);
    assert.equal(await phase(), 'Ready');
    const since = (status: Node['status']) => status?.conditions.map((one) => one.lastTransitionTime?.getTime());
    assert.deepEqual(since((await nodeNow()).status), since(before));
    assert.equal((await events({ reason: 'NodeUnreachable' })).length, 1);
  });

  it('is RenewalFailing, Expiring and Expired while renewals fail, with the log of the worker', async () => {
    const failing = { state: 'RenewalFailing', failures: 1, lastError: 'no answer', lastErrorCode: 'Unavailable' };
    agent.event('e1', 'RenewalFailed', 'kubelet-client');
    agent.report({ 'kubelet-client': failing });
    await until(phase, 'RenewalFailing');
    const { notBefore } = agent.held.get('kubelet-client') as Held;
    const nextRenewalAt = new Date(notBefore.getTime() + 10);
    const ends = (inMs: number) => ({ 'kubelet-client': { ...failing, nextRenewalAt, notAfter: new Date(clock.nowMs() + inMs) } });
    agent.report(ends(3000));
    await until(phase, 'Expiring');
    await until(phase, 'Expired');
    assert.equal((await condition('CertificatesValid'))?.reason, 'Expired');
    await until(async () => (await events({ reason: 'NodeExpired' })).length, 1);
    const [failed] = await events({ reason: 'RenewalFailed' });
    assert.deepEqual([failed?.source, failed?.type, failed?.errorCode], ['certificate-renewal-worker', 'Warning', 'Unavailable']);
    await wellAgain();
  });

  it('shows a certificate in use that was never issued, and an old one that was left behind', async () => {
    agent.report({ 'kubelet-client': { serial: 'ab'.repeat(16) } });
    await until(async () => (await condition('CertificatesValid'))?.reason, 'UnknownCertificate');
    assert.match((await nodeNow()).status?.message ?? '', /never issued to it here: serial abab/);
    await wellAgain();

    // Of another CA, under a serial number of ours.
    agent.report({ 'kubelet-client': { fingerprint: 'cd'.repeat(32) } });
    await until(async () => (await condition('CertificatesValid'))?.reason, 'UnknownCertificate');
    await wellAgain();

    const renewed = await agent.obtain('kubelet-client');
    agent.report();
    await clock.sleep(200);
    assert.equal(await phase(), 'Ready', 'a renewal has its time to get into place');
    clock.wallMs += 6 * 60_000;
    await until(async () => (await condition('CertificatesValid'))?.reason, 'StaleCertificate');
    agent.held.set('kubelet-client', renewed);
    await wellAgain();
  });

  it('fails its renewal while a revocation refuses it, and tells the refusal in its log', async () => {
    const yaml =
      'apiVersion: evercert.io/v1\nkind: RenewRevocation\nmetadata: { name: incident }\nspec:\n  revocations:\n  - { kind: group, group: "system:nodes" }\n';
    await call(coordinator.admin.apply, { cluster, documents: [{ source: 'r.yaml', yaml }], dryRun: false });
    await until(phase, 'RenewalFailing');
    assert.equal((await condition('RenewalsSucceeding'))?.reason, 'Revoked');
    await assert.rejects(agent.obtain('kubelet-client'), withCode('Revoked'));
    await until(async () => (await events({ reason: 'RenewalRefused', renewalLog: true }))[0]?.source, 'certificate-renewal-worker');
    await call(coordinator.admin.deleteRevocation, { cluster, name: 'incident', dryRun: false });
    await until(phase, 'Ready');
  });

  it('is cordoned and uncordoned, by whom, when and why', async () => {
    const set = (cordoned: boolean, reason = '', seconds = 0) => {
      const duration = seconds === 0 ? undefined : { seconds, nanos: 0 };
      return call(coordinator.admin.setNodeCordon, { cluster, name: 'worker-1', cordoned, reason, duration });
    };
    const first = await set(true, 'disk');
    assert.deepEqual([first.changed, first.node?.cordon?.by, first.node?.cordon?.reason], [true, 'admin/admin', 'disk']);
    assert.equal((await set(true, 'disk')).changed, false);
    const timed = await set(true, 'fan', 60);
    assert.deepEqual([timed.changed, timed.node?.cordon?.reason], [true, 'fan']);
    assert.ok(Math.abs((timed.node?.cordon?.until?.getTime() ?? 0) - clock.nowMs() - 60_000) < 5000);
    await assert.rejects(set(true, '', 31 * 86_400), withCode('InvalidArgument'));
    const again = await set(true, 'disk');
    assert.deepEqual([again.changed, again.node?.cordon?.until], [true, undefined]);
    const node = 'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: worker-1, labels: { rack: a } }\nspec: { role: worker }\n';
    await call(coordinator.admin.apply, { cluster, documents: [{ source: 'n.yaml', yaml: node }], dryRun: false });
    assert.deepEqual([(await nodeNow()).labels['rack'], (await nodeNow()).cordon?.reason], ['a', 'disk']);
    assert.equal(await phase(), 'Ready');
    assert.equal((await set(false)).node?.cordon, undefined);
    const none = { cluster, name: 'nobody', cordoned: true, reason: '', duration: undefined };
    await assert.rejects(call(coordinator.admin.setNodeCordon, none), withCode('NotFound'));
    await assert.rejects(set(true, 'x'.repeat(257)), withCode('InvalidArgument'));
    await until(async () => (await events({ reason: 'NodeUncordoned' })).length, 1);
  });

  it('is as it was after a restart, with its times, until the node had its time to be heard', async () => {
    clearInterval(beats);
    const before = (await nodeNow()).status;
    const count = async (): Promise<number> => (await events({ renewalLog: true })).filter(({ actor }) => actor === 'coordinator').length;
    await clock.sleep(1200);
    const told = await count();
    agent.disconnect();
    agent.node.client.close();
    // Away for an hour: every node was silent for longer than allowed.
    clock.wallMs += hour;
    coordinator = await coordinator.restart();
    const after = (await nodeNow()).status;
    assert.equal(after?.phase, 'Ready');
    assert.deepEqual(after.conditions, before?.conditions);
    assert.deepEqual(after.phaseSince, before?.phaseSince);
    agent.node.client = nodeClient(coordinator, agent.node.chain, agent.node.privateKey);
    await agent.connect();
    agent.report();
    beats = setInterval(() => agent.heartbeat(), 500);
    await clock.sleep(unreachableMs + 1500);
    assert.equal(await phase(), 'Ready');
    assert.equal(await count(), told, 'nothing is told of what has not happened');

    clearInterval(beats);
    agent.disconnect();
    agent.node.client.close();
    coordinator = await coordinator.restart();
    assert.equal(await phase(), 'Ready');
    await until(phase, 'Unreachable');
    coordinator = await coordinator.restart();
    assert.equal(await phase(), 'Unreachable', 'nor is anybody well for a restart');
    agent.node.client = nodeClient(coordinator, agent.node.chain, agent.node.privateKey);
    await agent.connect();
    await wellAgain();
  });

  it('leaves its log when it is deleted', async () => {
    clearInterval(beats);
    await call(coordinator.admin.deleteNode, { cluster, name: 'worker-1' });
    await assert.rejects(nodeNow(), withCode('NotFound'));
    await clock.sleep(1200);
    const log = await events({ renewalLog: true });
    const reasons = log.map(({ reason }) => reason);
    // Its machine, which goes on, is told of since.
    assert.equal(
      reasons.find((reason) => reason !== 'RemovedNodeReturned'),
      'NodeDeleted',
    );
    for (const reason of ['CertificateIssued', 'RenewalFailed', 'RenewalRefused', 'NodeExpired', 'NodeReady', 'NodeCordoned'])
      assert.ok(reasons.includes(reason), reason);
    assert.ok(log.every(({ source }) => source === 'certificate-renewal-worker'));
    const token = await createToken(coordinator, cluster, { role: Role.WORKER });
    const again = await enroll(coordinator, { token, name: 'worker-1', addresses: [] });
    again.client.close();
    assert.equal(await phase(), 'Joining', 'a new node of the name begins anew');
  });
});
