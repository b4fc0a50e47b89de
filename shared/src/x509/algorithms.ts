import { nullValue, objectIdentifier, sequence } from './der.ts';
import type { KnownKeyAlgorithm } from './types.ts';

export interface SignatureAlgorithm {
  name: string;
  oid: string;
  keyType: 'ec' | 'rsa';
  /** Name of the hash for node:crypto. */
  hash: 'sha256' | 'sha384' | 'sha512';
  /** The encoded AlgorithmIdentifier. RSA's has a NULL parameter (RFC 4055), ECDSA's none (RFC 5758). */
  encoded: Buffer;
}

function algorithm(name: string, oid: string, keyType: 'ec' | 'rsa', hash: SignatureAlgorithm['hash']): SignatureAlgorithm {
  const encoded = keyType === 'rsa' ? sequence(objectIdentifier(oid), nullValue) : sequence(objectIdentifier(oid));
  return { name, oid, keyType, hash, encoded };
}

/** Signature algorithms that a request may use. */
const signatureAlgorithms: readonly SignatureAlgorithm[] = [
  algorithm('ecdsa-with-SHA256', '1.2.840.10045.4.3.2', 'ec', 'sha256'),
  algorithm('ecdsa-with-SHA384', '1.2.840.10045.4.3.3', 'ec', 'sha384'),
  algorithm('ecdsa-with-SHA512', '1.2.840.10045.4.3.4', 'ec', 'sha512'),
  algorithm('sha256WithRSAEncryption', '1.2.840.113549.1.1.11', 'rsa', 'sha256'),
  algorithm('sha384WithRSAEncryption', '1.2.840.113549.1.1.12', 'rsa', 'sha384'),
  algorithm('sha512WithRSAEncryption', '1.2.840.113549.1.1.13', 'rsa', 'sha512'),
];

const byOid = new Map(signatureAlgorithms.map((entry) => [entry.oid, entry]));
const byName = new Map(signatureAlgorithms.map((entry) => [entry.name, entry]));

/** Names of further algorithms that certificates of others carry; they are read, never made. */
const otherNames: Readonly<Record<string, string>> = {
  '1.2.840.113549.1.1.5': 'sha1WithRSAEncryption',
  '1.2.840.113549.1.1.10': 'rsassaPss',
  '1.2.840.10045.4.1': 'ecdsa-with-SHA1',
  '1.3.101.112': 'Ed25519',
  '1.3.101.113': 'Ed448',
};

export function signatureAlgorithmByOid(oid: string): SignatureAlgorithm | undefined {
  return byOid.get(oid);
}

export function signatureAlgorithmName(oid: string): string {
  return byOid.get(oid)?.name ?? otherNames[oid] ?? oid;
}

const signingNames: Readonly<Record<KnownKeyAlgorithm, string>> = {
  'ecdsa-p256': 'ecdsa-with-SHA256',
  'ecdsa-p384': 'ecdsa-with-SHA384',
  'rsa-2048': 'sha256WithRSAEncryption',
  'rsa-3072': 'sha256WithRSAEncryption',
  'rsa-4096': 'sha256WithRSAEncryption',
};

/** The algorithm that Evercert signs with, one for each kind of key. */
export function signingAlgorithm(keyAlgorithm: KnownKeyAlgorithm): SignatureAlgorithm {
  return byName.get(signingNames[keyAlgorithm]) as SignatureAlgorithm;
}
