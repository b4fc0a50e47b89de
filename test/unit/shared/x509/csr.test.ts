import assert from 'node:assert/strict';
import { canonicalAddress } from '@evercert/shared/config';
import { createCsr, generateKeyPair, type KeyPair, openCsr, parseCsr, spkiDer, spkiSha256, verifyCsr } from '@evercert/shared/x509';
import fc from 'fast-check';
import { makeCsr, refusesOnlyWith, withCode } from './fixtures.ts';
import { bytesOf, requests } from './samples.ts';

describe('a certificate request', () => {
  let key: KeyPair;
  let der: Buffer;
  before(async () => {
    key = await generateKeyPair('ecdsa-p384');
    der = await makeCsr(key);
  });

  for (const algorithm of ['ecdsa-p256', 'ecdsa-p384', 'rsa-3072'] as const) {
    it(`of ${algorithm} is made, read back and verified`, async () => {
      const pair = await generateKeyPair(algorithm);
      const csr = await openCsr(await makeCsr(pair));
      assert.equal(csr.keyAlgorithm, algorithm);
      assert.deepEqual(csr.spki, spkiDer(pair.publicKey));
      assert.equal(csr.spkiSha256, spkiSha256(pair.privateKey));
      assert.deepEqual(csr.requested, {
        commonName: 'system:node:node-1',
        organizations: ['system:nodes'],
        dnsNames: ['node-1'],
        ipAddresses: ['10.0.0.1'],
        uris: [],
        otherNames: 0,
        isCa: false,
      });
    });
  }

  it('holds addresses as manifests and revocations write them', async () => {
    const ipAddresses = ['::10.0.0.1', '::ffff:10.0.0.2', '2001:DB8:0::1', '10.0.0.3'];
    const { requested } = await openCsr(await createCsr({ privateKey: key.privateKey, commonName: 'a', ipAddresses }));
    assert.deepEqual(requested.ipAddresses, ipAddresses.map(canonicalAddress));
  });

  it('of OpenSSL is read with all that it asks for', async () => {
    const { requested } = await openCsr(bytesOf(requests.asks));
    assert.deepEqual(requested, {
      commonName: 'system:node:a',
      organizations: ['system:nodes'],
      dnsNames: ['a.example'],
      ipAddresses: ['10.0.0.1', '::1'],
      uris: ['spiffe://a/b'],
      otherNames: 1,
      isCa: true,
    });
  });

  const refused = {
    'rsa-2048': ['WeakKey', /RSA 2048/],
    'rsa-e3': ['WeakKey', /RSA 3072/],
    secp224r1: ['WeakKey', /P-224/],
    secp521r1: ['InvalidCsr', /P-521/],
    secp256k1: ['InvalidCsr', /secp256k1/],
    brainpoolP256r1: ['InvalidCsr', /brainpoolP256r1/],
    ed25519: ['InvalidCsr', /Ed25519/],
    compressed: ['InvalidCsr', /uncompressed point/],
    explicit: ['InvalidCsr', /named curve/],
    sha1: ['InvalidCsr', /signature algorithm/],
  } as const;
  for (const [name, [code, message]] of Object.entries(refused)) {
    it(`of OpenSSL with ${name} is refused with ${code}`, () => {
      assert.throws(() => parseCsr(bytesOf(requests[name as keyof typeof refused])), withCode(code, message));
    });
  }

  it('with a point that is not on its curve is refused', () => {
    const bytes = Buffer.from(der);
    bytes.fill(1, bytes.indexOf(spkiDer(key.publicKey)) + 24, bytes.indexOf(spkiDer(key.publicKey)) + 120);
    assert.throws(() => parseCsr(bytes), withCode('InvalidCsr'));
  });

  it('of more than 64 KiB is refused before it is parsed', () => {
    assert.throws(() => parseCsr(Buffer.alloc(64 * 1024 + 1)), withCode('InvalidCsr', /65537 bytes/));
  });

  it('with bytes behind its end is refused', () => {
    assert.throws(() => parseCsr(Buffer.concat([der, Buffer.of(0)])), withCode('InvalidCsr'));
  });

  it('cut anywhere is refused', () => {
    for (let length = 0; length < der.length; length++) assert.throws(() => parseCsr(der.subarray(0, length)), withCode('InvalidCsr'));
  });

  it('signed by another key than its own fails the proof of possession', async () => {
    const other = await makeCsr(await generateKeyPair('ecdsa-p384'));
    const mine = parseCsr(der);
    await assert.rejects(
      verifyCsr({ ...mine, signature: parseCsr(other).signature }),
      withCode('InvalidCsr', /sign the request with the key/),
    );
  });

  it('is not changed by what the caller does to the bytes afterwards', async () => {
    const bytes = Buffer.from(der);
    const csr = parseCsr(bytes);
    bytes.fill(0);
    await verifyCsr(csr);
  });

  it('is never believed after any of its bytes changed', async () => {
    const signed = parseCsr(der).signed;
    const change = fc.record({ index: fc.nat(der.length - 1), xor: fc.integer({ min: 1, max: 255 }) });
    await fc.assert(
      fc.asyncProperty(change, async ({ index, xor }) => {
        const bytes = Buffer.from(der);
        bytes[index] = (bytes[index] as number) ^ xor;
        const csr = await refusesOnlyWith(['InvalidCsr', 'WeakKey'], () => openCsr(bytes));
        assert.ok(csr === undefined || csr.signed.equals(signed), `a request with byte ${index} changed by ${xor} was accepted`);
      }),
      { numRuns: 300 },
    );
  });

  it('of random or spliced bytes is refused with nothing but a typed error', async () => {
    const splice = fc
      .record({ from: fc.nat(der.length), drop: fc.nat(40), insert: fc.uint8Array({ maxLength: 40 }) })
      .map(({ from, drop, insert }) => Buffer.concat([der.subarray(0, from), insert, der.subarray(from + drop)]));
    await fc.assert(
      fc.asyncProperty(fc.oneof(splice, fc.uint8Array({ maxLength: 300 })), async (bytes) => {
        await refusesOnlyWith(['InvalidCsr', 'WeakKey'], () => openCsr(bytes));
      }),
      { numRuns: 500 },
    );
  });

  it('nested without end is refused and not followed', () => {
    const deep = Buffer.concat(Array.from({ length: 30_000 }, () => Buffer.of(0x30, 0x80)));
    assert.throws(() => parseCsr(deep), withCode('InvalidCsr'));
  });

  it('cannot be made with names that no certificate may carry', async () => {
    const { privateKey } = key;
    await assert.rejects(createCsr({ privateKey, commonName: 'a\nb' }), withCode('InvalidArgument', /control characters/));
    await assert.rejects(createCsr({ privateKey, commonName: 'a', ipAddresses: ['10.1'] }), withCode('InvalidArgument', /IP address/));
    for (const name of ['10.0.0.1', '::1', 'a_b', 'a.'])
      await assert.rejects(createCsr({ privateKey, commonName: 'a', dnsNames: [name] }), withCode('InvalidArgument', /DNS name/), name);
  });
});
