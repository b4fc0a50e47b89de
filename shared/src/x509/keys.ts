import {
  createPrivateKey,
  createPublicKey,
  generateKeyPair as generate,
  hash,
  type KeyObject,
  sign as signBytes,
  timingSafeEqual,
} from 'node:crypto';
import { promisify } from 'node:util';
import { EvercertError } from '../errors/index.ts';
import { signingAlgorithm } from './algorithms.ts';
import { certificateSpki } from './certificate-parts.ts';
import type { KeyAlgorithm, KnownKeyAlgorithm } from './types.ts';

const maxPemBytes = 64 * 1024;

export interface KeyPair {
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/** Makes a key pair on the thread pool. RSA 4096 takes 0.6 to 3 s, the others milliseconds. */
export function generateKeyPair(algorithm: KeyAlgorithm): Promise<KeyPair> {
  switch (algorithm) {
    case 'ecdsa-p256':
      return promisify(generate)('ec', { namedCurve: 'P-256' });
    case 'ecdsa-p384':
      return promisify(generate)('ec', { namedCurve: 'P-384' });
    case 'rsa-3072':
      return promisify(generate)('rsa', { modulusLength: 3072, publicExponent: 65537 });
    case 'rsa-4096':
      return promisify(generate)('rsa', { modulusLength: 4096, publicExponent: 65537 });
  }
}

const rsaAlgorithms: Readonly<Record<number, KnownKeyAlgorithm>> = { 2048: 'rsa-2048', 3072: 'rsa-3072', 4096: 'rsa-4096' };

/** The known algorithm of a private or public key; undefined for every other key (other curves and sizes, RSA exponents other than 65537). */
export function keyAlgorithmOf(key: KeyObject): KnownKeyAlgorithm | undefined {
  const details = key.asymmetricKeyDetails;
  if (key.asymmetricKeyType === 'ec') {
    return details?.namedCurve === 'prime256v1' ? 'ecdsa-p256' : details?.namedCurve === 'secp384r1' ? 'ecdsa-p384' : undefined;
  }
  if (key.asymmetricKeyType !== 'rsa' || details?.publicExponent !== 65537n) return undefined;
  return rsaAlgorithms[details.modulusLength ?? 0];
}

/** Signs certificates and requests with one private key. The key itself may lie elsewhere. */
export interface CertificateSigner {
  readonly keyAlgorithm: KnownKeyAlgorithm;
  readonly publicKey: KeyObject;
  /** Signature over the data: ECDSA in DER with the curve's hash (SHA-256 for P-256, SHA-384 for P-384), RSA PKCS#1 v1.5 with SHA-256. */
  sign(data: Uint8Array): Promise<Buffer>;
}

/** A signer over a key in memory; runs on the thread pool. InvalidArgument: not a private key, or not of a known algorithm. */
export function signerFor(privateKey: KeyObject): CertificateSigner {
  const keyAlgorithm = privateKey.type === 'private' ? keyAlgorithmOf(privateKey) : undefined;
  if (keyAlgorithm === undefined) {
    throw new EvercertError('InvalidArgument', 'only private keys of ECDSA P-256, ECDSA P-384, RSA 2048, RSA 3072 and RSA 4096 can sign');
  }
  const { hash: hashName } = signingAlgorithm(keyAlgorithm);
  return {
    keyAlgorithm,
    publicKey: createPublicKey(privateKey),
    sign: (data) =>
      new Promise((resolve, reject) => {
        signBytes(hashName, data, privateKey, (error, signature) => (error === null ? resolve(signature) : reject(error)));
      }),
  };
}

/** PKCS#8, not encrypted. */
export function privateKeyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

/**
 * Opens a private key in any PEM form that OpenSSL reads (PKCS#8, PKCS#1, SEC 1, encrypted or not).
 * InvalidArgument: too large, not a private key, or encrypted and the passphrase is missing or wrong.
 */
export function privateKeyFromPem(pem: string | Buffer, passphrase?: string): KeyObject {
  if (pem.length > maxPemBytes) throw new EvercertError('InvalidArgument', `the private key's PEM has more than ${maxPemBytes} bytes`);
  try {
    return createPrivateKey({ key: pem, format: 'pem', ...(passphrase === undefined ? {} : { passphrase }) });
  } catch (error) {
    const encrypted = /ENCRYPTED/.test(pem.toString());
    const reason = !encrypted
      ? 'it is not a private key in PEM form; expected a block such as BEGIN PRIVATE KEY'
      : passphrase === undefined
        ? 'it is encrypted and no passphrase was given'
        : 'it is encrypted and the passphrase does not open it';
    // OpenSSL's own text names the routine, never the key.
    throw new EvercertError('InvalidArgument', `the private key cannot be read: ${reason}`, { cause: error });
  }
}

/** DER SubjectPublicKeyInfo of a public key, or of a private key's public half. */
export function spkiDer(key: KeyObject): Buffer {
  return (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });
}

/** SHA-256 of the SubjectPublicKeyInfo in lower-case hex: the name of a key. */
export function spkiSha256(key: KeyObject | Buffer): string {
  return hash('sha256', Buffer.isBuffer(key) ? key : spkiDer(key), 'hex');
}

/** The public key's pin as kubeadm writes it: `sha256:` and the hex SHA-256 of the SubjectPublicKeyInfo. InvalidCertificate: not a certificate. */
export function publicKeyPin(certificateDer: Buffer): string {
  return `sha256:${spkiSha256(certificateSpki(certificateDer))}`;
}

/** True if any of the pins is that of the certificate's key. InvalidArgument: a pin that is not `sha256:` and 64 hex digits. */
export function matchesPin(certificateDer: Buffer, pins: readonly string[]): boolean {
  const actual = Buffer.from(spkiSha256(certificateSpki(certificateDer)), 'hex');
  const expected = pins.map((pin) => {
    const [, hex] = /^sha256:([0-9a-f]{64})$/i.exec(pin) ?? [];
    if (hex === undefined) {
      throw new EvercertError('InvalidArgument', 'a CA pin is not understood; expected sha256: and 64 hex digits, as kubeadm prints it', {
        metadata: { pin: pin.slice(0, 100) },
      });
    }
    return Buffer.from(hex, 'hex');
  });
  return expected.map((pin) => timingSafeEqual(pin, actual)).includes(true);
}

/** True if the certificate is for this key (private or public). InvalidCertificate: not a certificate. */
export function pairMatches(certificateDer: Buffer, key: KeyObject): boolean {
  return certificateSpki(certificateDer).equals(spkiDer(key));
}
