/** What a thief could try with the recovery of identities, against a whole coordinator over gRPC. */
import assert from 'node:assert/strict';
import { ClusterSpec, type Event, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { unary } from '@evercert/shared/grpc';
import { generateKeyPair, parseCertificate, spkiDer } from '@evercert/shared/x509';
import {
  createToken,
  deadline,
  enroll,
  nodeClient,
  startTestCoordinator,
  type TestCoordinator,
  type TestNode,
} from '../support/coordinator.ts';
import { desiredState, withCode } from '../support/node-calls.ts';
import { type Attempt, RecoveryCaller } from '../support/recovery.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';
import { createTestCa } from '../unit/agent/pki.ts';

/** Identities live this long; the coordinator's clock is then moved on. A backdating of an hour keeps new ones valid for real. */
const lifeSeconds = 10;
const afterLifeMs = 13_000;

describe('the recovery of identities', () => {
  const clock = new ShiftedClock();
  let coordinator: TestCoordinator;
  let caller: RecoveryCaller;
  let nodes = 0;

  before(async () => {
    coordinator = await startTestCoordinator({ clock, config: { backdate: '1h', repair: { silentAfter: '60s' } } });
    caller = new RecoveryCaller(coordinator);
    await newCluster('windowed', 'repair-window');
    await newCluster('open', 'automatic');
    await newCluster('shut', 'never');
  });
  after(async () => {
    caller.close();
    await coordinator.dispose();
  });
  afterEach(() => {
    clock.wallMs = Math.max(clock.wallMs, 0);
  });

  async function newCluster(name: string, controlPlaneRecovery: string): Promise<void> {
    const spec = ClusterSpec.fromPartial({
      nodeAddressRanges: ['192.0.2.0/24'],
      leafLifetimeSeconds: 3600,
      identityLifetimeSeconds: lifeSeconds,
      controlPlaneRecovery,
    });
    await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name, spec }, deadline);
  }

  /** A node whose identity has just expired by the coordinator's clock. */
  async function expiredNode(cluster: string): Promise<TestNode & { certificate: Buffer; serial: string }> {
    nodes += 1;
    const name = `cp-${nodes}`;
    const token = await createToken(coordinator, cluster, { role: Role.CONTROL_PLANE, nodeName: name, addresses: [`192.0.2.${nodes}`] });
    const node = await enroll(coordinator, { token, name });
    node.client.close();
    clock.wallMs += afterLifeMs;
    const certificate = node.chain[0] as Buffer;
    return { ...node, certificate, serial: parseCertificate(certificate).serial };
  }

  /** Has an admin open the node's window, and goes away again. */
  async function openWindow(cluster: string, node: string): Promise<void> {
    const call = coordinator.admin.repair({ cluster, nodes: [node], dryRun: false, window: { seconds: 300, nanos: 0 } });
    try {
      for await (const { event } of call) if (event?.$case === 'progress' && event.value.step === 'WindowOpened') break;
    } finally {
      call.cancel();
    }
    // The coordinator sees a moment later that nobody listens any more.
    for (let i = 0; i < 50 && !(await events(cluster, '')).some(({ reason }) => reason === 'RepairInterrupted'); i++) await clock.sleep(50);
  }

  async function events(cluster: string, node: string): Promise<Event[]> {
    const request = { cluster, node, certificate: '', reason: '', pageSize: 500, pageToken: '', renewalLog: false };
    return (await unary(coordinator.admin.listEvents.bind(coordinator.admin), request, deadline)).events;
  }

  async function refusal(cluster: string, node: string, code: string): Promise<Event> {
    const found = (await events(cluster, node)).find(({ errorCode }) => errorCode === code);
    assert.ok(found, `an event with code ${code}`);
    assert.equal(found.type, 'Warning');
    assert.match(found.message, /asked from 127\.0\.0\.1:\d+/);
    return found;
  }

  it('brings an honest node back where the policy is automatic, and the old identity is of no use any more', async () => {
    const node = await expiredNode('open');
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const chain = await caller.recover({ ...node, newKey: privateKey });
    const client = nodeClient(coordinator, chain, privateKey);
    assert.ok((await desiredState(client)).certificates.length > 0);
    client.close();
    await assert.rejects(caller.recover(node), withCode('RecoveryRefused'));
  });

  it('gives an answer that was lost again, to whoever holds both keys, and no second identity', async () => {
    const node = await expiredNode('open');
    const { privateKey: newKey } = await generateKeyPair('ecdsa-p256');
    const first = await caller.recover({ ...node, newKey });
    assert.deepEqual(await caller.recover({ ...node, newKey }), first);
    await assert.rejects(caller.recover(node), withCode('RecoveryRefused'));
  });

  it('refuses a nonce that was used, although all else is right', async () => {
    const node = await expiredNode('open');
    const attempt = await caller.prepare(node);
    await caller.send(attempt);
    await assert.rejects(caller.send(attempt), withCode('RecoveryRefused'));
  });

  it('uses a nonce up by an attempt that fails', async () => {
    const node = await expiredNode('open');
    const attempt = await caller.prepare(node);
    await assert.rejects(caller.send({ ...attempt, signature: Buffer.alloc(70) }), withCode('RecoveryRefused'));
    await assert.rejects(caller.send(attempt), withCode('RecoveryRefused'));
  });

  it('refuses a nonce that it never gave, and one that is older than a minute', async () => {
    const node = await expiredNode('open');
    const invented = await caller.prepare({ ...node, nonce: Buffer.alloc(32, 7) });
    await assert.rejects(caller.send(invented), withCode('RecoveryRefused'));
    const old = await caller.prepare(node);
    clock.monotonicShiftMs += 60_001;
    await assert.rejects(caller.send(old), withCode('RecoveryRefused'));
    await caller.recover(node);
  });

  it("refuses another node's key", async () => {
    const [victim, thief] = [await expiredNode('open'), await expiredNode('open')];
    await assert.rejects(caller.recover({ ...victim, privateKey: thief.privateKey }), withCode('RecoveryRefused'));
    await caller.recover(victim);
  });

  it('refuses a signature over another nonce, certificate or request', async () => {
    const [node, other] = [await expiredNode('open'), await expiredNode('open')];
    const changes: ((attempt: Attempt, another: Attempt) => Partial<Attempt>)[] = [
      (_, another) => ({ nonce: another.nonce }),
      (_, another) => ({ certificate: another.certificate }),
      (_, another) => ({ csr: another.csr }),
      () => ({ signature: Buffer.alloc(0) }),
      ({ signature }) => ({ signature: Buffer.from(signature).reverse() }),
    ];
    for (const change of changes) {
      const [attempt, another] = [await caller.prepare(node), await caller.prepare(other)];
      await assert.rejects(caller.send({ ...attempt, ...change(attempt, another) }), withCode('RecoveryRefused'));
    }
  });

  it("refuses a certificate of another CA with the node's own name, and the admin's", async () => {
    const node = await expiredNode('open');
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const foreign = await createTestCa(clock.nowMs(), 'evercert-control-ca');
    const certificate = await foreign.leaf(spkiDer(privateKey), { notBeforeMs: clock.nowMs() - 60_000, notAfterMs: clock.nowMs() - 1000 });
    await assert.rejects(caller.recover({ certificate, privateKey }), withCode('RecoveryRefused'));
    await assert.rejects(caller.recover({ certificate: coordinator.anchors[0] as Buffer, privateKey }), withCode('RecoveryRefused'));
    await assert.rejects(
      caller.recover({ certificate: Buffer.from('no certificate'), privateKey: node.privateKey }),
      withCode('RecoveryRefused'),
    );
  });

  it('tells strangers the same whatever is wrong', async () => {
    const node = await expiredNode('open');
    const messages = new Set<string>();
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    for (const name of ['cp-unknown', node.name]) {
      const attempt = await caller.prepare({ certificate: node.certificate, privateKey });
      await caller
        .send(attempt)
        .catch((error: EvercertError) => messages.add(`${name === node.name} ${error.code} ${error.message}`.replace(/^\w+ /, '')));
    }
    assert.equal(messages.size, 1);
  });

  it('refuses a node whose window is closed, and says when to ask again and what an administrator can do', async () => {
    const node = await expiredNode('windowed');
    await assert.rejects(caller.recover(node), (error) => {
      assert.ok(error instanceof EvercertError && error.code === 'RecoveryNotOpen');
      assert.ok((error.retryAfterMs ?? 0) >= 1000 && (error.retryAfterMs ?? 0) <= 30_000);
      assert.match(error.message, /evercert repair windowed/);
      return true;
    });
    await refusal('windowed', node.name, 'RecoveryNotOpen');
  });

  it('lets a node back while its window is open, and no other', async () => {
    const [node, other] = [await expiredNode('windowed'), await expiredNode('windowed')];
    await openWindow('windowed', node.name);
    await assert.rejects(caller.recover(other), withCode('RecoveryNotOpen'));
    await caller.recover(node);
  });

  it('refuses after the time of the window, also when the clock is moved back into it', async () => {
    const node = await expiredNode('windowed');
    await openWindow('windowed', node.name);
    clock.wallMs += 301_000;
    await assert.rejects(caller.recover(node), withCode('RecoveryNotOpen'));
    clock.wallMs -= 250_000;
    await assert.rejects(caller.recover(node), withCode('FailedPrecondition'));
    clock.wallMs += 250_000;
    await refusal('windowed', node.name, 'FailedPrecondition');
  });

  it('refuses everybody while the clock is behind, also after a restart, and goes on when it is right again', async () => {
    const node = await expiredNode('open');
    clock.wallMs -= 200_000;
    await assert.rejects(caller.recover(node), withCode('FailedPrecondition'));
    caller.close();
    coordinator = await coordinator.restart();
    caller = new RecoveryCaller(coordinator);
    await assert.rejects(caller.recover(node), withCode('FailedPrecondition'));
    clock.wallMs += 200_000;
    await caller.recover(node);
  });

  it('refuses where the policy is never', async () => {
    const node = await expiredNode('shut');
    await assert.rejects(caller.recover(node), withCode('PermissionDenied'));
    await refusal('shut', node.name, 'PermissionDenied');
  });

  it('refuses a revoked identity, be the policy automatic or a window open', async () => {
    for (const cluster of ['open', 'windowed']) {
      const node = await expiredNode(cluster);
      if (cluster === 'windowed') await openWindow(cluster, node.name);
      await revoke(cluster, node.serial);
      await assert.rejects(caller.recover(node), withCode('Revoked'));
      await refusal(cluster, node.name, 'Revoked');
    }
  });

  it('refuses a stolen copy of the folder after the node has renewed, with an alarm', async () => {
    const node = await expiredNode('open');
    const stolen = { ...node };
    await caller.recover(node);
    await assert.rejects(caller.recover(stolen), withCode('RecoveryRefused'));
    const alarm = await refusal('open', node.name, 'RecoveryRefused');
    assert.equal(alarm.reason, 'StaleIdentityUsed');
    assert.equal(alarm.serial, node.serial);
  });

  it('wants a new key', async () => {
    const node = await expiredNode('open');
    await assert.rejects(caller.recover({ ...node, newKey: node.privateKey }), withCode('KeyInUse'));
  });

  it('sheds whoever begins too often, with a hint', async () => {
    const greedy: Promise<unknown>[] = [];
    for (let i = 0; i < 400; i++) greedy.push(caller.begin());
    const results = await Promise.allSettled(greedy);
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as EvercertError] : []));
    assert.ok(refused.length > 0);
    assert.ok(refused.every(({ code, retryAfterMs }) => code === 'Overloaded' && (retryAfterMs ?? 0) > 0));
  });

  async function revoke(cluster: string, serial: string): Promise<void> {
    const yaml = `apiVersion: evercert.io/v1
kind: RenewRevocation
metadata: { name: stolen }
spec:
  revocations:
  - { kind: serialnumber, serialNumber: "${serial}", description: stolen }
`;
    const request = { cluster, documents: [{ source: 'revocation.yaml', yaml }], dryRun: false };
    await unary(coordinator.admin.apply.bind(coordinator.admin), request, deadline);
  }
});
