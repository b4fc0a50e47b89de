import assert from 'node:assert/strict';
import { EvercertError } from '@evercert/shared/errors';
import { type ChainCheck, generateKeyPair, type KeyPair, verifyChain } from '@evercert/shared/x509';
import fc from 'fast-check';
import { at, type Ca, hourMs, makeCa, makeLeaf, refusesOnlyWith, startMs } from './fixtures.ts';
import { bytesOf, certificates } from './samples.ts';

const kubeadmTime = Date.parse('2027-01-01T00:00:00Z');

describe('a chain', () => {
  let ca: Ca;
  let key: KeyPair;
  let leaf: Buffer;
  before(async () => {
    ca = await makeCa();
    key = await generateKeyPair('ecdsa-p384');
    leaf = await makeLeaf(ca, key);
  });

  const check = (changes: Partial<ChainCheck> = {}): void =>
    verifyChain({ chain: [leaf], anchors: [ca.der], atMs: startMs + hourMs, usage: 'server auth', ...changes });

  function refused(reason: string, changes: Partial<ChainCheck>, message: RegExp): void {
    assert.throws(
      () => check(changes),
      (error: unknown) => {
        assert.ok(error instanceof EvercertError);
        assert.deepEqual([error.code, error.metadata['reason']], ['InvalidCertificate', reason], error.message);
        assert.match(error.message, message);
        return true;
      },
    );
  }

  it('that leads to a trusted CA is accepted, also with the CA sent along', () => {
    check();
    check({ chain: [leaf, ca.der] });
    check({ chain: [ca.der], usage: 'digital signature' });
  });

  it('of kubeadm is accepted', () => {
    const anchors = [bytesOf(certificates.kubeadmCa)];
    check({ chain: [bytesOf(certificates.kubeadmApiserver)], anchors, atMs: kubeadmTime });
    check({ chain: [bytesOf(certificates.kubeadmClient)], anchors, atMs: kubeadmTime, usage: 'client auth' });
  });

  it('over an intermediate CA is accepted within the path length, and only complete and in order', () => {
    const leafBelow = bytesOf(certificates.leafOfIntermediate);
    const [rootA, middleA] = [bytesOf(certificates.rootA), bytesOf(certificates.intermediateOfA)];
    const atMs = kubeadmTime;
    check({ chain: [leafBelow, middleA], anchors: [rootA], atMs });
    check({ chain: [leafBelow, middleA, rootA], anchors: [rootA], atMs });
    check({ chain: [leafBelow], anchors: [middleA], atMs });
    refused('unknown-issuer', { chain: [leafBelow], anchors: [rootA], atMs }, /CN=intermediate, which is not trusted/);
    refused('unknown-issuer', { chain: [leafBelow, rootA, middleA], anchors: [rootA], atMs }, /next in the chain is .*CN=root-a/);
    const limited = [bytesOf(certificates.intermediateOfPathLength0), bytesOf(certificates.rootPathLength0)] as const;
    refused('not-a-ca', { chain: [leafBelow, limited[0]], anchors: [limited[1]], atMs }, /allows 0 CAs below it, but there are 1/);
  });

  it('is valid from its first to its last second', () => {
    check({ atMs: at(0).getTime() });
    check({ atMs: at(96).getTime() });
    refused('not-yet-valid', { atMs: at(0).getTime() - 1 }, /not yet valid/);
    refused('expired', { atMs: at(96).getTime() + 1 }, /has expired/);
  });

  it('ends with its CA', async () => {
    const short = await makeCa('short', 'g1', 'ecdsa-p384', at(2));
    const outlives = await makeLeaf({ ...short, issuer: { ...short.issuer, notAfter: at(96) } }, key);
    check({ chain: [outlives], anchors: [short.der] });
    refused('expired', { chain: [outlives], anchors: [short.der], atMs: at(3).getTime() }, /CN=short.* has expired/);
  });

  it('from a CA that is not trusted is refused', async () => {
    refused('unknown-issuer', { anchors: [] }, /not trusted/);
    refused('unknown-issuer', { anchors: [(await makeCa('other-ca')).der] }, /not trusted/);
    refused('unknown-issuer', { chain: [leaf, (await makeCa('other-ca')).der], anchors: [] }, /next in the chain/);
  });

  it('from an earlier generation of the CA, or from a CA of the same name, is refused', async () => {
    refused('unknown-issuer', { anchors: [(await makeCa('cluster-ca', 'g2')).der] }, /not trusted/);
    refused('unknown-issuer', { anchors: [(await makeCa('cluster-ca', 'g1')).der] }, /another key/);
  });

  it('is accepted by the right one of several CAs of one name', async () => {
    check({ anchors: [(await makeCa('cluster-ca', 'g1')).der, ca.der] });
  });

  it('with a broken signature is refused', () => {
    const broken = Buffer.from(leaf);
    broken[broken.length - 1] = (broken.at(-1) as number) ^ 1;
    refused('bad-signature', { chain: [broken] }, /signature/);
  });

  it('over a certificate that is no CA is refused', async () => {
    const plain = await makeCa('plain', '');
    const chain = [await makeLeaf(plain, key)];
    const caKey = { privateKey: plain.signer.publicKey, publicKey: plain.signer.publicKey };
    const posing = await makeLeaf(plain, caKey, { profile: { commonName: 'plain' } });
    check({ chain, anchors: [plain.der] });
    refused('not-a-ca', { chain, anchors: [posing] }, /is trusted, but it is not a CA/);
    refused('not-a-ca', { chain: [...chain, posing, plain.der], anchors: [] }, /issued a certificate, but it is not a CA/);
  });

  it('for another usage is refused', () => {
    check({ usage: 'digital signature' });
    refused('wrong-usage', { usage: 'client auth' }, /is not for client auth; its usages are digital signature, server auth/);
    refused('wrong-usage', { usage: 'key encipherment' }, /is not for key encipherment/);
  });

  it('with a critical extension that is not understood is refused', () => {
    refused('unreadable', { chain: [bytesOf(certificates.unknownCritical)] }, /1\.2\.3\.4/);
  });

  it('with what is no certificate is refused, and with changed bytes nothing but a typed error comes', async () => {
    refused('unreadable', { chain: [Buffer.from('no')] }, /cannot be read/);
    const change = fc.record({ index: fc.nat(leaf.length - 1), value: fc.nat(255), root: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(change, async ({ index, value, root }) => {
        const bytes = Buffer.from(root ? ca.der : leaf);
        bytes[index % bytes.length] = value;
        await refusesOnlyWith(['InvalidCertificate'], () => check(root ? { anchors: [bytes] } : { chain: [bytes] }));
      }),
      { numRuns: 150 },
    );
  });

  it('with nothing in it, or with too much, is refused', () => {
    refused('unreadable', { chain: [] }, /1 to 8/);
    refused('unreadable', { chain: Array.from({ length: 9 }, () => leaf) }, /1 to 8/);
  });
});
