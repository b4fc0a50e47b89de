import assert from 'node:assert/strict';
import { provisionersOf } from '@evercert/coordinator/provisioning';
import { AdminServiceClient, ChangeType, ClusterSpec, type Event, type Node, type Replacement, type WatchResponse } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { createCsr, generateKeyPair, parseCertificate, parseCrl } from '@evercert/shared/x509';
import { createToken, deadline, enroll, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { FakeProvisioner } from '../support/fake-provisioner.ts';
import { until } from '../support/live.ts';
import { issue, Role, withCode } from '../support/node-calls.ts';
import { RecoveryCaller } from '../support/recovery.ts';
import { TestAgent } from '../support/test-agent.ts';

const cluster = 'demo';
const name = 'worker-1';

describe('a coordinator that replaces workers', function () {
  this.timeout(60_000);
  let coordinator: TestCoordinator;
  let old: TestAgent;
  let fresh: TestAgent | undefined;
  let freshKubelet = '';
  let beats: NodeJS.Timeout;
  const changes: WatchResponse[] = [];
  const provisioner = new FakeProvisioner({
    machines: [name],
    onCreate: (node, { token }) => void joinAs(node.name, token),
  });

  const call = <Request, Response>(method: Parameters<typeof unary<Request, Response>>[0], request: Request): Promise<Response> =>
    unary(method.bind(coordinator.admin) as typeof method, request, deadline);
  const nodeNow = async (): Promise<Node | undefined> =>
    (await call(coordinator.admin.listNodes, { cluster, name: '' })).nodes.find((node) => node.name === name);
  const replacements = async (): Promise<Replacement[]> =>
    (await call(coordinator.admin.listReplacements, { cluster, id: '', node: name })).replacements;
  const events = async (reason: string): Promise<Event[]> => {
    const request = { cluster, node: '', certificate: '', reason, pageSize: 1000, pageToken: '', renewalLog: false };
    return (await call(coordinator.admin.listEvents, request)).events;
  };
  const pause = async (paused: boolean, ofCluster = cluster): Promise<boolean> =>
    (await call(coordinator.admin.setReplacementPause, { cluster: ofCluster, paused, reason: paused ? 'a test' : '' })).changed;
  const joined = async (nodeName: string, token: string): Promise<TestAgent> => {
    const agent = new TestAgent(await enroll(coordinator, { token, name: nodeName }));
    await agent.connect();
    await agent.obtainAll();
    agent.report();
    return agent;
  };
  const joinAs = async (nodeName: string, token: string): Promise<void> => {
    fresh = await joined(nodeName, token);
  };

  before(async () => {
    coordinator = await startTestCoordinator({
      config: { backdate: '1s' },
      provisioners: provisionersOf(new Map([['machines', provisioner]])),
    });
    const spec = ClusterSpec.fromPartial({
      controlPlaneEndpoint: 'api.example.com',
      leafLifetimeSeconds: 10,
      replacement: { provisioner: 'machines', graceSeconds: 1, maxUnhealthy: '100%', drainTimeoutSeconds: 60, joinTimeoutSeconds: 30 },
    });
    await call(coordinator.admin.createCluster, { name: cluster, spec });
    old = await joined(name, await createToken(coordinator, cluster, { role: Role.WORKER }));
    beats = setInterval(() => {
      for (const agent of [old, fresh]) if (agent && agent.stream.ended === undefined) agent.heartbeat();
    }, 500);
    coordinator.admin
      .watch({ cluster, resources: ['replacements', 'nodes'] })
      .on('data', (change: WatchResponse) => changes.push(change))
      .on('error', () => {});
    await pause(true);
  });

  after(async () => {
    clearInterval(beats);
    for (const agent of [old, fresh]) {
      agent?.disconnect();
      agent?.node.client.close();
    }
    await coordinator.dispose();
  });

  it('lets admins alone see, pause, plan and end replacements', async () => {
    const { chain, privateKey } = old.node;
    const trustAnchors = coordinator.anchors;
    const asNode = new AdminServiceClient(coordinator.address, createClientCredentials({ trustAnchors, chain, privateKey }));
    const asStranger = new AdminServiceClient(coordinator.address, createClientCredentials({ trustAnchors }));
    const calls = (client: AdminServiceClient): Promise<unknown>[] => [
      unary(client.listReplacements.bind(client), { cluster, id: '', node: '' }, deadline),
      unary(client.setReplacementPause.bind(client), { cluster, paused: false, reason: '' }, deadline),
      unary(client.cancelReplacement.bind(client), { cluster, id: 'rp-aaaaaaaaaa' }, deadline),
      unary(client.planReplacements.bind(client), { cluster }, deadline),
    ];
    for (const refused of calls(asNode)) await assert.rejects(refused, withCode('PermissionDenied'));
    for (const refused of calls(asStranger)) await assert.rejects(refused, withCode('Unauthenticated'));
    asNode.close();
    asStranger.close();
  });

  it('pauses one cluster or all, idempotently, and lists the pauses', async () => {
    assert.equal(await pause(true), false, 'it was so already');
    assert.equal(await pause(true, ''), true);
    const { pauses } = await call(coordinator.admin.listReplacements, { cluster, id: '', node: '' });
    assert.deepEqual(
      pauses.map(({ cluster: of, by, reason }) => [of, by, reason]),
      [
        ['', 'admin/admin', 'a test'],
        [cluster, 'admin/admin', 'a test'],
      ],
    );
    assert.equal(await pause(false, ''), true);
    await assert.rejects(pause(true, 'nowhere'), withCode('NotFound'));
  });

  it('plans nothing for a cluster in which nothing fails, and tells of no cluster that is not there', async () => {
    const plan = await call(coordinator.admin.planReplacements, { cluster });
    assert.deepEqual([plan.workers, plan.unhealthy, plan.maxUnhealthy, plan.nodes.map((node) => node.replacement)], [1, 0, 1, [undefined]]);
    assert.match(plan.held, /paused/);
    await assert.rejects(call(coordinator.admin.planReplacements, { cluster: 'nowhere' }), withCode('NotFound'));
    await assert.rejects(call(coordinator.admin.cancelReplacement, { cluster, id: 'rp-aaaaaaaaaa' }), withCode('NotFound'));
  });

  it('shows a worker whose certificates have expired as held back while it is paused', async () => {
    // One goes on being renewed: at the removal there is something that has not expired.
    const endMs = Math.min(...[...old.held.values()].map(({ notAfter }) => notAfter.getTime()));
    await until('they are about to expire', 15_000, async () => endMs - systemClock.nowMs() < 3000);
    freshKubelet = (await old.obtain('kubelet-client')).serial;
    await until('the node is held back', 10_000, async () => (await nodeNow())?.replacement?.verdict === 'Held');
    const { replacement } = (await nodeNow()) ?? {};
    assert.equal(replacement?.reason, 'Paused');
    assert.match(replacement?.message ?? '', /expired at .*paused by admin\/admin/);
    const [node] = (await call(coordinator.admin.planReplacements, { cluster })).nodes;
    assert.equal(node?.replacement?.reason, 'Paused');
    assert.deepEqual(await replacements(), []);
    await until('the event', 2000, async () => (await events('ReplacementHeld')).length > 0);
    assert.ok(changes.some(({ object }) => object?.$case === 'node' && object.value.replacement?.reason === 'Paused'));
  });

  it('ends a replacement that is being drained, uncordons the node, and ends nothing twice', async () => {
    provisioner.hang('drain');
    await pause(false);
    await until('it drains', 10_000, async () => (await replacements())[0]?.step === 'Drain');
    assert.equal((await nodeNow())?.status?.phase, 'Replacing');
    const [{ id } = { id: '' }] = await replacements();
    await assert.rejects(call(coordinator.admin.deleteNode, { cluster, name }), withCode('FailedPrecondition'));
    await call(coordinator.admin.setNodeCordon, { cluster, name, cordoned: true, reason: 'not now', duration: undefined });
    const { replacement } = await call(coordinator.admin.cancelReplacement, { cluster, id });
    assert.deepEqual([replacement?.state, provisioner.cordoned.size], ['Cancelled', 0]);
    await assert.rejects(call(coordinator.admin.cancelReplacement, { cluster, id }), withCode('FailedPrecondition'));
    await until('the cordon is told', 5000, async () => (await nodeNow())?.replacement?.reason === 'Cordoned');
  });

  it('replaces the worker: the old machine is refused and shown, and the new one is Ready under its name', async () => {
    provisioner.mend('drain');
    await call(coordinator.admin.setNodeCordon, { cluster, name, cordoned: false, reason: '', duration: undefined });
    await until('it has succeeded', 20_000, async () => (await replacements())[0]?.state === 'Succeeded');
    const [record] = await replacements();
    assert.deepEqual(
      record?.steps.map(({ step, result }) => `${step} ${result}`),
      ['Cordon', 'Drain', 'Remove', 'Allocate', 'Create', 'Join', 'Verify'].map((step) => `${step} Done`),
    );
    await until('there is nothing more to decide', 5000, async () => (await nodeNow())?.replacement === undefined);
    const node = await nodeNow();
    assert.deepEqual([node?.status?.phase, node?.replacement, provisioner.machines], ['Ready', undefined, [name]]);
    assert.equal(node?.status?.identitySerial, parseCertificate(fresh?.node.chain[0] as Buffer).serial);
    assert.ok(old.stream.ended, "the old machine's stream was cut");
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    await assert.rejects(issue(old.node.client, 'kubelet-client', '', privateKey), withCode('Unauthenticated'));
    await assert.rejects(
      unary(old.node.client.renewIdentity.bind(old.node.client), { csr: await createCsr({ privateKey, commonName: name }) }, deadline),
      withCode('Unauthenticated'),
    );
    await until('it is told', 3000, async () => (await events('RemovedNodeReturned')).length > 0);
    const [returned, ...more] = await events('RemovedNodeReturned');
    assert.deepEqual([returned?.node, returned?.type, more], [name, 'Warning', []]);
    assert.match(returned?.message ?? '', /refused the machine that was node worker-1.*replacement rp-/);
    assert.ok(
      changes.some(
        ({ type, object }) => type === ChangeType.MODIFIED && object?.$case === 'replacement' && object.value.state === 'Succeeded',
      ),
    );
  });

  it('revokes what the old machine had: its identity, and what had not expired, in the CRL as well', async () => {
    const [{ id } = { id: '' }] = await replacements();
    const { revocations } = await call(coordinator.admin.listRevocations, { cluster, name: `removed-${name}-${id.slice(3)}` });
    const serials = revocations[0]?.entries.map(({ value }) => value) ?? [];
    const identity = parseCertificate(old.node.chain[0] as Buffer).serial;
    assert.equal(serials[0], identity);
    assert.ok(serials.includes(freshKubelet));
    assert.equal(revocations[0]?.source, 'replacement');
    const crl = await fetch(`http://${coordinator.webAddress}/crl/${cluster}/cluster-ca.crl`);
    const listed = parseCrl(Buffer.from(await crl.arrayBuffer())).revoked.map(({ serial }) => serial);
    assert.ok(listed.includes(freshKubelet), `${freshKubelet} is in the CRL`);
  });

  it('does the same for a node that an admin deletes; a machine that is to be a node again gets everything anew', async () => {
    const first = await joined('worker-9', await createToken(coordinator, cluster, { role: Role.WORKER }));
    await call(coordinator.admin.deleteNode, { cluster, name: 'worker-9' });
    const { revocations } = await call(coordinator.admin.listRevocations, { cluster, name: '' });
    const object = revocations.find(({ name: of }) => of.startsWith('removed-worker-9-'));
    assert.equal(object?.entries.length, 1 + first.held.size);
    await assert.rejects(issue(first.node.client, 'kubelet-client', '', first.node.privateKey), withCode('Unauthenticated'));
    const stranger = new RecoveryCaller(coordinator);
    const recovery = stranger.recover({ certificate: first.node.chain[0] as Buffer, privateKey: first.node.privateKey });
    await assert.rejects(recovery, (error: Error) => withCode('RecoveryRefused')(error) && /was removed at/.test(error.message));
    stranger.close();
    await until('it is told', 3000, async () => (await events('RemovedNodeReturned')).some(({ node }) => node === 'worker-9'));
    const second = await joined('worker-9', await createToken(coordinator, cluster, { role: Role.WORKER }));
    const marks = second.desired.certificates.map(({ renewIfIssuedBefore }) => renewIfIssuedBefore !== undefined);
    assert.ok(
      marks.every((mark) => mark),
      'what the machine still has is revoked',
    );
    for (const agent of [first, second]) {
      agent.disconnect();
      agent.node.client.close();
    }
  });

  it('knows its replacements and the removed nodes after a restart', async () => {
    await pause(true);
    coordinator = await coordinator.restart();
    assert.deepEqual(
      (await replacements()).map(({ state }) => state),
      ['Succeeded', 'Cancelled'],
    );
    assert.equal((await call(coordinator.admin.listReplacements, { cluster, id: '', node: '' })).pauses.length, 1);
  });
});
