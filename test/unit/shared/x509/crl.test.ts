import assert from 'node:assert/strict';
import {
  type CrlContents,
  type CrlReason,
  createCrl,
  newSerial,
  parseCertificate,
  parseCrl,
  reasonCodes,
  verifyCrl,
} from '@evercert/shared/x509';
import fc from 'fast-check';
import { at, type Ca, makeCa, refusesOnlyWith, withCode } from './fixtures.ts';

describe('CRLs', () => {
  let ca: Ca;
  before(async () => {
    ca = await makeCa('etcd-ca');
  });

  const make = (changes: Partial<CrlContents> = {}): Promise<Buffer> =>
    createCrl({ issuer: ca.issuer, number: 7, thisUpdate: at(0), nextUpdate: at(24), revoked: [], ...changes });

  it('say who made them, their number and their times', async () => {
    const info = parseCrl(await make());
    const authority = parseCertificate(ca.der);
    assert.equal(info.issuer, authority.subject);
    assert.equal(info.number, 7n);
    assert.deepEqual([info.thisUpdate, info.nextUpdate], [at(0), at(24)]);
    assert.equal(info.authorityKeyId, authority.subjectKeyId);
    assert.equal(info.signatureAlgorithm, 'ecdsa-with-SHA384');
    assert.deepEqual(info.revoked, []);
    assert.deepEqual(info.unknownCriticalExtensions, []);
  });

  it('list serials in order of their numbers, each with its time and reason', async () => {
    const revoked = [
      { serial: 'ff00', revokedAt: at(-1), reason: 'keyCompromise' as const },
      { serial: '80', revokedAt: at(-2), reason: 'unspecified' as const },
      { serial: '01:00:00', revokedAt: new Date('2051-01-01T00:00:00Z'), reason: 'superseded' as const },
    ];
    const info = parseCrl(await make({ revoked }));
    assert.deepEqual(info.revoked, [revoked[1], revoked[0], { ...revoked[2], serial: '010000' }]);
  });

  it('carry every reason of RFC 5280', async () => {
    const revoked = Object.keys(reasonCodes).map((reason, index) => ({
      serial: (index + 1).toString(16).padStart(2, '0'),
      revokedAt: at(0),
      reason: reason as CrlReason,
    }));
    assert.deepEqual(parseCrl(await make({ revoked })).revoked, revoked);
  });

  it('take numbers of up to 20 octets and of milliseconds', async () => {
    for (const number of [0, 1, 127, 128, 1_900_000_000_000, (1n << 159n) - 1n]) {
      assert.equal(parseCrl(await make({ number })).number, BigInt(number));
    }
    for (const number of [-1, 1.5, Number.NaN, 1n << 159n]) await assert.rejects(make({ number }), withCode('InvalidArgument'));
  });

  it('are refused a serial twice, a bad serial, an unknown reason and times in the wrong order', async () => {
    const entry = { serial: 'ab', revokedAt: at(0), reason: 'unspecified' as const };
    await assert.rejects(make({ revoked: [entry, { ...entry, serial: '00AB' }] }), withCode('InvalidArgument', /ab is there twice/));
    await assert.rejects(make({ revoked: [{ ...entry, serial: 'x' }] }), withCode('InvalidArgument'));
    await assert.rejects(make({ revoked: [{ ...entry, reason: 'boredom' as never }] }), withCode('InvalidArgument', /no reason/));
    await assert.rejects(make({ revoked: [{ ...entry, revokedAt: new Date(Number.NaN) }] }), withCode('InvalidArgument'));
    await assert.rejects(make({ nextUpdate: at(0) }), withCode('InvalidArgument'));
  });

  it('are verified by the key and the name of their CA alone', async () => {
    const crl = await make({ revoked: [{ serial: 'ab', revokedAt: at(0), reason: 'keyCompromise' }] });
    await verifyCrl(crl, ca.der);
    const sameName = await makeCa('etcd-ca');
    await assert.rejects(verifyCrl(crl, sameName.der), withCode('InvalidCertificate', /signature is not of/));
    const otherName = await makeCa('cluster-ca');
    await assert.rejects(verifyCrl(crl, otherName.der), withCode('InvalidCertificate', /names another issuer/));
    const changed = Buffer.from(crl);
    changed[changed.indexOf(Buffer.from('0201ab', 'hex')) + 2] = 0x2b;
    await assert.rejects(verifyCrl(changed, ca.der), withCode('InvalidCertificate'));
  });

  it('are signed by RSA as well', async () => {
    const rsa = await makeCa('rsa-ca', 'g1', 'rsa-3072');
    const crl = await make({ issuer: rsa.issuer });
    await verifyCrl(crl, rsa.der);
    assert.equal(parseCrl(crl).signatureAlgorithm, 'sha256WithRSAEncryption');
  }).timeout(10_000);

  it('with a hundred thousand entries are made and read within seconds', async () => {
    const revoked = Array.from({ length: 100_000 }, () => ({ serial: newSerial(), revokedAt: at(0), reason: 'keyCompromise' as const }));
    const started = performance.now();
    const crl = await make({ revoked });
    const madeMs = performance.now() - started;
    assert.equal(parseCrl(crl).revoked.length, 100_000);
    assert.ok(madeMs < 3000, `making took ${madeMs} ms`);
    assert.ok(performance.now() - started < 6000);
  }).timeout(10_000);

  it('that are damaged anywhere are refused as InvalidCertificate or read, and nothing else', async () => {
    const whole = await make({ revoked: [{ serial: 'ab12', revokedAt: at(0), reason: 'keyCompromise' }] });
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), async (position, byte, length) => {
        const damaged = Buffer.from(whole);
        damaged[position] = byte;
        await refusesOnlyWith(['InvalidCertificate'], () => parseCrl(damaged));
        await refusesOnlyWith(['InvalidCertificate'], () => verifyCrl(damaged, ca.der));
        await refusesOnlyWith(['InvalidCertificate'], () => parseCrl(whole.subarray(0, length)));
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        await refusesOnlyWith(['InvalidCertificate'], () => parseCrl(bytes));
      }),
    );
  });
});
