import assert from 'node:assert/strict';
import {
  type CaCertificateRequest,
  createCaCsr,
  createRootCertificate,
  encryptedPrivateKeyToPem,
  generateKeyPair,
  issueCa,
  newSerial,
  openCsr,
  parseCertificate,
  parseCsr,
  parseName,
  prepareIssuer,
  privateKeyFromPem,
  signerFor,
  spkiDer,
  verifyChain,
} from '@evercert/shared/x509';
import { at, type Ca, makeCa, makeCsr, makeLeaf, withCode } from './fixtures.ts';

describe('a CA under another', () => {
  let root: Ca;
  let key: Awaited<ReturnType<typeof generateKeyPair>>;
  let request: CaCertificateRequest;
  before(async () => {
    root = await makeCa('demo root', 'r1');
    key = await generateKeyPair('ecdsa-p384');
    const csr = await openCsr(await createCaCsr(signerFor(key.privateKey), 'kubernetes-ca', 'b2'));
    request = { subject: csr.subject, spki: csr.spki, pathLength: 0, serial: newSerial(), notBefore: at(0), notAfter: at(8760) };
  });

  it('is asked for by a request that says so, with the subject that tells generations apart, and proves its key', async () => {
    const csr = parseCsr(await createCaCsr(signerFor(key.privateKey), 'kubernetes-ca', 'b2'));
    assert.equal(csr.requested.isCa, true);
    assert.equal(parseName(csr.subject).text, 'CN=kubernetes-ca,serialNumber=b2');
    assert.equal(parseCsr(await makeCsr(key)).requested.isCa, false);
  });

  it('has what it was asked for, and what a CA needs', async () => {
    const info = parseCertificate(await issueCa(root.issuer, request));
    assert.deepEqual(
      [info.subject, info.issuer, info.isCa, info.caParts, info.pathLength, info.unknownCriticalExtensions],
      [
        'CN=kubernetes-ca,serialNumber=b2',
        'CN=demo root,serialNumber=r1',
        true,
        { constraint: true, certSign: true, crlSign: true },
        0,
        [],
      ],
    );
    assert.ok(info.subjectKeyId);
    assert.equal(info.authorityKeyId, parseCertificate(root.der).subjectKeyId);
    const wide = parseCertificate(
      await issueCa(root.issuer, { ...request, pathLength: undefined, crlUrls: ['http://pki.example/root.crl'] }),
    );
    assert.deepEqual([wide.pathLength, wide.crlUrls], [undefined, ['http://pki.example/root.crl']]);
  });

  it('issues leaves that lead over it to the root, and no CA where its path length is spent', async () => {
    const der = await issueCa(root.issuer, request);
    const signer = signerFor(key.privateKey);
    const ca = { der, signer, issuer: prepareIssuer(der, signer) };
    const leaf = await makeLeaf(ca, await generateKeyPair('ecdsa-p384'));
    verifyChain({ chain: [leaf, der], anchors: [root.der], atMs: at(1).getTime(), usage: 'server auth' });
    assert.throws(() => verifyChain({ chain: [leaf], anchors: [root.der], atMs: at(1).getTime() }), withCode('InvalidCertificate'));
    const below = await generateKeyPair('ecdsa-p384');
    const third = await issueCa(ca.issuer, { ...request, spki: spkiDer(below.publicKey), notAfter: at(100) });
    const signerBelow = signerFor(below.privateKey);
    const deepLeaf = await makeLeaf({ der: third, signer: signerBelow, issuer: prepareIssuer(third, signerBelow) }, below);
    assert.throws(
      () => verifyChain({ chain: [deepLeaf, third, der], anchors: [root.der], atMs: at(1).getTime() }),
      withCode('InvalidCertificate', /allows 0 CAs below/),
    );
  });

  it('may be a root’s other certificate: who trusts the one follows to the next', async () => {
    const next = await makeCa('demo root', 'r2');
    const { subjectDer, spki } = parseCertificate(next.der);
    const cross = await issueCa(root.issuer, { ...request, subject: subjectDer, spki, pathLength: undefined });
    const leaf = await makeLeaf(next, await generateKeyPair('ecdsa-p384'));
    for (const anchors of [[root.der], [next.der]]) verifyChain({ chain: [leaf, cross], anchors, atMs: at(1).getTime() });
  });

  for (const [what, changes] of [
    ['that outlives its issuer', () => ({ notAfter: at(100_000) })],
    ['without a subject', () => ({ subject: Buffer.from([0x30, 0x00]) })],
    ['with a key of no listed algorithm', () => ({ spki: Buffer.from([0x30, 0x00]) })],
    ['with a path length below zero', () => ({ pathLength: -1 })],
    ['with a path length beyond all reason', () => ({ pathLength: 101 })],
    ['that ends before it begins', () => ({ notBefore: at(2), notAfter: at(1) })],
  ] as const) {
    it(`is not made ${what}`, () => assert.rejects(issueCa(root.issuer, { ...request, ...changes() }), withCode('InvalidArgument')));
  }

  it('is made of a root that allows so many below it', async () => {
    const signer = signerFor(key.privateKey);
    const times = { notBefore: at(0), notAfter: at(1) };
    const der = await createRootCertificate({ commonName: 'root', signer, serial: newSerial(), pathLength: 1, ...times });
    assert.equal(parseCertificate(der).pathLength, 1);
  });
});

describe('a key that a passphrase encrypts', () => {
  it('opens with it, and with no other', async () => {
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    const pem = await encryptedPrivateKeyToPem(privateKey, 'six random words');
    assert.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
    assert.ok(privateKeyFromPem(pem, 'six random words').equals(privateKey));
    assert.throws(() => privateKeyFromPem(pem, 'seven random words'), withCode('InvalidArgument', /does not open/));
    assert.throws(() => privateKeyFromPem(pem), withCode('InvalidArgument', /no passphrase/));
  });
});
