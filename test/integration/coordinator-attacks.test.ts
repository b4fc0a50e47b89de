/** What strangers and nodes that have gone bad could try with a whole coordinator over gRPC. */
import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { ClusterSpec, type Event } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { createCsr, generateKeyPair, issueLeaf, parseCertificate, spkiDer } from '@evercert/shared/x509';
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
    const request = { cluster: node === '' ? '' : cluster, node, certificate: '', reason, pageSize: 1000, pageToken: '' };
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
    const claimed = Array.from({ length: 20_000 }, (_, i) => `198.51.${i >> 8}.${i & 255}`);
    const node = await join('claimer', claimed);
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
});
