/** The control CA changes its key under a whole coordinator: what nodes and admins with old and new certificates can do, and what whoever holds the old key cannot. */
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAdmin, runProgram } from '@evercert/cli';
import { loadMaterial } from '@evercert/cli/contexts';
import { Authorities, type AuthorityRecord, type EarlierGeneration } from '@evercert/coordinator/ca';
import { AdminServiceClient, ClusterSpec, type Event, type NodeServiceClient, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import {
  certificatesFromPem,
  createCsr,
  generateKeyPair,
  issueLeaf,
  newSerial,
  parseCertificate,
  privateKeyFromPem,
  publicKeyPin,
  spkiDer,
  verifyChain,
} from '@evercert/shared/x509';
import { type ControlGenerations, changeControlCa } from '../support/control-generations.ts';
import {
  createToken,
  deadline,
  enroll,
  nodeClient,
  startTestCoordinator,
  type TestCoordinator,
  type TestNode,
} from '../support/coordinator.ts';
import { AgentStream, desiredState, withCode } from '../support/node-calls.ts';
import { RecoveryCaller } from '../support/recovery.ts';
import { ShiftedClock } from '../support/shifted-clock.ts';

const identityLifeSeconds = 600;

/** The command line against the real coordinator. */
async function evercert(config: string, ...args: string[]): Promise<{ exitCode: number; out: string; err: string }> {
  const outcome = { out: '', err: '' };
  const exitCode = await runProgram([...args, '--config', config], {
    clock: systemClock,
    env: {},
    cwd: tmpdir(),
    homeDir: tmpdir(),
    out: (text) => {
      outcome.out += text;
    },
    err: (text) => {
      outcome.err += text;
    },
    readStdin: async () => '',
    connect: async (context, options) => connectAdmin(await loadMaterial(context), options),
  });
  return { exitCode, ...outcome };
}

describe('a rotation of the control CA', () => {
  const clock = new ShiftedClock();
  let coordinator: TestCoordinator;
  let nodes = 0;

  beforeEach(async () => {
    coordinator = await startTestCoordinator({ clock, config: { backdate: '1h' } });
    for (const [name, controlPlaneRecovery] of Object.entries({ windowed: 'repair-window', open: 'automatic' })) {
      const spec = ClusterSpec.fromPartial({
        identityLifetimeSeconds: identityLifeSeconds,
        leafLifetimeSeconds: 3600,
        controlPlaneRecovery,
      });
      await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name, spec }, deadline);
    }
  });
  afterEach(async () => {
    await coordinator.dispose();
    clock.wallMs = 0;
  });

  /** One step, seen by the coordinator. */
  async function change(step: (generations: ControlGenerations) => Promise<unknown> | unknown): Promise<AuthorityRecord> {
    const record = await changeControlCa({ store: coordinator.store, keys: coordinator.keys, clock }, step);
    const pins = record.bundle.map((der) => publicKeyPin(Buffer.from(der, 'base64'))).sort();
    await until(async () => (await info(await localAdmin())).caPins.sort().join() === pins.join());
    return record;
  }

  async function until(condition: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; !(await condition().catch(() => false)); tries++) {
      assert.ok(tries < 100, 'it takes too long');
      await clock.sleep(50);
    }
  }

  /** The credential that the coordinator keeps in its data folder, as it is now. */
  async function localAdmin(trustAnchors?: Buffer[]): Promise<AdminServiceClient> {
    const read = (name: string): Promise<Buffer> => readFile(join(coordinator.dataDir, 'admin', name));
    const [ca, chain, key] = [await read('ca.crt'), await read('admin.crt'), await read('admin.key')];
    const material = { chain: certificatesFromPem(chain), privateKey: privateKeyFromPem(key) };
    return adminClient({ trustAnchors: trustAnchors ?? certificatesFromPem(ca), ...material });
  }

  function adminClient(identity: { trustAnchors: Buffer[]; chain: Buffer[]; privateKey: KeyObject }): AdminServiceClient {
    return new AdminServiceClient(coordinator.address, createClientCredentials(identity), { 'grpc.use_local_subchannel_pool': 1 });
  }

  async function info(admin: AdminServiceClient): ReturnType<typeof getInfo> {
    try {
      return await getInfo(admin);
    } finally {
      admin.close();
    }
  }

  const getInfo = (admin: AdminServiceClient) => unary(admin.getServerInfo.bind(admin), {}, deadline);

  async function joined(cluster = 'windowed'): Promise<TestNode> {
    nodes += 1;
    const name = `cp-${nodes}`;
    return enroll(coordinator, { token: await createToken(coordinator, cluster, { role: Role.CONTROL_PLANE, nodeName: name }), name });
  }

  async function renew(client: NodeServiceClient, privateKey: KeyObject): Promise<{ chain: Buffer[]; trustAnchors: Buffer[] }> {
    const csr = await createCsr({ privateKey, commonName: 'ignored' });
    const { chain, trustAnchors } = await unary(client.renewIdentity.bind(client), { csr }, deadline);
    return { chain: chain.map((der) => Buffer.from(der)), trustAnchors: trustAnchors.map((der) => Buffer.from(der)) };
  }

  /** Somebody who holds the key of an earlier generation, and what he makes with it. */
  async function forged({ cluster, name }: AuthorityRecord, earlier: EarlierGeneration, like: { serial?: string; uri: string }) {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const authorities = new Authorities({ keys: coordinator.keys, clock, backdateMs: 60_000 });
    const der = await issueLeaf(await authorities.issuer({ ...earlier, cluster, name }), {
      spki: spkiDer(privateKey),
      keyAlgorithm: 'ecdsa-p256',
      profile: {
        commonName: 'x',
        organizations: [],
        dnsNames: [],
        ipAddresses: [],
        uris: [like.uri],
        usages: ['digital signature', 'client auth'],
      },
      serial: like.serial ?? newSerial(),
      notBefore: new Date(clock.nowMs() - 3600_000),
      notAfter: new Date(clock.nowMs() + 3600_000),
    });
    return { chain: [der], privateKey };
  }

  async function events(): Promise<Event[]> {
    const admin = await localAdmin();
    const request = { cluster: '', node: '', certificate: '', reason: '', pageSize: 500, pageToken: '', renewalLog: false };
    const found = await unary(admin.listEvents.bind(admin), request, deadline);
    admin.close();
    return found.events;
  }

  function rootOf(record: AuthorityRecord): Buffer {
    return Buffer.from(record.certificate, 'base64');
  }

  it('is told in pins, tokens and roots at each stage, to admins with either root', async () => {
    const oldPin = publicKeyPin(coordinator.anchors[0] as Buffer);
    const spread = await change((generations) => generations.spread());
    const newPin = publicKeyPin(Buffer.from(spread.next?.certificate ?? '', 'base64'));
    const whileSpreading = await info(await localAdmin(coordinator.anchors));
    assert.deepEqual([whileSpreading.caPin, whileSpreading.caPins], [oldPin, [oldPin, newPin]]);
    assert.equal(whileSpreading.trustAnchors.length, 2);
    const active = await change((generations) => generations.activate());
    for (const roots of [coordinator.anchors, [rootOf(active)]]) {
      const { caPin, caPins } = await info(await localAdmin(roots));
      assert.deepEqual([caPin, caPins], [newPin, [newPin, oldPin]]);
    }
    await change((generations) => generations.retire());
    assert.deepEqual((await info(await localAdmin(coordinator.anchors))).caPins, [newPin]);
  });

  it('leaves an admin elsewhere his way: the old certificate until the old CA is retired, and another by the new one for the asking, that ends as it would have', async () => {
    const old = { chain: certificatesFromPem(await readFile(join(coordinator.dataDir, 'admin', 'admin.crt'))) };
    const privateKey = privateKeyFromPem(await readFile(join(coordinator.dataDir, 'admin', 'admin.key')));
    const before = { ...old, privateKey, trustAnchors: coordinator.anchors };
    const active = await change(async (generations) => (await generations.spread()).activate());
    const admin = adminClient(before);
    const { privateKey: newKey } = await generateKeyPair('ecdsa-p256');
    const csr = await createCsr({ privateKey: newKey, commonName: 'somebody else' });
    const { chain, trustAnchors } = await unary(admin.renewAdminCertificate.bind(admin), { csr }, deadline);
    admin.close();
    const [was, is] = [parseCertificate(old.chain[0] as Buffer), parseCertificate(Buffer.from(chain[0] as Uint8Array))];
    assert.deepEqual([is.uris, is.notAfter], [was.uris, was.notAfter]);
    verifyChain({ chain: chain.map((der) => Buffer.from(der)), anchors: [rootOf(active)], atMs: clock.nowMs(), usage: 'client auth' });
    await change((generations) => generations.retire());
    await assert.rejects(info(adminClient(before)), withCode('Unauthenticated'));
    const anchors = trustAnchors.map((der) => Buffer.from(der));
    assert.equal((await info(adminClient({ chain: [is.der], privateKey: newKey, trustAnchors: anchors }))).identity, 'admin/admin');
  });

  it('is told to an admin at the command line elsewhere, who takes it up by one command', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'evercert-context-'));
    const config = join(folder, 'config.yaml');
    try {
      await cp(join(coordinator.dataDir, 'admin'), folder, { recursive: true, dereference: true });
      const text = (await readFile(config, 'utf8')).replace(/server: .*/, `server: ${coordinator.address}`);
      await writeFile(config, text);
      const quiet = await evercert(config, 'version');
      assert.deepEqual([quiet.exitCode, quiet.err], [0, '']);
      await change((generations) => generations.spread());
      await change((generations) => generations.activate());
      const told = await evercert(config, 'version');
      assert.match(told.err, /note: the coordinator's control CA was replaced, .* run 'evercert config refresh'/);
      assert.equal(told.out.match(/CA Pin: sha256:/g)?.length, 2);
      const refreshed = await evercert(config, 'config', 'refresh');
      assert.match(refreshed.out, /^Context "local" trusts sha256:\S+ and sha256:\S+; has another client certificate, until /);
      const again = await evercert(config, 'config', 'refresh');
      assert.deepEqual([again.out, again.err], ['Context "local" is up to date.\n', '']);
      const active = await change((generations) => generations.retire());
      const after = await evercert(config, 'version');
      assert.deepEqual([after.exitCode, after.err], [0, '']);
      assert.match((await evercert(config, 'config', 'refresh')).out, new RegExp(`trusts ${publicKeyPin(rootOf(active))}\\.`));
      assert.equal((await stat(join(folder, 'admin.key'))).mode & 0o777, 0o600);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('takes a connected node along: roots with its desired state, an identity by the new CA, no broken stream', async () => {
    const node = await joined();
    const stream = new AgentStream(node.client);
    stream.hello();
    const first = await stream.desired();
    assert.equal(first.controlTrustAnchors.length, 1);
    await change((generations) => generations.spread());
    const both = await stream.desired(first.revision);
    assert.equal(both.controlTrustAnchors.length, 2);
    const active = await change((generations) => generations.activate());
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const { chain, trustAnchors } = await renew(node.client, privateKey);
    verifyChain({ chain, anchors: [rootOf(active)], atMs: clock.nowMs(), usage: 'client auth' });
    assert.equal(stream.ended, undefined);
    const renewed = nodeClient({ address: coordinator.address, anchors: trustAnchors }, chain, privateKey);
    const next = new AgentStream(renewed);
    next.hello();
    await next.desired();
    await change((generations) => generations.retire());
    const alone = await next.until(() =>
      next.messages
        .map(({ message }) => message)
        .find((message) => message?.$case === 'desiredState' && message.value.controlTrustAnchors.length === 1),
    );
    assert.ok(alone);
    assert.equal(next.ended, undefined);
    for (const client of [node.client, renewed]) client.close();
    next.close();
  });

  it('ends the stream of a node whose identity is still by the old CA when that is retired', async () => {
    const node = await joined();
    const stream = new AgentStream(node.client);
    stream.hello();
    await stream.desired();
    await change(async (generations) => (await generations.spread()).activate());
    assert.equal(stream.ended, undefined);
    await change((generations) => generations.retire());
    const nothing = (): undefined => undefined;
    await assert.rejects(stream.until(nothing), withCode('Unauthenticated'));
    node.client.close();
  });

  it('takes no other certificate with the serial number of an identity, although nobody knows yet that the key is in strange hands', async () => {
    const node = await joined('open');
    const { serial, uris } = parseCertificate(node.chain[0] as Buffer);
    const record = await change(async (generations) => (await generations.spread()).activate());
    const thief = await forged(record, record.earlier?.[0] as EarlierGeneration, { serial, uri: uris[0] ?? '' });
    const stolen = nodeClient(coordinator, thief.chain, thief.privateKey);
    await assert.rejects(desiredState(stolen), /somebody else made it with the control CA's key/);
    const caller = new RecoveryCaller(coordinator);
    await assert.rejects(
      caller.recover({ certificate: thief.chain[0] as Buffer, privateKey: thief.privateKey }),
      withCode('RecoveryRefused'),
    );
    assert.ok((await events()).some(({ reason }) => reason === 'ForgedIdentityUsed'));
    caller.close();
    for (const client of [stolen, node.client]) client.close();
  });

  it('lets a node that slept through it come back on the old root and an identity that has not ended, without a window', async () => {
    const node = await joined();
    node.client.close();
    for (let rotations = 0; rotations < 2; rotations++) {
      await change((generations) => generations.spread());
      await change((generations) => generations.activate());
      await change((generations) => generations.retire());
    }
    const asleep = nodeClient(coordinator, node.chain, node.privateKey);
    await assert.rejects(desiredState(asleep), (error: unknown) => {
      assert.equal((error as { metadata: Record<string, string> }).metadata['reason'], 'IdentityNotValid');
      return true;
    });
    asleep.close();
    const caller = new RecoveryCaller(coordinator);
    const { privateKey: newKey } = await generateKeyPair('ecdsa-p256');
    const chain = await caller.recover({ certificate: node.chain[0] as Buffer, privateKey: node.privateKey, newKey });
    caller.close();
    const back = nodeClient(coordinator, chain, newKey);
    assert.equal((await desiredState(back)).controlTrustAnchors.length, 1);
    back.close();
  });

  it('treats an identity by a retired CA that has ended as any that has: by the policy', async () => {
    const [windowed, open] = [await joined('windowed'), await joined('open')];
    await change(async (generations) => generations.rotate());
    clock.wallMs += (identityLifeSeconds + 60) * 1000;
    const caller = new RecoveryCaller(coordinator);
    const partsOf = ({ chain, privateKey }: TestNode) => ({ certificate: chain[0] as Buffer, privateKey });
    await assert.rejects(caller.recover(partsOf(windowed)), withCode('RecoveryNotOpen'));
    assert.equal((await caller.recover(partsOf(open))).length, 1);
    caller.close();
    for (const { client } of [windowed, open]) client.close();
  });

  it('gives a request another certificate when the answer that was lost is by a key that is over', async () => {
    const node = await joined();
    const { privateKey: newKey } = await generateKeyPair('ecdsa-p256');
    const lost = await renew(node.client, newKey);
    node.client.close();
    const active = await change(async (generations) => generations.rotate());
    const caller = new RecoveryCaller(coordinator);
    const parts = { certificate: node.chain[0] as Buffer, privateKey: node.privateKey, newKey };
    const chain = await caller.recover(parts);
    assert.notDeepEqual(chain, lost.chain);
    verifyChain({ chain, anchors: [rootOf(active)], atMs: clock.nowMs(), usage: 'client auth' });
    assert.deepEqual(await caller.recover(parts), chain);
    caller.close();
  });

  describe('whose old key is in strange hands', () => {
    let node: TestNode;
    let record: AuthorityRecord;
    let earlier: EarlierGeneration;
    let serial: string;
    const uriOf = ({ chain }: TestNode): string => parseCertificate(chain[0] as Buffer).uris[0] ?? '';

    beforeEach(async () => {
      node = await joined('open');
      serial = parseCertificate(node.chain[0] as Buffer).serial;
      record = await change(async (generations) => (await generations.spread()).activate().compromise());
      earlier = record.earlier?.[0] as EarlierGeneration;
    });
    afterEach(() => node.client.close());

    it('takes its holder neither for an admin nor for a node, and the node itself still for the node', async () => {
      const admin = await forged(record, earlier, { uri: 'spiffe://evercert/admin/admin' });
      await assert.rejects(info(adminClient({ ...admin, trustAnchors: [rootOf(record)] })), withCode('Unauthenticated'));
      const thief = await forged(record, earlier, { serial, uri: uriOf(node) });
      const place = { address: coordinator.address, anchors: [rootOf(record)] };
      const stolen = nodeClient(place, thief.chain, thief.privateKey);
      await assert.rejects(desiredState(stolen), /somebody else made it with the control CA's key/);
      stolen.close();
      const honest = nodeClient(place, node.chain, node.privateKey);
      assert.ok(await desiredState(honest));
      honest.close();
    });

    it('recovers nobody by the signature: the very certificate counts, and an administrator has to open a window', async () => {
      const place = { address: coordinator.address, anchors: [rootOf(record)] };
      const caller = new RecoveryCaller(place);
      const thief = await forged(record, earlier, { serial, uri: uriOf(node) });
      await assert.rejects(
        caller.recover({ certificate: thief.chain[0] as Buffer, privateKey: thief.privateKey }),
        withCode('RecoveryRefused'),
      );
      assert.ok((await events()).some(({ reason }) => reason === 'ForgedIdentityUsed'));
      const own = { certificate: node.chain[0] as Buffer, privateKey: node.privateKey };
      await assert.rejects(caller.recover(own), withCode('RecoveryNotOpen'));
      const admin = await localAdmin();
      const repair = admin.repair({ cluster: 'open', nodes: [node.name], dryRun: false, window: { seconds: 300, nanos: 0 } });
      for await (const { event } of repair) if (event?.$case === 'progress' && event.value.step === 'WindowOpened') break;
      const chain = await caller.recover(own);
      repair.cancel();
      admin.close();
      caller.close();
      verifyChain({ chain, anchors: [rootOf(record)], atMs: clock.nowMs(), usage: 'client auth' });
    });

    it('leads nobody to the coordinator by the old root', async () => {
      await assert.rejects(info(await localAdmin(coordinator.anchors)), withCode('Unavailable'));
    });
  });
});
