import assert from 'node:assert/strict';
import { createPublicKey, createSecretKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto';
import {
  generateKeyPair,
  keyAlgorithmOf,
  matchesPin,
  pairMatches,
  privateKeyFromPem,
  privateKeyToPem,
  publicKeyPin,
  signerFor,
  spkiDer,
  spkiSha256,
} from '@evercert/shared/x509';
import { makeCa, makeLeaf, withCode } from './fixtures.ts';
import { bytesOf, certificates } from './samples.ts';

/** What `openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum` says of kubeadm's CA. */
const kubeadmPin = 'sha256:24483e766b3f99d9a790ce401638b7b948b84ef286d6a1905c141157489e51ae';

describe('a key', () => {
  for (const [algorithm, hash] of [
    ['ecdsa-p256', 'sha256'],
    ['ecdsa-p384', 'sha384'],
    ['rsa-3072', 'sha256'],
  ] as const) {
    it(`of ${algorithm} is made, told, signs with ${hash} and survives PEM`, async () => {
      const { privateKey, publicKey } = await generateKeyPair(algorithm);
      assert.equal(keyAlgorithmOf(privateKey), algorithm);
      assert.equal(keyAlgorithmOf(publicKey), algorithm);
      const data = Buffer.from('data');
      assert.equal(verify(hash, data, publicKey, await signerFor(privateKey).sign(data)), true);
      const again = privateKeyFromPem(privateKeyToPem(privateKey));
      assert.equal(spkiSha256(again), spkiSha256(publicKey));
      assert.equal(spkiSha256(spkiDer(again)), spkiSha256(privateKey));
    });
  }

  const unlisted: [string, KeyObject][] = [
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey],
    ['Ed25519', generateKeyPairSync('ed25519').privateKey],
    ['RSA 1024', generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey],
    ['a secret key', createSecretKey(Buffer.alloc(32))],
  ];
  for (const [name, key] of unlisted) {
    it(`that is not listed has no algorithm and cannot sign: ${name}`, () => {
      assert.equal(keyAlgorithmOf(key), undefined);
      assert.throws(() => signerFor(key), withCode('InvalidArgument'));
    });
  }

  it('that is public cannot sign', async () => {
    const { publicKey } = await generateKeyPair('ecdsa-p256');
    assert.throws(() => signerFor(publicKey), withCode('InvalidArgument', /private keys/));
  });

  it('is read from SEC 1 and from encrypted PEM with its passphrase', async () => {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const sec1 = privateKey.export({ type: 'sec1', format: 'pem' });
    const encrypted = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'secret' });
    assert.equal(spkiSha256(privateKeyFromPem(sec1)), spkiSha256(privateKey));
    assert.equal(spkiSha256(privateKeyFromPem(Buffer.from(encrypted), 'secret')), spkiSha256(privateKey));
    assert.throws(() => privateKeyFromPem(encrypted), withCode('InvalidArgument', /no passphrase was given/));
    assert.throws(() => privateKeyFromPem(encrypted, 'wrong'), withCode('InvalidArgument', /passphrase does not open it/));
  });

  it('is not read from anything else', () => {
    for (const text of ['', 'hello', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n']) {
      assert.throws(() => privateKeyFromPem(text), withCode('InvalidArgument', /not a private key in PEM form/));
    }
    assert.throws(() => privateKeyFromPem('x'.repeat(65 * 1024)), withCode('InvalidArgument', /65536 bytes/));
  });
});

describe('a pin', () => {
  const ca = bytesOf(certificates.kubeadmCa);

  it('is the one that kubeadm and OpenSSL compute', () => {
    assert.equal(publicKeyPin(ca), kubeadmPin);
    assert.equal(matchesPin(ca, [kubeadmPin]), true);
    assert.equal(matchesPin(ca, [kubeadmPin.replace(/[a-f]/g, (digit) => digit.toUpperCase())]), true);
  });

  it('matches if any of several does', () => {
    const other = publicKeyPin(bytesOf(certificates.opensslRsa2048));
    assert.equal(matchesPin(ca, [other, kubeadmPin]), true);
    assert.equal(matchesPin(ca, [other]), false);
    assert.equal(matchesPin(ca, []), false);
  });

  it('of an unknown format is an error even beside one that matches', () => {
    for (const pin of ['', 'sha256:abcd', `sha512:${'0'.repeat(64)}`, kubeadmPin.slice(7)]) {
      assert.throws(() => matchesPin(ca, [kubeadmPin, pin]), withCode('InvalidArgument', /sha256:/));
    }
  });

  it('of what is no certificate is an error', () => {
    assert.throws(() => publicKeyPin(Buffer.from('no')), withCode('InvalidCertificate'));
  });
});

describe('a pair', () => {
  it('matches only with the key that the certificate is for', async () => {
    const ca = await makeCa();
    const [mine, other] = [await generateKeyPair('ecdsa-p384'), await generateKeyPair('ecdsa-p384')];
    const leaf = await makeLeaf(ca, mine);
    assert.equal(pairMatches(leaf, mine.privateKey), true);
    assert.equal(pairMatches(leaf, createPublicKey(mine.privateKey)), true);
    assert.equal(pairMatches(leaf, other.privateKey), false);
  });
});
