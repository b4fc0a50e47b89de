import { hash, type KeyObject, verify } from 'node:crypto';
import { EvercertError, toEvercertError } from '../errors/index.ts';
import { type SignatureAlgorithm, signatureAlgorithmByOid } from './algorithms.ts';
import { bits, children, decode, hasTag, oid, type Slice, sequenceSlices, slices } from './asn1.ts';
import { readExtensions } from './extensions.ts';
import type { ReadNames } from './general-names.ts';
import { attributeValues, readName } from './names.ts';
import { oids } from './oids.ts';
import { describeKey, openSpki, spkiAlgorithm } from './spki.ts';
import type { KeyAlgorithm } from './types.ts';

const maxCsrBytes = 64 * 1024;

/** What the request asks for. Nothing of it is believed: the coordinator decides what a certificate says. */
export interface RequestedContents extends ReadNames {
  commonName: string;
  organizations: string[];
  isCa?: boolean;
}

/** A PKCS#10 request whose structure and key are acceptable; its signature is checked by `verifyCsr`. */
export interface ParsedCsr {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Buffer;
  readonly publicKey: KeyObject;
  readonly keyAlgorithm: KeyAlgorithm;
  /** Lower-case hex. */
  readonly spkiSha256: string;
  readonly requested: RequestedContents;
  /** DER Name that is asked for. */
  readonly subject: Buffer;
  /** The signed bytes, as they were received. */
  readonly signed: Buffer;
  readonly signature: Buffer;
  readonly signatureAlgorithm: SignatureAlgorithm;
}

/**
 * Parses a PKCS#10 request (RFC 2986) of at most 64 KiB.
 * InvalidCsr: not exactly one DER request, a key that is not listed, or an algorithm that does not fit the key. WeakKey: RSA under 3072 bits or with a small exponent,
 * or a curve under 256 bits.
 */
export function parseCsr(der: Uint8Array): ParsedCsr {
  return readingCsr(() => {
    if (der.length > maxCsrBytes) throw new Error(`it has ${der.length} bytes, more than ${maxCsrBytes}`);
    // A copy: slices of it live on in ParsedCsr, and the caller's bytes may change.
    const bytes = Buffer.from(der);
    decode(bytes);
    const [info, algorithm, signature, ...more] = sequenceSlices(bytes, 'the request');
    if (info?.tag !== 0x30 || algorithm?.tag !== 0x30 || signature === undefined || more.length > 0) {
      throw new Error('expected content, algorithm and signature');
    }
    const [version, subject, spki, attributes] = sequenceSlices(info.bytes, 'the request');
    if (version?.tag !== 0x02 || !version.content.equals(Buffer.of(0)) || subject?.tag !== 0x30 || spki?.tag !== 0x30) {
      throw new Error('expected version 0, subject and public key');
    }
    const { keyAlgorithm, publicKey } = openKey(spki.bytes);
    return {
      spki: spki.bytes,
      publicKey,
      keyAlgorithm,
      spkiSha256: hash('sha256', spki.bytes, 'hex'),
      requested: readRequested(subject, attributes),
      subject: subject.bytes,
      signed: info.bytes,
      signature: bits(decode(signature.bytes), 'the signature'),
      signatureAlgorithm: readAlgorithm(algorithm, keyAlgorithm),
    };
  });
}

/** Checks the proof of possession: the request's signature, by its own key, over the bytes as received. On the thread pool. InvalidCsr: it does not fit. */
export async function verifyCsr(csr: ParsedCsr): Promise<void> {
  const valid = await new Promise<boolean>((resolve, reject) => {
    verify(csr.signatureAlgorithm.hash, csr.signed, csr.publicKey, csr.signature, (error, result) =>
      error === null ? resolve(result) : reject(error),
    );
  }).catch((error: unknown) => {
    throw toEvercertError(error, 'InvalidCsr', "the request's signature cannot be checked");
  });
  if (!valid)
    throw new EvercertError('InvalidCsr', "the request's signature does not fit its key; sign the request with the key that it carries");
}

/** Parses and verifies. Errors as of both. */
export async function openCsr(der: Uint8Array): Promise<ParsedCsr> {
  const csr = parseCsr(der);
  await verifyCsr(csr);
  return csr;
}

function readingCsr<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw toEvercertError(error, 'InvalidCsr', 'the certificate request cannot be read; expected one PKCS#10 request in DER');
  }
}

function openKey(spki: Buffer): { keyAlgorithm: KeyAlgorithm; publicKey: KeyObject } {
  const publicKey = openSpki(spki);
  const keyAlgorithm = spkiAlgorithm(spki);
  if (keyAlgorithm !== undefined && keyAlgorithm !== 'rsa-2048') return { keyAlgorithm, publicKey };
  const expected = 'expected ECDSA P-256 or P-384 (named curve, uncompressed point), or RSA 3072 or 4096 with exponent 65537';
  throw new EvercertError(
    isWeak(publicKey) ? 'WeakKey' : 'InvalidCsr',
    `the request's key, ${describeKey(publicKey)}, is not accepted; ${expected}`,
  );
}

function isWeak(key: KeyObject): boolean {
  const { modulusLength, publicExponent, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (modulusLength !== undefined) return modulusLength < 3072 || (publicExponent ?? 0n) < 65537n;
  return namedCurve !== undefined && /(^|\D)(112|128|160|163|176|191|192|193|208|224|233|239)/.test(namedCurve);
}

function readAlgorithm(slice: Slice, keyAlgorithm: KeyAlgorithm): SignatureAlgorithm {
  const [type, parameter, ...more] = children(decode(slice.bytes), 'the signature algorithm');
  const number = oid(type, 'the signature algorithm');
  const algorithm = signatureAlgorithmByOid(number);
  const keyType = keyAlgorithm.startsWith('rsa') ? 'rsa' : 'ec';
  if (algorithm?.keyType !== keyType) {
    throw new Error(
      `its signature algorithm ${algorithm?.name ?? number} does not fit its key; expected SHA-256, SHA-384 or SHA-512 with the key's own kind`,
    );
  }
  const parameterFits = parameter === undefined || (keyType === 'rsa' && hasTag(parameter, 0x05));
  if (!parameterFits || more.length > 0) throw new Error('its signature algorithm has a parameter that does not belong there');
  return algorithm;
}

function readRequested(subject: Slice, attributes: Slice | undefined): RequestedContents {
  const name = readName(decode(subject.bytes), 'the subject');
  const { dnsNames, ipAddresses, uris, otherNames, isCa } = readRequestedExtensions(attributes);
  return {
    commonName: attributeValues(name, oids.commonName).at(-1) ?? '',
    organizations: attributeValues(name, oids.organization),
    dnsNames,
    ipAddresses,
    uris,
    otherNames,
    isCa,
  };
}

function readRequestedExtensions(attributes: Slice | undefined): ReturnType<typeof readExtensions> {
  if (attributes !== undefined && attributes.tag !== 0xa0) throw new Error('its attributes have a wrong tag');
  for (const attribute of attributes === undefined ? [] : slices(attributes.content, 'the attributes')) {
    const [type, values] = children(decode(attribute.bytes), 'an attribute');
    if (oid(type, 'an attribute') === oids.extensionRequest) return readExtensions(children(values, 'the requested extensions')[0]);
  }
  return readExtensions(undefined);
}
