import assert from 'node:assert/strict';
import { EvercertError } from '@evercert/shared/errors';
import { certificatesFromPem, certificatesToPem, pemBlocks, toPem } from '@evercert/shared/x509';
import fc from 'fast-check';
import { refusesOnlyWith, withCode } from './fixtures.ts';

const block = toPem('CERTIFICATE', Buffer.alloc(100, 7));

describe('PEM', () => {
  it('carries any bytes, in lines of 64 characters', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 4 }), (parts) => {
        const ders = parts.map((part) => Buffer.from(part));
        const text = certificatesToPem(ders);
        assert.ok(text.split('\n').every((line) => line.length <= 64));
        assert.deepEqual(certificatesFromPem(text), ders);
      }),
    );
  });

  it('is found in any text around it, with the line of each block', () => {
    const text = `subject=CN = a\n${block}\nBag Attributes\n  x: y\n${toPem('EC PRIVATE KEY', Buffer.of(1, 2, 3))}tail`;
    assert.deepEqual(
      pemBlocks(text).map(({ label, line }) => [label, line]),
      [
        ['CERTIFICATE', 2],
        ['EC PRIVATE KEY', 10],
      ],
    );
    assert.deepEqual(certificatesFromPem(text), [Buffer.alloc(100, 7)]);
  });

  it('may have Windows line ends and the header lines of old encrypted keys', () => {
    assert.equal(pemBlocks(block.replaceAll('\n', '\r\n')).length, 1);
    const old = '-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAQID\n-----END RSA PRIVATE KEY-----';
    assert.deepEqual(pemBlocks(old)[0]?.der, Buffer.of(1, 2, 3));
  });

  const broken: [string, string, number][] = [
    ['characters that are not base64', 'x\n-----BEGIN CERTIFICATE-----\nAAAA\nA*AA\n-----END CERTIFICATE-----\n', 4],
    ['a cut group', '-----BEGIN CERTIFICATE-----\nAAAAA\n-----END CERTIFICATE-----\n', 1],
    ['padding in the middle', '-----BEGIN CERTIFICATE-----\nAA==\nAAAA\n-----END CERTIFICATE-----\n', 1],
    ['nothing inside', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n', 1],
    ['no end', `${block}-----BEGIN CERTIFICATE-----\nAAAA\n`, 6],
    ['another end', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n', 1],
    ['a beginning inside', `-----BEGIN CERTIFICATE-----\nAAAA\n${block}`, 1],
  ];
  for (const [what, text, line] of broken) {
    it(`with ${what} is refused, and the line is told`, () => {
      assert.throws(
        () => pemBlocks(text),
        (error: unknown) => {
          assert.ok(error instanceof EvercertError);
          assert.deepEqual([error.code, error.faults[0]?.line], ['InvalidCertificate', line]);
          assert.match(error.message, new RegExp(`^line ${line}:`));
          return true;
        },
      );
    });
  }

  it('without a certificate is an error, never an empty list of trusted CAs', () => {
    assert.throws(() => certificatesFromPem(''), withCode('InvalidCertificate', /no certificate/));
    assert.throws(() => certificatesFromPem(toPem('PRIVATE KEY', Buffer.of(1))), withCode('InvalidCertificate', /no certificate/));
  });

  it('of more than 4 MiB is refused', () => {
    assert.throws(() => pemBlocks(Buffer.alloc(4 * 1024 * 1024 + 1)), withCode('InvalidCertificate', /4194304/));
  });

  it('of any text throws nothing but InvalidCertificate', async () => {
    const piece = fc.oneof(fc.constantFrom('-----BEGIN A-----\n', '-----END A-----\n', '\n', ':', '==', block), fc.string());
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    await fc.assert(
      fc.asyncProperty(text, async (value) => {
        await refusesOnlyWith(['InvalidCertificate'], () => pemBlocks(value));
      }),
      { numRuns: 500 },
    );
  });
});
