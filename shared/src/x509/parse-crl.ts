import { verify } from 'node:crypto';
import { EvercertError, toEvercertError } from '../errors/index.ts';
import { signatureAlgorithmByOid, signatureAlgorithmName } from './algorithms.ts';
import { bits, children, content, decode, hasTag, oid, type Slice, sequenceSlices, slices } from './asn1.ts';
import { parseCertificate } from './certificate.ts';
import { certificateParts, readingCertificate } from './certificate-parts.ts';
import { type CrlEntry, maxCrlEntries } from './crl.ts';
import { formatName, readName } from './names.ts';
import { oids } from './oids.ts';
import { rawExtensions } from './raw-extensions.ts';
import { type CrlReason, reasonOfCode } from './revocation-reasons.ts';
import { openSpki } from './spki.ts';
import { readTime } from './times.ts';

/** More than `maxCrlEntries` need. */
const maxCrlBytes = 16 * 1024 * 1024;

/** What a CRL says. */
export interface CrlInfo {
  /** RFC 4514 text. */
  issuer: string;
  /** Undefined: the list has none. */
  number: bigint | undefined;
  thisUpdate: Date;
  /** Undefined: the list does not say when the next one comes. */
  nextUpdate: Date | undefined;
  /** Lower-case hex. */
  authorityKeyId: string | undefined;
  /** As `ecdsa-with-SHA384`. */
  signatureAlgorithm: string;
  /** In the order of the list. */
  revoked: CrlEntry[];
  /** Dotted numbers of critical extensions, of the list or of an entry, that are not understood here: such a list must not be relied on. */
  unknownCriticalExtensions: string[];
}

interface CrlParts {
  tbs: Slice;
  algorithm: Slice;
  signature: Slice;
  issuer: Slice;
  times: Slice[];
  revoked: Slice | undefined;
  extensions: Slice | undefined;
}

/** Reads a CRL (RFC 5280 section 5.1) of at most 16 MiB and 200,000 entries. It checks no signature. InvalidCertificate: it cannot be read. */
export function parseCrl(der: Uint8Array): CrlInfo {
  return readingCrl(() => {
    const parts = crlParts(Buffer.from(der.buffer, der.byteOffset, der.byteLength));
    const unknownCriticalExtensions: string[] = [];
    const found = { number: undefined as bigint | undefined, authorityKeyId: undefined as string | undefined };
    for (const { type, critical, value } of rawExtensions(parts.extensions && decode(parts.extensions.content))) {
      if (type === oids.cRLNumber) found.number = readNumber(value);
      else if (type === oids.authorityKeyIdentifier) found.authorityKeyId = readAuthorityKeyId(value);
      else if (critical) unknownCriticalExtensions.push(type);
    }
    const [thisUpdate, nextUpdate] = parts.times.map((slice) => readTime(decode(slice.bytes), 'a time of update'));
    return {
      issuer: formatName(readName(decode(parts.issuer.bytes), 'the issuer')),
      ...found,
      thisUpdate: thisUpdate as Date,
      nextUpdate,
      signatureAlgorithm: signatureAlgorithmName(algorithmOid(parts)),
      revoked: readEntries(parts.revoked, unknownCriticalExtensions),
      unknownCriticalExtensions,
    };
  });
}

/**
 * Checks that the CRL is of this CA: its name, and its signature over the bytes as received. It does not judge the time. InvalidCertificate: one of the two cannot be read, or it
 * is not of this CA.
 */
export async function verifyCrl(der: Uint8Array, caDer: Buffer): Promise<void> {
  const ca = parseCertificate(caDer);
  const { name, tbs, signature, algorithm } = readingCrl(() => {
    const parts = crlParts(Buffer.from(der.buffer, der.byteOffset, der.byteLength));
    const known = signatureAlgorithmByOid(algorithmOid(parts));
    if (known === undefined) throw new Error('it is signed by an algorithm that is not accepted');
    return {
      name: parts.issuer.bytes,
      tbs: parts.tbs.bytes,
      signature: bits(decode(parts.signature.bytes), 'the signature'),
      algorithm: known,
    };
  });
  if (!name.equals(readingCertificate(() => certificateParts(caDer).subject.bytes))) {
    throw new EvercertError('InvalidCertificate', `the CRL is not of ${ca.subject}: it names another issuer`);
  }
  const valid = await new Promise<boolean>((resolve, reject) => {
    verify(algorithm.hash, tbs, openSpki(ca.spki), signature, (error, result) => (error === null ? resolve(result) : reject(error)));
  }).catch((error: unknown) => {
    throw toEvercertError(error, 'InvalidCertificate', "the CRL's signature cannot be checked");
  });
  if (!valid) throw new EvercertError('InvalidCertificate', `the CRL's signature is not of ${ca.subject}`);
}

function readingCrl<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw toEvercertError(error, 'InvalidCertificate', 'the CRL cannot be read; expected one X.509 CRL in DER');
  }
}

function crlParts(der: Buffer): CrlParts {
  if (der.length > maxCrlBytes) throw new Error(`it has ${der.length} bytes, more than ${maxCrlBytes}`);
  const [tbs, algorithm, signature, ...more] = sequenceSlices(der, 'the CRL');
  if (tbs?.tag !== 0x30 || algorithm?.tag !== 0x30 || signature?.tag !== 0x03 || more.length > 0) {
    throw new Error('expected content, algorithm and signature');
  }
  const fields = slices(tbs.content, 'the CRL');
  const isTime = (slice: Slice | undefined): boolean => slice?.tag === 0x17 || slice?.tag === 0x18;
  if (fields[0]?.tag === 0x02 && !fields.shift()?.content.equals(Buffer.of(1))) throw new Error('its version is not 2');
  const inner = fields.shift();
  const issuer = fields.shift();
  const times: Slice[] = [];
  while (times.length < 2 && isTime(fields[0])) times.push(fields.shift() as Slice);
  const revoked = fields[0]?.tag === 0x30 ? fields.shift() : undefined;
  const extensions = fields[0]?.tag === 0xa0 ? fields.shift() : undefined;
  if (inner?.tag !== 0x30 || issuer?.tag !== 0x30 || times.length === 0 || fields.length > 0) {
    throw new Error('expected algorithm, issuer, times, entries and extensions');
  }
  if (!inner.bytes.equals(algorithm.bytes)) throw new Error('its two signature algorithms differ');
  return { tbs, algorithm, signature, issuer, times, revoked, extensions };
}

function algorithmOid({ algorithm }: CrlParts): string {
  return oid(children(decode(algorithm.bytes), 'the algorithm')[0], 'the algorithm');
}

/** A list can have very many entries: they are cut from the bytes, and only what is rare goes through the parser of trees. */
function readEntries(list: Slice | undefined, unknownCritical: string[]): CrlEntry[] {
  if (list === undefined) return [];
  const entries = slices(list.content, 'the list');
  if (entries.length > maxCrlEntries) throw new Error(`it has ${entries.length} entries, more than ${maxCrlEntries}`);
  const readEntryTime = remembering((slice) => readTime(decode(slice.bytes), 'a time of revocation'));
  const readReason = remembering((slice) => readEntryExtensions(slice, unknownCritical));
  return entries.map((entry) => {
    const [serial, revokedAt, extensions, ...more] = slices(entry.content, 'an entry');
    if (entry.tag !== 0x30 || serial?.tag !== 0x02 || serial.content.length === 0 || revokedAt === undefined || more.length > 0) {
      throw new Error('an entry has no serial or no time');
    }
    const { content: bytes } = serial;
    return {
      serial: (bytes.length > 1 && bytes[0] === 0 ? bytes.subarray(1) : bytes).toString('hex'),
      revokedAt: readEntryTime(revokedAt),
      reason: extensions === undefined ? 'unspecified' : readReason(extensions),
    };
  });
}

/** Entries next to each other often say the same. */
function remembering<T>(read: (slice: Slice) => T): (slice: Slice) => T {
  let last: { bytes: Buffer; value: T } | undefined;
  return (slice) => {
    if (last === undefined || !last.bytes.equals(slice.bytes)) last = { bytes: slice.bytes, value: read(slice) };
    return last.value;
  };
}

function readEntryExtensions(slice: Slice, unknownCritical: string[]): CrlReason {
  let reason: CrlReason | undefined = 'unspecified';
  for (const { type, critical, value } of rawExtensions(decode(slice.bytes))) {
    if (type !== oids.reasonCode) {
      if (critical && !unknownCritical.includes(type)) unknownCritical.push(type);
      continue;
    }
    const node = decode(value);
    const code = content(node, 'a reason');
    reason = hasTag(node, 0x0a) && code.length === 1 ? reasonOfCode(code[0] as number) : undefined;
  }
  if (reason === undefined) throw new Error('a reason is none of RFC 5280');
  return reason;
}

function readNumber(value: Buffer): bigint {
  const node = decode(value);
  const bytes = content(node, 'the CRL number');
  if (!hasTag(node, 0x02) || bytes.length === 0 || bytes.length > 20 || (bytes[0] as number) >= 0x80)
    throw new Error('the CRL number is out of range');
  return BigInt(`0x${bytes.toString('hex')}`);
}

function readAuthorityKeyId(value: Buffer): string | undefined {
  const identifier = children(decode(value), 'the authority key identifier').find((part) => hasTag(part, 0x80));
  return identifier && content(identifier, 'the authority key identifier').toString('hex');
}
