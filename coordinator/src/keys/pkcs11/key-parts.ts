import { createPublicKey, type KeyObject } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import { childrenOf, contentOf, encoded, unsigned } from './der.ts';
import type { PrivateParts } from './protocol.ts';

const [integerTag, octetStringTag, sequenceTag] = [0x02, 0x04, 0x30];

/** CKA_EC_PARAMS: the OIDs of P-256 and P-384, in DER. */
export const curves = {
  'ecdsa-p256': Buffer.from('06082a8648ce3d030107', 'hex'),
  'ecdsa-p384': Buffer.from('06052b81040022', 'hex'),
} as const;

const curveNames = [
  { params: curves['ecdsa-p256'], name: 'P-256', bytes: 32 },
  { params: curves['ecdsa-p384'], name: 'P-384', bytes: 48 },
] as const;

/** SubjectPublicKeyInfo from CKA_EC_PARAMS and CKA_EC_POINT, which is an OCTET STRING, or with some libraries what would be in it. */
export function ecPublicKey(params: Uint8Array, point: Uint8Array): Buffer {
  const curve = curveNames.find((each) => each.params.equals(params));
  if (curve === undefined) throw odd('its curve is none that is known');
  const whole = point.length === 2 * curve.bytes + 1 ? Buffer.from(point) : contentOf(point);
  if (whole.length !== 2 * curve.bytes + 1 || whole[0] !== 0x04) throw odd('its public point is not understood');
  const [x, y] = [whole.subarray(1, 1 + curve.bytes), whole.subarray(1 + curve.bytes)].map((part) => part.toString('base64url'));
  return spkiOf({ kty: 'EC', crv: curve.name, x: x as string, y: y as string });
}

/** SubjectPublicKeyInfo from CKA_MODULUS and CKA_PUBLIC_EXPONENT. */
export function rsaPublicKey(modulus: Uint8Array, exponent: Uint8Array): Buffer {
  return spkiOf({ kty: 'RSA', n: unsigned(modulus).toString('base64url'), e: unsigned(exponent).toString('base64url') });
}

function spkiOf(jwk: { kty: string; [part: string]: string }): Buffer {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'der' });
  } catch {
    throw odd('its public key is not understood');
  }
}

/** ECDSA in DER from what a token makes: r and s, each as long as the curve's order. */
export function ecdsaDer(raw: Uint8Array): Buffer {
  const half = raw.length / 2;
  const numbers = [raw.subarray(0, half), raw.subarray(half)].map((part) => {
    const number = unsigned(part);
    const positive = (number[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), number]) : number;
    return encoded(integerTag, positive);
  });
  return encoded(sequenceTag, Buffer.concat(numbers));
}

/** The DigestInfo of a SHA-256 hash (RFC 8017 section 9.2), which is what a token signs as RSA PKCS#1 v1.5. */
export function sha256DigestInfo(hash: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from('3031300d060960864801650304020105000420', 'hex'), hash]);
}

/** The numbers of a private key, for as long as the work takes; they are wiped afterwards. */
export async function withPrivateParts<T>(key: KeyObject, work: (parts: PrivateParts) => Promise<T>): Promise<T> {
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' });
  try {
    return await work(privateParts(pkcs8, key));
  } finally {
    pkcs8.fill(0);
  }
}

/** Slices of the PKCS#8 (RFC 5958): RSAPrivateKey (RFC 8017 appendix A.1.2) or ECPrivateKey (RFC 5915) inside. */
function privateParts(pkcs8: Buffer, key: KeyObject): PrivateParts {
  const [, algorithm, wrapped] = childrenOf(pkcs8);
  if (algorithm === undefined || wrapped === undefined) throw odd('it is not understood');
  const inner = childrenOf(wrapped.content).map((part) => part.content);
  if (key.asymmetricKeyType === 'rsa') {
    const [modulus, publicExponent, privateExponent, prime1, prime2, exponent1, exponent2, coefficient] = inner.slice(1).map(unsigned);
    if (!modulus || !publicExponent || !privateExponent || !prime1 || !prime2 || !exponent1 || !exponent2 || !coefficient) {
      throw odd('it is not understood');
    }
    return { keyType: 'rsa', modulus, publicExponent, privateExponent, prime1, prime2, exponent1, exponent2, coefficient };
  }
  const [, value] = inner;
  const point = childrenOf(createPublicKey(key).export({ type: 'spki', format: 'der' }))[1]?.content.subarray(1);
  const params = elementAt(algorithm.content, 1);
  if (!value || !point || !params) throw odd('it is not understood');
  return { keyType: 'ec', ecParams: params, ecPoint: encoded(octetStringTag, point), value };
}

function elementAt(bytes: Uint8Array, index: number): Buffer | undefined {
  const element = childrenOf(encoded(sequenceTag, bytes))[index];
  return element && encoded(element.tag, element.content);
}

function odd(why: string): EvercertError {
  return new EvercertError('DataLoss', `a key cannot be used: ${why}; expected ECDSA P-256, ECDSA P-384 or RSA`);
}
