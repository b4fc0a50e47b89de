import assert from 'node:assert/strict';
import { generateKeyPair, newSerial, normalizeSerial, parseCertificate } from '@evercert/shared/x509';
import fc from 'fast-check';
import { makeCa, makeLeaf, withCode } from './fixtures.ts';

describe('a serial', () => {
  it('is 32 lower-case hex digits that do not begin with a zero byte, and never the same twice', () => {
    const serials = Array.from({ length: 5000 }, () => newSerial());
    for (const serial of serials) assert.match(serial, /^(?!00)[0-9a-f]{32}$/);
    assert.equal(new Set(serials).size, serials.length);
  });

  it('is drawn again when its first byte is zero', () => {
    const draws = [Buffer.alloc(16), Buffer.concat([Buffer.of(0), Buffer.alloc(15, 1)]), Buffer.alloc(16, 0xab)];
    assert.equal(
      newSerial(() => draws.shift() as Buffer),
      'ab'.repeat(16),
    );
  });

  it('reads back from its certificate as it was given', async () => {
    const ca = await makeCa();
    const quick = { ...ca, issuer: { ...ca.issuer, signer: { ...ca.signer, sign: async () => Buffer.alloc(100) } } };
    const key = await generateKeyPair('ecdsa-p384');
    const serial = fc.uint8Array({ minLength: 1, maxLength: 19 }).filter((bytes) => bytes[0] !== 0);
    await fc.assert(
      fc.asyncProperty(serial, async (bytes) => {
        const text = Buffer.from(bytes).toString('hex');
        assert.equal(parseCertificate(await makeLeaf(quick, key, { serial: text })).serial, text);
      }),
    );
  });

  it('has one text, however people and tools write it', () => {
    for (const text of ['77FDF4B1', '77:fd:f4:b1', '0x77fdf4b1', ' 77 fd f4 b1 ', '0077fdf4b1'])
      assert.equal(normalizeSerial(text), '77fdf4b1');
    assert.equal(normalizeSerial('7'), '07');
    for (const text of ['', '0', '00:00', '0x', 'xyz', '1'.repeat(41)])
      assert.throws(() => normalizeSerial(text), withCode('InvalidArgument'));
  });
});
