import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { sequenceSlices } from './asn1.ts';
import type { KnownKeyAlgorithm } from './types.ts';

/**
 * SubjectPublicKeyInfo of a listed key has one encoding only: a fixed head, the key's bytes, and for RSA the exponent 65537. Telling them by their bytes needs no
 * call into OpenSSL and lets no compressed point, explicit curve or sloppy encoding into a certificate.
 */
const shapes: readonly { algorithm: KnownKeyAlgorithm; head: Buffer; tail: Buffer; length: number }[] = [
  shape('ecdsa-p256', '3059301306072a8648ce3d020106082a8648ce3d03010703420004', '', 91),
  shape('ecdsa-p384', '3076301006072a8648ce3d020106052b8104002203620004', '', 120),
  shape('rsa-2048', '30820122300d06092a864886f70d01010105000382010f003082010a0282010100', '0203010001', 294),
  shape('rsa-3072', '308201a2300d06092a864886f70d01010105000382018f003082018a0282018100', '0203010001', 422),
  shape('rsa-4096', '30820222300d06092a864886f70d01010105000382020f003082020a0282020100', '0203010001', 550),
];

function shape(algorithm: KnownKeyAlgorithm, head: string, tail: string, length: number): (typeof shapes)[number] {
  return { algorithm, head: Buffer.from(head, 'hex'), tail: Buffer.from(tail, 'hex'), length };
}

/** The known algorithm of an encoded SubjectPublicKeyInfo; undefined for anything else. */
export function spkiAlgorithm(spki: Buffer): KnownKeyAlgorithm | undefined {
  for (const { algorithm, head, tail, length } of shapes) {
    if (spki.length !== length || spki.compare(head, 0, head.length, 0, head.length) !== 0) continue;
    if (spki.compare(tail, 0, tail.length, length - tail.length) !== 0) continue;
    // An RSA modulus fills its length only with the top bit set.
    return tail.length === 0 || (spki[head.length] as number) >= 0x80 ? algorithm : undefined;
  }
  return undefined;
}

/** Key identifier: the leftmost 160 bits of the SHA-256 of the public key's bits (RFC 7093 section 2, method 1). */
export function keyIdentifier(spki: Buffer): Buffer {
  const [, key] = sequenceSlices(spki, 'the public key');
  if (key?.tag !== 0x03) throw new Error('the public key has no BIT STRING');
  return hash('sha256', key.content.subarray(1), 'buffer').subarray(0, 20);
}

export function openSpki(spki: Buffer): KeyObject {
  return createPublicKey({ key: spki, format: 'der', type: 'spki' });
}

const curveNames: Readonly<Record<string, string>> = { prime256v1: 'P-256', secp224r1: 'P-224', secp384r1: 'P-384', secp521r1: 'P-521' };

/** A key in words, as `ECDSA P-384` or `RSA 2048`. */
export function describeKey(key: KeyObject): string {
  const details = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'ec':
      return `ECDSA ${curveNames[details.namedCurve ?? ''] ?? details.namedCurve ?? 'on an unnamed curve'}`;
    case 'rsa':
      return `RSA ${details.modulusLength}`;
    case 'rsa-pss':
      return `RSA-PSS ${details.modulusLength}`;
    case 'ed25519':
      return 'Ed25519';
    case 'ed448':
      return 'Ed448';
    default:
      return key.asymmetricKeyType ?? 'secret key';
  }
}

const descriptions: Readonly<Record<KnownKeyAlgorithm, string>> = {
  'ecdsa-p256': 'ECDSA P-256',
  'ecdsa-p384': 'ECDSA P-384',
  'rsa-2048': 'RSA 2048',
  'rsa-3072': 'RSA 3072',
  'rsa-4096': 'RSA 4096',
};

/** The same from the encoding; a key that OpenSSL cannot open is `unknown`. */
export function describeSpki(spki: Buffer): string {
  const algorithm = spkiAlgorithm(spki);
  if (algorithm !== undefined) return descriptions[algorithm];
  try {
    return describeKey(openSpki(spki));
  } catch {
    // The description is for people: a certificate with an exotic key is still worth showing.
    return 'unknown';
  }
}
