/** What strangers and nodes that have gone bad could try with a whole coordinator over gRPC. */
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { ClusterSpec, CreateTokenRequest, type Event, StatusReport } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { fromServiceError, unary } from '@evercert/shared/grpc';
import { createCsr, generateKeyPair, issueLeaf, parseCertificate, spkiDer } from '@evercert/shared/x509';
import { status } from '@grpc/grpc-js';
import {
  createToken,
  deadline,
  enroll,
  nodeClient,
  startTestCoordinator,
  type TestCoordinator,
  type TestNode,
} from '../support/coordinator.ts';
import { AgentStream, desiredState, issue, Role, withCode } from '../support/node-calls.ts';
import { createTestCa } from '../unit/agent/pki.ts';

const cluster = 'demo';

describe('the coordinator under attack', () => {
  let coordinator: TestCoordinator;
  let holder: TestNode;

  before(async () => {
    coordinator = await startTestCoordinator();
    const spec = ClusterSpec.fromPartial({ nodeAddressRanges: ['2001:db8::/32'] });
    await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name: cluster, spec }, deadline);
    holder = await join('holder', ['2001:db8::1']);
  });
  after(async () => {
    holder.client.close();
    await coordinator.dispose();
  });

  async function join(name: string, addresses: string[] = []): Promise<TestNode> {
    const token = await createToken(coordinator, cluster, { role: Role.WORKER, nodeName: name });
    return enroll(coordinator, { token, name, addresses });
  }

  async function events(reason: string, node = ''): Promise<Event[]> {
    const request = {
      cluster: node === '' ? '' : cluster,
      node,
      certificate: '',
      reason,
      pageSize: 1000,
      pageToken: '',
      renewalLog: false,
    };
    return (await unary(coordinator.admin.listEvents.bind(coordinator.admin), request, deadline)).events;
  }

  async function apply(yaml: string): Promise<void> {
    const documents = [{ source: 'test', yaml }];
    await unary(coordinator.admin.apply.bind(coordinator.admin), { cluster, documents, dryRun: false }, deadline);
  }

  async function renewed({ client }: TestNode): Promise<{ chain: Buffer[]; privateKey: KeyObject }> {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const csr = await createCsr({ privateKey, commonName: 'ignored' });
    const { chain } = await unary(client.renewIdentity.bind(client), { csr }, deadline);
    return { chain: chain.map((der) => Buffer.from(der)), privateKey };
  }

  it('takes a certificate with the name of an admin or a node from no other CA', async () => {
    const { issuer } = await createTestCa(Date.now());
    for (const uri of ['spiffe://evercert/admin/admin', `spiffe://${cluster}.evercert/node/holder`]) {
      const { privateKey } = await generateKeyPair('ecdsa-p256');
      const leaf = await issueLeaf(issuer, {
        spki: spkiDer(privateKey),
        keyAlgorithm: 'ecdsa-p256',
        profile: { commonName: 'admin', organizations: [], dnsNames: [], ipAddresses: [], uris: [uri], usages: ['client auth'] },
        serial: parseCertificate(holder.chain[0] as Buffer).serial,
        notBefore: new Date(Date.now() - 60_000),
        notAfter: new Date(Date.now() + 3600_000),
      });
      const client = nodeClient(coordinator, [leaf], privateKey);
      await assert.rejects(desiredState(client), withCode('Unauthenticated'));
      client.close();
    }
  });

  it("takes a node's certificate of the cluster's CA for no identity", async () => {
    const declared = (await desiredState(holder.client)).certificates.find(({ name }) => name === 'kubelet-client');
    assert.ok(declared);
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const chain = await issue(holder.client, declared.name, declared.specHash, privateKey);
    const client = nodeClient(coordinator, chain, privateKey);
    await assert.rejects(desiredState(client), withCode('Unauthenticated'));
    client.close();
  });

  it('accepts no earlier identity of a node whose newest one was revoked', async () => {
    const node = await join('robbed');
    const next = await renewed(node);
    await desiredState(node.client);
    const { serial } = parseCertificate(next.chain[0] as Buffer);
    await apply(
      [
        'apiVersion: evercert.io/v1',
        'kind: RenewRevocation',
        'metadata: {name: robbed}',
        'spec:',
        '  description: stolen',
        '  revocations:',
        `  - {kind: serialnumber, serialNumber: "${serial}", description: stolen}`,
      ].join('\n'),
    );
    const newest = nodeClient(coordinator, next.chain, next.privateKey);
    await assert.rejects(desiredState(newest), withCode('Revoked'));
    await assert.rejects(desiredState(node.client), withCode('Revoked'));
    await assert.rejects(renewed(node), withCode('Revoked'));
    newest.close();
    node.client.close();
  });

  it('writes a bounded number of events for a node that asks for ever other certificates', async () => {
    const node = await join('asker');
    const csr = await createCsr({ privateKey: node.privateKey, commonName: 'x' });
    const ask = (name: string): Promise<unknown> =>
      unary(node.client.issueCertificate.bind(node.client), { name, csr, specHash: '', reason: '' }, deadline);
    for (let i = 0; i < 300; i++) await assert.rejects(ask(`no-such-${i}`), withCode('NotFound'));
    node.client.close();
    // Two minutes may have been touched.
    assert.ok((await events('IssueRefused', 'asker')).length <= 200);
  });

  it('looks at no more claimed addresses than a node can have, and its events end some day', async () => {
    const claimed = Array.from({ length: 5000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);
    const node = await join('claimer', claimed);
    assert.equal((await events('AddressNotAllowed', 'claimer')).length, 0, 'told in the name of a node that has not called yet');
    const stream = new AgentStream(node.client);
    stream.hello(claimed);
    await stream.desired();
    stream.close();
    node.client.close();
    const found = await events('AddressNotAllowed', 'claimer');
    assert.equal(found.length, 32);
    // By this form retention knows how old they are.
    for (const { id } of found) assert.match(id, /^\d{13}-/);
  });

  it("refuses another node's address in whatever spelling, and lets the node join all the same", async () => {
    const node = await join('speller', ['2001:DB8:0:0::1', '2001:db8::2']);
    const stream = new AgentStream(node.client);
    stream.hello(['2001:0db8:0:0:0:0:0:1', '2001:db8::2']);
    await stream.desired();
    stream.close();
    node.client.close();
    const found = await events('AddressNotAllowed', 'speller');
    assert.ok(found.length > 0 && found.every(({ message }) => message.includes('node holder holds it')));
    const { nodes } = await unary(coordinator.admin.listNodes.bind(coordinator.admin), { cluster, name: 'speller' }, deadline);
    assert.deepEqual(nodes[0]?.addresses, ['2001:db8::2']);
  });

  it('answers nobody with the certificate of a key that is not his', async () => {
    const node = await join('copycat');
    const csr = await createCsr({ privateKey: holder.privateKey, commonName: 'x' });
    await assert.rejects(unary(node.client.renewIdentity.bind(node.client), { csr }, deadline), withCode('KeyInUse'));
    node.client.close();
  });

  it('reads no body of a call that is refused, and none that is larger than a stranger or a node needs', async () => {
    const session = connect(`https://${coordinator.address}`, { rejectUnauthorized: false });
    const statusOf = async (path: string, bytes: number): Promise<unknown> => {
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      const head = Buffer.alloc(5);
      head.writeUInt32BE(bytes, 1);
      // The body itself never comes: an answer to it must not wait for it.
      stream.write(head);
      const [headers] = (await once(stream, 'response', { signal: AbortSignal.timeout(5000) })) as [Record<string, unknown>];
      stream.on('error', () => {}).close();
      return headers['grpc-status'];
    };
    assert.equal(await statusOf('/evercert.v1.AdminService/Apply', 1000), String(status.UNAUTHENTICATED));
    assert.equal(await statusOf('/evercert.v1.NodeService/IssueCertificate', 1000), String(status.UNAUTHENTICATED));
    assert.equal(await statusOf('/evercert.v1.EnrollmentService/Enroll', 129 * 1024), String(status.RESOURCE_EXHAUSTED));
    session.destroy();
    const request = { name: 'x', csr: Buffer.alloc(257 * 1024), specHash: '', reason: '' };
    await assert.rejects(unary(holder.client.issueCertificate.bind(holder.client), request, deadline), withCode('Overloaded'));
  });

  it('lets no stranger take the place of all others by calls that never end', async () => {
    const sessions = [1, 2].map(() => connect(`https://${coordinator.address}`, { rejectUnauthorized: false }));
    const begin = (session: ClientHttp2Session): ClientHttp2Stream => {
      const path = '/evercert.v1.RecoveryService/BeginRecovery';
      const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
      stream.on('error', () => {}).write(Buffer.alloc(3));
      return stream;
    };
    // Which of them is one too many depends on which connection is read first.
    const calls = Array.from({ length: 257 }, (_, i) => begin(sessions[i % 2] as ClientHttp2Session));
    const signal = AbortSignal.timeout(5000);
    const [headers] = (await Promise.race(calls.map((call) => once(call, 'response', { signal })))) as [Record<string, unknown>];
    assert.equal(headers['grpc-status'], String(status.RESOURCE_EXHAUSTED));
    // Who has an identity is not concerned.
    await desiredState(holder.client);
    for (const session of sessions) session.destroy();
    await until(async () => {
      try {
        (await join('late')).client.close();
        return true;
      } catch (error) {
        return !withCode('Overloaded')(error);
      }
    });
  });

  it('lives on after an error text that was cut inside a character', async () => {
    const token = await createToken(coordinator, cluster, { role: Role.WORKER });
    await assert.rejects(enroll(coordinator, { token, name: `${'a'.repeat(79)}\u{1f600}` }), withCode('InvalidArgument'));
    await assert.rejects(issue(holder.client, 'x'.repeat(60_000), '', holder.privateKey), withCode('NotFound'));
    await desiredState(holder.client);
  });
});

describe('a certificate whose manifest is deleted', () => {
  it('is not issued any more, not even to a request that waited in the queue when that was done', async () => {
    const coordinator = await startTestCoordinator({ config: { admission: { concurrency: 1, queue: 1000 } } });
    const { admin } = coordinator;
    try {
      await unary(admin.createCluster.bind(admin), { name: cluster, spec: ClusterSpec.fromPartial({}) }, deadline);
      const node = await enroll(coordinator, { token: await createToken(coordinator, cluster, { role: Role.WORKER }), name: 'worker' });
      const declared = (await desiredState(node.client)).certificates.find(({ name }) => name === 'kubelet-serving');
      assert.ok(declared);
      const keys = await Promise.all(Array.from({ length: 150 }, () => generateKeyPair('ecdsa-p384')));
      const waiting = keys.map(({ privateKey }) => issue(node.client, declared.name, declared.specHash, privateKey));
      const outcomes = Promise.allSettled(waiting);
      await Promise.race(waiting);
      const manifest = { cluster, kind: 'CertificateManifest', name: declared.name, dryRun: false };
      await unary(admin.deleteManifest.bind(admin), manifest, deadline);
      const deletedAtMs = Date.now();
      const refused = (await outcomes).flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
      assert.ok(refused.length > 0, 'nothing waited in the queue');
      for (const error of refused) assert.ok(withCode('NotFound')(error));
      const filter = { cluster, node: 'worker', name: declared.name, serial: '', includeSuperseded: true, pageSize: 1000, pageToken: '' };
      const { certificates } = await unary(admin.listCertificates.bind(admin), filter, deadline);
      assert.deepEqual(
        certificates.filter(({ issuedAt }) => (issuedAt?.getTime() ?? 0) > deletedAtMs).map(({ serial }) => serial),
        [],
      );
      node.client.close();
    } finally {
      await coordinator.dispose();
    }
  });
});

describe('a token', () => {
  it('gives no node labels or names that no node can have', async () => {
    const coordinator = await startTestCoordinator();
    const { admin } = coordinator;
    try {
      await unary(admin.createCluster.bind(admin), { name: cluster, spec: ClusterSpec.fromPartial({}) }, deadline);
      const order = CreateTokenRequest.fromPartial({ cluster, role: Role.WORKER, nodeName: 'w', maxUses: 1 });
      const create = (change: Partial<CreateTokenRequest>): Promise<unknown> =>
        unary(admin.createToken.bind(admin), { ...order, ...change }, deadline);
      await create({ labels: { zone: 'a' }, dnsNames: ['w.example.com'] });
      for (const change of [
        { dnsNames: ['a b'] },
        { dnsNames: ['*'] },
        { dnsNames: ['192.0.2.1'] },
        { labels: { 'a b': '' } },
        { labels: { a: '\u001b' } },
      ])
        await assert.rejects(create(change), withCode('InvalidArgument'));
    } finally {
      await coordinator.dispose();
    }
  });
});

describe('reports of nodes', () => {
  it('are kept over a restart, however much some of them tell', async () => {
    let coordinator = await startTestCoordinator();
    try {
      await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name: cluster, spec: ClusterSpec.fromPartial({}) }, deadline);
      const token = await createToken(coordinator, cluster, { role: Role.WORKER, maxUses: 10 });
      const reported = async (): Promise<number> => {
        const { nodes } = await unary(coordinator.admin.listNodes.bind(coordinator.admin), { cluster, name: '' }, deadline);
        return nodes.filter(({ status: of }) => of?.appliedRevision === 'r').length;
      };
      const joined: TestNode[] = [];
      for (let i = 0; i < 8; i++) joined.push(await enroll(coordinator, { token, name: `teller-${i}` }));
      for (const { client } of joined) {
        const stream = new AgentStream(client);
        stream.hello();
        const bundles = [{ name: 'x', issuer: '', version: 0, state: '', lastError: 'x'.repeat(200_000) }];
        stream.send({ $case: 'report', value: StatusReport.fromPartial({ appliedRevision: 'r', bundles }) });
      }
      await until(async () => (await reported()) === 8);
      coordinator = await coordinator.restart();
      assert.equal(await reported(), 8);
      for (const { client } of joined) client.close();
    } finally {
      await coordinator.dispose();
    }
  });
});

describe('a stream of an admin', () => {
  it('ends when the certificate that opened it does', async () => {
    const coordinator = await startTestCoordinator({ config: { adminCertificateLifetime: '3s' } });
    try {
      const call = coordinator.admin.watch({ cluster: '', resources: ['clusters'] });
      const ended = once(call, 'error', { signal: AbortSignal.timeout(10_000) });
      call.resume();
      const [error] = (await ended) as [Error];
      withCode('IdentityExpired')(fromServiceError(error));
    } finally {
      await coordinator.dispose();
    }
  });
});

async function until(condition: () => Promise<boolean>): Promise<void> {
  const giveUpAt = systemClock.monotonicMs() + 10_000;
  while (!(await condition())) {
    assert.ok(systemClock.monotonicMs() < giveUpAt, 'waited for 10 s in vain');
    await systemClock.sleep(20);
  }
}
