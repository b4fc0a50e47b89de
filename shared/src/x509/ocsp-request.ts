/** OCSP requests (RFC 6960 section 4.1), as a responder reads them. */
import { hash } from 'node:crypto';
import { toEvercertError } from '../errors/index.ts';
import { children, content, decode, hasTag, oid, type Slice, sequenceSlices, slices } from './asn1.ts';
import { certificateParts, readingCertificate } from './certificate-parts.ts';
import { oids } from './oids.ts';
import { rawExtensions } from './raw-extensions.ts';

const maxRequestBytes = 64 * 1024;
const maxCertificates = 64;
/** The largest hash and a serial of RFC 5280 make less than 200. Answers are kept by it: what a stranger sends in it must not fill the memory. */
const maxCertIdBytes = 256;
/** RFC 9654 section 2.1. */
const maxNonceBytes = 128;

/** Which certificate is asked about. */
export interface OcspCertId {
  /** The whole CertID as it was received: an answer repeats it to the byte. */
  readonly encoded: Buffer;
  /** For node:crypto; undefined: a hash that is not known here, so no issuer can fit. */
  readonly hashName: 'sha1' | 'sha256' | 'sha384' | 'sha512' | undefined;
  readonly issuerNameHash: Buffer;
  readonly issuerKeyHash: Buffer;
  /** Lower-case hex, as certificates' serials are. */
  readonly serial: string;
}

export interface OcspRequest {
  certificates: OcspCertId[];
  /** 1 to 128 bytes; undefined: none was sent. */
  nonce: Buffer | undefined;
}

const hashNames: Readonly<Record<string, NonNullable<OcspCertId['hashName']>>> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512',
};

/**
 * Reads a request of at most 64 KiB about at most 64 certificates. A signature of the requestor is neither wanted nor checked.
 * InvalidArgument: not exactly one DER request of version 1, a nonce of another size than 1 to 128 bytes, a CertID of more than 256 bytes, a critical extension that is not known.
 */
export function parseOcspRequest(der: Uint8Array): OcspRequest {
  try {
    if (der.length > maxRequestBytes) throw new Error(`it has ${der.length} bytes, more than ${maxRequestBytes}`);
    // A copy: slices of it live on in the answer.
    return readRequest(Buffer.from(der));
  } catch (error) {
    throw toEvercertError(error, 'InvalidArgument', 'the OCSP request cannot be read; expected one in DER (RFC 6960 section 4.1)');
  }
}

/** True if the question is about a certificate of this CA. InvalidCertificate: the CA cannot be read. */
export function isIssuerOf(caDer: Buffer, { hashName, issuerNameHash, issuerKeyHash }: OcspCertId): boolean {
  if (hashName === undefined) return false;
  const { subject, spki } = readingCertificate(() => certificateParts(caDer));
  const [, key] = sequenceSlices(spki.bytes, 'the public key');
  return (
    issuerNameHash.equals(hash(hashName, subject.bytes, 'buffer')) &&
    issuerKeyHash.equals(hash(hashName, key?.content.subarray(1) ?? Buffer.alloc(0), 'buffer'))
  );
}

function readRequest(der: Buffer): OcspRequest {
  decode(der);
  const [tbs, signature, ...more] = sequenceSlices(der, 'the request');
  if (tbs?.tag !== 0x30 || (signature !== undefined && signature.tag !== 0xa0) || more.length > 0) throw new Error('expected its content');
  const fields = slices(tbs.content, 'the request');
  if (fields[0]?.tag === 0xa0 && !fields.shift()?.content.equals(Buffer.of(0x02, 0x01, 0x00))) throw new Error('its version is not 1');
  if (fields[0]?.tag === 0xa1) fields.shift();
  const list = fields.shift();
  const extensions = fields[0]?.tag === 0xa2 ? fields.shift() : undefined;
  if (list?.tag !== 0x30 || fields.length > 0) throw new Error('expected a list of certificates');
  const requests = slices(list.content, 'the list');
  if (requests.length === 0 || requests.length > maxCertificates) {
    throw new Error(`it is about ${requests.length} certificates; expected 1 to ${maxCertificates}`);
  }
  return { certificates: requests.map(readSingle), nonce: extensions && readNonce(extensions.content) };
}

function readSingle(request: Slice): OcspCertId {
  const [certId, extensions, ...more] = request.tag === 0x30 ? slices(request.content, 'a request') : [];
  if (certId?.tag !== 0x30 || (extensions !== undefined && extensions.tag !== 0xa0) || more.length > 0)
    throw new Error('expected a CertID');
  if (certId.bytes.length > maxCertIdBytes) throw new Error(`a CertID has ${certId.bytes.length} bytes, more than ${maxCertIdBytes}`);
  if (extensions !== undefined) refuseCritical(extensions.content);
  const [algorithm, nameHash, keyHash, serial, ...rest] = slices(certId.content, 'a CertID');
  if (algorithm?.tag !== 0x30 || nameHash?.tag !== 0x04 || keyHash?.tag !== 0x04 || serial?.tag !== 0x02 || rest.length > 0) {
    throw new Error('a CertID is not hash, issuer and serial');
  }
  const { content: bytes } = serial;
  if (bytes.length === 0) throw new Error('a serial is empty');
  return {
    encoded: certId.bytes,
    hashName: hashNames[oid(children(decode(algorithm.bytes), 'a hash')[0], 'a hash')],
    issuerNameHash: nameHash.content,
    issuerKeyHash: keyHash.content,
    serial: (bytes.length > 1 && bytes[0] === 0 ? bytes.subarray(1) : bytes).toString('hex'),
  };
}

function readNonce(bytes: Buffer): Buffer | undefined {
  const extensions = rawExtensions(decode(bytes));
  if (extensions.some(({ type, critical }) => critical && type !== oids.ocspNonce)) throw unknownCritical();
  const sent = extensions.find(({ type }) => type === oids.ocspNonce);
  if (sent === undefined) return undefined;
  const node = decode(sent.value);
  const nonce = content(node, 'the nonce');
  if (!hasTag(node, 0x04) || nonce.length < 1 || nonce.length > maxNonceBytes)
    throw new Error(`its nonce is not of 1 to ${maxNonceBytes} bytes`);
  return nonce;
}

function refuseCritical(bytes: Buffer): void {
  if (rawExtensions(decode(bytes)).some(({ critical }) => critical)) throw unknownCritical();
}

function unknownCritical(): Error {
  return new Error('it has a critical extension that is not known');
}
