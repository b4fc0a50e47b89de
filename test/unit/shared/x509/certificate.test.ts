import assert from 'node:assert/strict';
import { type CertificateInfo, generateKeyPair, parseCertificate } from '@evercert/shared/x509';
import fc from 'fast-check';
import { makeCa, makeLeaf, refusesOnlyWith, withCode } from './fixtures.ts';
import { bytesOf, certificates } from './samples.ts';

const read = (name: keyof typeof certificates): CertificateInfo => parseCertificate(bytesOf(certificates[name]));

describe('reading a certificate', () => {
  it('of OpenSSL with RSA 2048 and an awkward name', () => {
    const info = read('opensslRsa2048');
    assert.equal(info.serial, 'ff01');
    assert.equal(info.subject, 'OU=ops+CN=\\#rsa \\"x\\",O=Acme\\, Inc.,C=DE');
    assert.equal(info.issuer, info.subject);
    assert.equal(info.commonName, '#rsa "x"');
    assert.deepEqual(info.organizations, ['Acme, Inc.']);
    assert.deepEqual(info.usages, ['digital signature', 'key encipherment']);
    assert.equal(info.isCa, true);
    assert.equal(info.anyPurpose, true);
    assert.equal(info.keyAlgorithm, 'rsa-2048');
    assert.equal(info.keyDescription, 'RSA 2048');
    assert.equal(info.signatureAlgorithm, 'sha256WithRSAEncryption');
    assert.equal(info.authorityKeyId, info.subjectKeyId);
  });

  it('of OpenSSL with Ed25519, an IPv4-mapped address and a life beyond 2050', () => {
    const info = read('opensslEd25519');
    assert.equal(info.serial, '07');
    assert.deepEqual(info.dnsNames, ['ed.example']);
    assert.deepEqual(info.ipAddresses, ['10.1.2.3']);
    assert.deepEqual(info.usages, ['server auth', 'client auth']);
    assert.equal(info.anyPurpose, false);
    assert.equal(info.keyDescription, 'Ed25519');
    assert.equal(info.signatureAlgorithm, 'Ed25519');
    assert.equal(info.notAfter.getUTCFullYear(), 2126);
  });

  it('of kubeadm: its CA and its API server', () => {
    const ca = read('kubeadmCa');
    const server = read('kubeadmApiserver');
    assert.equal(ca.isCa, true);
    assert.equal(ca.subject, 'CN=kubernetes');
    assert.equal(server.isCa, false);
    assert.equal(server.subject, 'CN=kube-apiserver');
    assert.equal(server.issuer, 'CN=kubernetes');
    assert.deepEqual(server.dnsNames.slice(0, 4), [
      'kubernetes',
      'kubernetes.default',
      'kubernetes.default.svc',
      'kubernetes.default.svc.cluster.local',
    ]);
    assert.deepEqual(server.ipAddresses, ['10.96.0.1', '10.0.0.1']);
    assert.deepEqual(server.usages, ['digital signature', 'key encipherment', 'server auth']);
    assert.equal(server.notAfter.getTime() - server.notBefore.getTime() > 364 * 86_400_000, true);
    assert.equal(read('kubeadmClient').subject, 'CN=kube-apiserver-kubelet-client,O=system:masters');
  });

  it('keeps the leading digits of its serial and drops the sign byte alone', () => {
    assert.equal(read('unknownCritical').serial, '80');
  });

  it('tells which critical extensions it does not understand', () => {
    assert.deepEqual(read('unknownCritical').unknownCriticalExtensions, ['1.2.3.4']);
  });

  it('with bytes behind its end, or too large, is refused', () => {
    const der = bytesOf(certificates.kubeadmCa);
    assert.throws(() => parseCertificate(Buffer.concat([der, Buffer.of(0)])), withCode('InvalidCertificate'));
    assert.throws(() => parseCertificate(Buffer.alloc(128 * 1024 + 1)), withCode('InvalidCertificate', /131073 bytes/));
  });

  it('of changed, cut, spliced or random bytes throws nothing but InvalidCertificate', async () => {
    const own = await makeLeaf(await makeCa(), await generateKeyPair('ecdsa-p384'));
    const base = fc.constantFrom(own, ...Object.values(certificates).map(bytesOf));
    const spliced = fc
      .record({ der: base, from: fc.double({ min: 0, max: 1, noNaN: true }), drop: fc.nat(30), insert: fc.uint8Array({ maxLength: 30 }) })
      .map(({ der, from, drop, insert }) => {
        const start = Math.floor(from * der.length);
        return Buffer.concat([der.subarray(0, start), insert, der.subarray(start + drop)]);
      });
    const changed = fc.record({ der: base, index: fc.nat(), value: fc.nat(255) }).map(({ der, index, value }) => {
      const bytes = Buffer.from(der);
      bytes[index % bytes.length] = value;
      return bytes;
    });
    const random = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
    await fc.assert(
      fc.asyncProperty(fc.oneof(spliced, changed, random), async (der) => {
        await refusesOnlyWith(['InvalidCertificate'], () => parseCertificate(der));
      }),
      { numRuns: 1500 },
    );
  });
});
