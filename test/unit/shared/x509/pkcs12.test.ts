import assert from 'node:assert/strict';
import { createSecureContext } from 'node:tls';
import { createPkcs12, generateKeyPair, type KeyPair } from '@evercert/shared/x509';
import { type Ca, makeCa, makeLeaf, withCode } from './fixtures.ts';

const password = 'correct horse';
const friendlyName = 'apiserver';

describe('PKCS#12', () => {
  let ca: Ca;
  let key: KeyPair;
  let leaf: Buffer;
  before(async () => {
    ca = await makeCa();
    key = await generateKeyPair('ecdsa-p384');
    leaf = await makeLeaf(ca, key);
  });

  async function opens(der: Buffer): Promise<void> {
    createSecureContext({ pfx: der, passphrase: password });
    assert.throws(() => createSecureContext({ pfx: der, passphrase: 'wrong' }), /mac verify failure/);
  }

  it('of an EC key opens with its password alone', async () => {
    await opens(await createPkcs12({ chain: [leaf, ca.der], privateKey: key.privateKey, password, friendlyName }));
  });

  it('of an RSA key under an RSA CA, and under an EC CA, opens with its password alone', async () => {
    const rsa = await generateKeyPair('rsa-3072');
    const rsaCa = await makeCa('rsa-ca', 'g1', 'rsa-3072');
    const chains = [
      [await makeLeaf(rsaCa, rsa), rsaCa.der],
      [await makeLeaf(ca, rsa), ca.der],
    ];
    for (const chain of chains) await opens(await createPkcs12({ chain, privateKey: rsa.privateKey, password, friendlyName }));
  });

  it('is refused without a chain, with a key of another, and with a password that tools would read differently', async () => {
    const good = { chain: [leaf], privateKey: key.privateKey, password, friendlyName };
    const other = await generateKeyPair('ecdsa-p384');
    await assert.rejects(createPkcs12({ ...good, chain: [] }), withCode('InvalidArgument', /1 to 16/));
    await assert.rejects(createPkcs12({ ...good, privateKey: other.privateKey }), withCode('InvalidArgument', /not that of the first/));
    await assert.rejects(createPkcs12({ ...good, privateKey: key.publicKey }), withCode('InvalidArgument', /private key/));
    for (const bad of ['', 'pässword'])
      await assert.rejects(createPkcs12({ ...good, password: bad }), withCode('InvalidArgument', /ASCII/));
    await assert.rejects(createPkcs12({ ...good, chain: [Buffer.from('x')] }), withCode('InvalidCertificate'));
  });
});
