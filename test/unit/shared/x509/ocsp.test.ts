import assert from 'node:assert/strict';
import {
  createOcspError,
  createOcspResponse,
  generateKeyPair,
  isIssuerOf,
  newSerial,
  type OcspStatus,
  parseCertificate,
  parseOcspRequest,
  signerFor,
} from '@evercert/shared/x509';
import fc from 'fast-check';
import { ocspRequest, readOcspResponse, statusText } from '../../../support/ocsp.ts';
import { at, type Ca, makeCa, makeLeaf, refusesOnlyWith, withCode } from './fixtures.ts';

describe('OCSP', () => {
  let ca: Ca;
  let other: Ca;
  let delegate: { signer: ReturnType<typeof signerFor>; signerChain: Buffer[] };
  before(async () => {
    [ca, other] = [await makeCa('etcd-ca'), await makeCa('other-ca')];
    const pair = await generateKeyPair('ecdsa-p256');
    const profile = {
      commonName: 'evercert-ocsp',
      dnsNames: [],
      ipAddresses: [],
      usages: ['digital signature' as const],
      ocspSigning: true,
    };
    delegate = { signer: signerFor(pair.privateKey), signerChain: [await makeLeaf(ca, pair, { profile })] };
  });

  const answer = async (status: OcspStatus, nonce?: Buffer): Promise<Buffer> => {
    const [certificate] = parseOcspRequest(await ocspRequest(ca.der, 'ab12')).certificates;
    const times = { producedAt: at(1), thisUpdate: at(1), nextUpdate: at(2) };
    return await createOcspResponse({ ...delegate, answers: [{ certificate: certificate!, status }], ...times, nonce });
  };

  for (const hash of ['SHA-1', 'SHA-256'] as const) {
    it(`reads a request by ${hash}: serial, nonce, and whose certificate it is about`, async () => {
      const serial = newSerial();
      const { certificates, nonce } = parseOcspRequest(await ocspRequest(ca.der, serial, { hash, nonce: Buffer.alloc(32, 5) }));
      assert.deepEqual(nonce, Buffer.alloc(32, 5));
      assert.deepEqual(
        certificates.map((each) => [each.serial, isIssuerOf(ca.der, each), isIssuerOf(other.der, each)]),
        [[serial, true, false]],
      );
    });
  }

  it('reads a request without a nonce', async () => {
    assert.equal(parseOcspRequest(await ocspRequest(ca.der, 'ab')).nonce, undefined);
  });

  for (const [expected, reason, status] of [
    ['good', undefined, 'good'],
    ['unknown', undefined, 'unknown'],
    ['revoked', 1, { revokedAt: at(0), reason: 'keyCompromise' }],
    ['revoked', undefined, { revokedAt: at(0), reason: 'unspecified' }],
  ] as const) {
    it(`tells ${expected}${reason ? ' with its reason' : ''}`, async () => {
      const read = await readOcspResponse(await answer(status), ca.der);
      assert.deepEqual([read.status, read.reason, read.signedByDelegate, read.nonce], [expected, reason, true, undefined]);
    });
  }

  it('repeats the nonce', async () => {
    assert.deepEqual((await readOcspResponse(await answer('good', Buffer.from('nonce')), ca.der)).nonce, Buffer.from('nonce'));
  });

  it('is refused an answer about nothing, or one that ends before it begins', async () => {
    const times = { producedAt: at(1), thisUpdate: at(1), nextUpdate: at(2) };
    await assert.rejects(createOcspResponse({ ...delegate, answers: [], ...times }), withCode('InvalidArgument'));
    const [certificate] = parseOcspRequest(await ocspRequest(ca.der, 'ab')).certificates;
    const answers = [{ certificate: certificate!, status: 'good' as const }];
    await assert.rejects(createOcspResponse({ ...delegate, answers, ...times, nextUpdate: at(1) }), withCode('InvalidArgument'));
  });

  it('has errors of its own', () => {
    for (const error of ['malformedRequest', 'internalError', 'tryLater', 'unauthorized'] as const)
      assert.equal(statusText(createOcspError(error)), error);
  });

  it('is signed by a certificate for that and nothing else', () => {
    const info = parseCertificate(delegate.signerChain[0]!);
    assert.deepEqual([info.usages, info.isCa, info.anyPurpose], [['digital signature'], false, false]);
    // OCSPSigning, and id-pkix-ocsp-nocheck with its NULL.
    assert.ok(delegate.signerChain[0]!.includes(Buffer.from('06082b06010505070309', 'hex')));
    assert.ok(delegate.signerChain[0]!.includes(Buffer.from('06092b060105050730010504020500', 'hex')));
  });

  it('refuses damaged requests as InvalidArgument, and nothing else', async () => {
    const whole = await ocspRequest(ca.der, newSerial(), { nonce: Buffer.alloc(16, 1) });
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), async (position, byte, length) => {
        const damaged = Buffer.from(whole);
        damaged[position] = byte;
        const request = await refusesOnlyWith(['InvalidArgument'], () => parseOcspRequest(damaged));
        for (const certificate of request?.certificates ?? []) isIssuerOf(ca.der, certificate);
        await refusesOnlyWith(['InvalidArgument'], () => parseOcspRequest(whole.subarray(0, length)));
      }),
      { numRuns: 300 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
        await refusesOnlyWith(['InvalidArgument'], () => parseOcspRequest(bytes));
      }),
    );
    assert.throws(() => parseOcspRequest(Buffer.alloc(64 * 1024 + 1)), withCode('InvalidArgument'));
  });

  it('takes no CertID that is swollen: answers are kept by it', async () => {
    const longest = await ocspRequest(ca.der, 'f'.repeat(40), { hash: 'SHA-256' });
    assert.equal(parseOcspRequest(longest).certificates[0]?.serial, 'f'.repeat(40));
    const swollen = await ocspRequest(ca.der, 'f'.repeat(400), { hash: 'SHA-256' });
    assert.throws(() => parseOcspRequest(swollen), withCode('InvalidArgument'));
  });
});

describe('where a leaf sends whoever wants to know more', () => {
  it('reads back as it was written, URL by URL', async () => {
    const ca = await makeCa();
    const urls = {
      crlUrls: ['http://a.example/1.crl', 'http://b.example:7480/1.crl'],
      ocspUrls: ['http://a.example/ocsp'],
      caIssuerUrls: ['https://a.example/ca.crt'],
    };
    const info = parseCertificate(await makeLeaf(ca, await generateKeyPair('ecdsa-p256'), { profile: urls }));
    assert.deepEqual({ crlUrls: info.crlUrls, ocspUrls: info.ocspUrls, caIssuerUrls: info.caIssuerUrls }, urls);
    assert.deepEqual(info.unknownCriticalExtensions, []);
  });

  for (const url of ['', 'ldap://a.example/', 'http://a b', 'http://ä.example/', '/crl', `http://a.example/${'x'.repeat(1024)}`]) {
    it(`cannot be ${JSON.stringify(url.slice(0, 30))}`, async () => {
      const ca = await makeCa();
      const pair = await generateKeyPair('ecdsa-p256');
      await assert.rejects(makeLeaf(ca, pair, { profile: { crlUrls: [url] } }), withCode('InvalidArgument'));
    });
  }
});
