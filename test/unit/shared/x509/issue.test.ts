import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import {
  createRootCertificate,
  generateKeyPair,
  type KeyPair,
  type LeafProfile,
  parseCertificate,
  prepareIssuer,
  signerFor,
} from '@evercert/shared/x509';
import fc from 'fast-check';
import { at, type Ca, makeCa, makeLeaf, withCode } from './fixtures.ts';

describe('issuing', () => {
  let ca: Ca;
  let key: KeyPair;
  before(async () => {
    ca = await makeCa('kubernetes-ca', 'b7f3');
    key = await generateKeyPair('ecdsa-p384');
  });

  describe('a root', () => {
    it('is a CA with a subject of its own and signs itself', () => {
      const info = parseCertificate(ca.der);
      assert.equal(info.subject, 'CN=kubernetes-ca,serialNumber=b7f3');
      assert.equal(info.issuer, info.subject);
      assert.equal(info.isCa, true);
      assert.deepEqual(info.usages, ['digital signature']);
      const certificate = new X509Certificate(ca.der);
      assert.equal(certificate.ca, true);
      assert.equal(certificate.verify(ca.signer.publicKey), true);
    });

    it('needs a name, and an attribute of printable characters', async () => {
      const request = { signer: ca.signer, serial: '01', notBefore: at(0), notAfter: at(1) };
      await assert.rejects(createRootCertificate({ ...request, commonName: '' }), withCode('InvalidArgument', /common name/));
      await assert.rejects(
        createRootCertificate({ ...request, commonName: 'ca', uniqueAttribute: 'ü' }),
        withCode('InvalidArgument', /unique attribute/),
      );
    });

    it('is not prepared with the key of another, nor is a leaf prepared as a CA', async () => {
      const other = await makeCa();
      assert.throws(() => prepareIssuer(ca.der, other.signer), withCode('InvalidArgument', /does not hold the key/));
      const leaf = await makeLeaf(ca, key);
      assert.throws(() => prepareIssuer(leaf, signerFor(key.privateKey)), withCode('InvalidCertificate', /no CA/));
    });
  });

  describe('a leaf', () => {
    it('says what its profile says, and nothing else', async () => {
      const der = await makeLeaf(ca, key, {
        serial: '0102030405060708090a0b0c0d0e0f10',
        profile: {
          commonName: 'system:node:node-1',
          organizations: ['system:nodes'],
          dnsNames: ['Node-1', 'node-1', '*.Example.com'],
          ipAddresses: ['10.0.0.1', '::ffff:10.0.0.1', '2001:DB8:0::1', '2001:db8::1'],
          uris: ['spiffe://demo.evercert/node/node-1'],
          usages: ['digital signature', 'key encipherment', 'server auth', 'client auth'],
        },
      });
      const info = parseCertificate(der);
      assert.equal(info.serial, '0102030405060708090a0b0c0d0e0f10');
      assert.equal(info.subject, 'CN=system:node:node-1,O=system:nodes');
      assert.equal(info.issuer, 'CN=kubernetes-ca,serialNumber=b7f3');
      assert.deepEqual(info.dnsNames, ['node-1', '*.example.com']);
      assert.deepEqual(info.ipAddresses, ['10.0.0.1', '2001:db8::1']);
      assert.deepEqual(info.uris, ['spiffe://demo.evercert/node/node-1']);
      assert.deepEqual([info.notBefore, info.notAfter], [at(0), at(96)]);
      assert.deepEqual([info.isCa, info.anyPurpose], [false, false]);
      assert.equal(info.authorityKeyId, parseCertificate(ca.der).subjectKeyId);
      assert.equal(info.signatureAlgorithm, 'ecdsa-with-SHA384');
      assert.equal(new X509Certificate(der).verify(ca.signer.publicKey), true);
    });

    it('has key encipherment for RSA keys alone', async () => {
      const rsa = await generateKeyPair('rsa-3072');
      assert.deepEqual(parseCertificate(await makeLeaf(ca, rsa)).usages, ['digital signature', 'key encipherment', 'server auth']);
      assert.deepEqual(parseCertificate(await makeLeaf(ca, key)).usages, ['digital signature', 'server auth']);
    });

    it('has no alternative names when none are asked for', async () => {
      const der = await makeLeaf(ca, key, { profile: { dnsNames: [], ipAddresses: [] } });
      assert.equal(new X509Certificate(der).subjectAltName, undefined);
    });

    it('without a subject has critical alternative names', async () => {
      const named = await makeLeaf(ca, key);
      const nameless = await makeLeaf(ca, key, { profile: { commonName: '' } });
      const critical = Buffer.from('0603551d110101ff', 'hex');
      assert.equal(named.includes(critical), false);
      assert.equal(nameless.includes(critical), true);
      assert.equal(parseCertificate(nameless).subject, '');
    });

    it('uses UTCTime through 2049 and GeneralizedTime from 2050', async () => {
      const long = { ...ca, issuer: { ...ca.issuer, notAfter: new Date('2060-01-01T00:00:00Z') } };
      const der = await makeLeaf(long, key, {
        notBefore: new Date('2049-12-31T23:59:59Z'),
        notAfter: new Date('2050-01-01T00:00:00.999Z'),
      });
      assert.equal(der.includes('\x17\x0d491231235959Z\x18\x0f20500101000000Z'), true);
      const info = parseCertificate(der);
      assert.deepEqual([info.notBefore, info.notAfter], [new Date('2049-12-31T23:59:59Z'), new Date('2050-01-01T00:00:00Z')]);
    });

    it('never outlives its issuer, but may end with it', async () => {
      const end = parseCertificate(ca.der).notAfter;
      await assert.rejects(makeLeaf(ca, key, { notAfter: new Date(end.getTime() + 1) }), withCode('InvalidArgument', /outlive/));
      assert.deepEqual(parseCertificate(await makeLeaf(ca, key, { notAfter: end })).notAfter, end);
    });

    const bad: [string, Partial<LeafProfile>][] = [
      ['neither subject nor names', { commonName: '', dnsNames: [], ipAddresses: [] }],
      ['an empty organization', { organizations: [''] }],
      ['a line break in the common name', { commonName: 'a\nb' }],
      ['half a surrogate pair in the common name', { commonName: '\ud800' }],
      ['a common name of 321 characters', { commonName: 'a'.repeat(321) }],
      ['65 organizations', { organizations: Array.from({ length: 65 }, (_, i) => `o${i}`) }],
      ['a final dot in a DNS name', { dnsNames: ['kubernetes.default.svc.'] }],
      ['a star inside a DNS name', { dnsNames: ['a.*.example'] }],
      ['a DNS name outside ASCII', { dnsNames: ['bücher.example'] }],
      ['a DNS label of 64 characters', { dnsNames: ['a'.repeat(64)] }],
      ['an empty DNS name', { dnsNames: [''] }],
      ['a short address', { ipAddresses: ['10.1'] }],
      ['an octal address', { ipAddresses: ['010.0.0.1'] }],
      ['a range instead of an address', { ipAddresses: ['10.0.0.0/8'] }],
      ['an address with a zone', { ipAddresses: ['fe80::1%eth0'] }],
      ['a relative URI', { uris: ['//a/b'] }],
      ['a URI with a space', { uris: ['spiffe://a/b c'] }],
      ['513 names', { dnsNames: Array.from({ length: 513 }, (_, i) => `n${i}`), ipAddresses: [] }],
    ];
    for (const [what, profile] of bad) {
      it(`with ${what} is refused`, async () => {
        await assert.rejects(makeLeaf(ca, key, { profile }), withCode('InvalidArgument'));
      });
    }

    it('for a key that is not listed, or not of the algorithm named, is refused', async () => {
      await assert.rejects(makeLeaf(ca, key, { keyAlgorithm: 'rsa-4096' }), withCode('InvalidArgument', /not an accepted one of rsa-4096/));
      const weak = generateKeyPairSync('rsa', { modulusLength: 2048 });
      await assert.rejects(makeLeaf(ca, weak, { keyAlgorithm: 'rsa-3072' }), withCode('InvalidArgument', /not an accepted one/));
    });

    it('with a bad serial or times that are no span is refused', async () => {
      for (const serial of ['', '00', 'xyz', 'f'.repeat(41)])
        await assert.rejects(makeLeaf(ca, key, { serial }), withCode('InvalidArgument'));
      await assert.rejects(makeLeaf(ca, key, { notBefore: at(1), notAfter: at(1) }), withCode('InvalidArgument', /begin before it ends/));
      await assert.rejects(makeLeaf(ca, key, { notBefore: new Date(Number.NaN) }), withCode('InvalidArgument'));
    });

    it('reads back with any name that was accepted', async () => {
      // The signature is not what is looked at here.
      const quick = { ...ca, issuer: { ...ca.issuer, signer: { ...ca.signer, sign: async () => Buffer.alloc(100) } } };
      const part = fc
        .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
        .filter((text) => text.isWellFormed() && !/\p{Cc}/u.test(text));
      await fc.assert(
        fc.asyncProperty(part, fc.uniqueArray(part, { maxLength: 4 }), async (commonName, organizations) => {
          const info = parseCertificate(await makeLeaf(quick, key, { profile: { commonName, organizations } }));
          assert.equal(info.commonName, commonName);
          assert.deepEqual(info.organizations, organizations);
          assert.doesNotMatch(info.subject, /\p{Cc}/u);
        }),
        { numRuns: 200 },
      );
    });
  });
});
