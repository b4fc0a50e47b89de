/** The extensions that Evercert writes and reads (RFC 5280 section 4.2). */
import { readDistributionPoints, readInfoAccess } from './access.ts';
import { type Asn1, children, content, decode, hasTag, oid } from './asn1.ts';
import { booleanTrue, contextPrimitive, namedBits, nullValue, objectIdentifier, octetString, sequence, unsignedInteger } from './der.ts';
import { type ReadNames, readGeneralNames } from './general-names.ts';
import { oids } from './oids.ts';
import { extension, rawExtensions } from './raw-extensions.ts';
import { usages as knownUsages, type Usage } from './types.ts';

const types = {
  authorityKeyIdentifier: objectIdentifier(oids.authorityKeyIdentifier),
  subjectKeyIdentifier: objectIdentifier(oids.subjectKeyIdentifier),
  subjectAltName: objectIdentifier(oids.subjectAltName),
};

const keyUsageBits = { digitalSignature: 0, keyEncipherment: 2, keyCertSign: 5, cRLSign: 6 } as const;

function keyUsageExtension(...names: (keyof typeof keyUsageBits)[]): Buffer {
  return extension(objectIdentifier(oids.keyUsage), true, namedBits(names.map((name) => keyUsageBits[name])));
}

function basicConstraintsExtension(ca: boolean, pathLength?: number): Buffer {
  const length = pathLength === undefined ? [] : [unsignedInteger(Buffer.of(pathLength))];
  return extension(objectIdentifier(oids.basicConstraints), true, ca ? sequence(booleanTrue, ...length) : sequence());
}

function extendedKeyUsageExtension(...purposes: string[]): Buffer {
  return extension(objectIdentifier(oids.extendedKeyUsage), false, sequence(...purposes.map(objectIdentifier)));
}

/** What every CA says. The path length is below 128; undefined: it is not restricted. */
export function caExtensions(pathLength?: number): Buffer[] {
  return [basicConstraintsExtension(true, pathLength), keyUsageExtension('digitalSignature', 'keyCertSign', 'cRLSign')];
}

const leafBasicConstraints = basicConstraintsExtension(false);
const leafKeyUsage = { sign: keyUsageExtension('digitalSignature'), both: keyUsageExtension('digitalSignature', 'keyEncipherment') };
const leafPurposes = {
  server: extendedKeyUsageExtension(oids.serverAuth),
  client: extendedKeyUsageExtension(oids.clientAuth),
  both: extendedKeyUsageExtension(oids.serverAuth, oids.clientAuth),
};

/**
 * Basic constraints, key usage and extended key usage of a leaf. Digital signature is always there, as TLS 1.3 needs it; key encipherment is for RSA keys alone
 * (RFC 5480 section 3 forbids it for EC keys), where NSS wants it of servers.
 */
export function usageExtensions(declared: readonly Usage[], rsa: boolean): Buffer[] {
  const usages = effectiveUsages(declared, rsa);
  const server = usages.includes('server auth');
  const client = usages.includes('client auth');
  const keyUsage = usages.includes('key encipherment') ? leafKeyUsage.both : leafKeyUsage.sign;
  const purposes = server && client ? [leafPurposes.both] : server ? [leafPurposes.server] : client ? [leafPurposes.client] : [];
  return [leafBasicConstraints, keyUsage, ...purposes];
}

/** What stands in a leaf for which these usages are declared. */
export function effectiveUsages(declared: readonly Usage[], rsa: boolean): Usage[] {
  return knownUsages.filter(
    (usage) => usage === 'digital signature' || (declared.includes(usage) && (rsa || usage !== 'key encipherment')),
  );
}

/** Extended key usage of a delegated OCSP signer, and the word that nobody need ask whether it is revoked itself: it lives briefly (RFC 6960 section 4.2.2.2.1). */
export const ocspSignerExtensions: readonly Buffer[] = [
  leafBasicConstraints,
  leafKeyUsage.sign,
  extendedKeyUsageExtension(oids.ocspSigning),
  extension(objectIdentifier(oids.ocspNocheck), false, nullValue),
];

/** Of a key that signs the audit log and does nothing else: no TLS peer takes it for a server or client. */
export const auditSignerExtensions: readonly Buffer[] = [
  leafBasicConstraints,
  leafKeyUsage.sign,
  extendedKeyUsageExtension(oids.auditSigning),
];

export function subjectKeyIdentifierExtension(identifier: Buffer): Buffer {
  return extension(types.subjectKeyIdentifier, false, octetString(identifier));
}

export function authorityKeyIdentifierExtension(identifier: Buffer): Buffer {
  return extension(types.authorityKeyIdentifier, false, sequence(contextPrimitive(0, identifier)));
}

/** Critical only when there is no subject to tell the certificate by (RFC 5280 section 4.2.1.6). */
export function subjectAltNameExtension(generalNames: Buffer, subjectIsEmpty: boolean): Buffer {
  return extension(types.subjectAltName, subjectIsEmpty, generalNames);
}

/** What makes a CA. */
export interface CaParts {
  /** Basic constraints say CA. */
  constraint: boolean;
  certSign: boolean;
  crlSign: boolean;
}

/** What is read from a certificate's or a request's extensions. */
export interface ReadExtensions extends ReadNames {
  usages: Usage[];
  /** Basic constraints say CA, and key usage, where present, allows signing certificates. */
  isCa: boolean;
  /** The same in parts, for whoever has to say what is missing. Key usages that are not restricted are all true. */
  caParts: CaParts;
  pathLength: number | undefined;
  /** False: the extension is absent and any purpose is allowed. */
  hasExtendedKeyUsage: boolean;
  /** Purposes hold anyExtendedKeyUsage. */
  anyPurpose: boolean;
  subjectKeyId: string | undefined;
  authorityKeyId: string | undefined;
  crlUrls: string[];
  ocspUrls: string[];
  caIssuerUrls: string[];
  /** Critical extensions that are not understood here; a chain with one must be refused. */
  unknownCritical: string[];
}

/** Reads a SEQUENCE OF Extension; undefined stands for none. */
export function readExtensions(node: Asn1 | undefined): ReadExtensions {
  const found = noExtensions();
  for (const { type, critical, value } of rawExtensions(node)) {
    const read = readers[type];
    if (read !== undefined) read(decode(value), found);
    else if (critical) found.unknownCritical.push(type);
  }
  return { ...found, isCa: found.caParts.constraint && found.caParts.certSign };
}

type Found = ReadExtensions;

function noExtensions(): ReadExtensions {
  return {
    dnsNames: [],
    ipAddresses: [],
    uris: [],
    otherNames: 0,
    usages: [],
    isCa: false,
    caParts: { constraint: false, certSign: true, crlSign: true },
    pathLength: undefined,
    hasExtendedKeyUsage: false,
    anyPurpose: false,
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    crlUrls: [],
    ocspUrls: [],
    caIssuerUrls: [],
    unknownCritical: [],
  };
}

const readers: Readonly<Record<string, (value: Asn1, found: Found) => void>> = {
  [oids.basicConstraints]: readBasicConstraints,
  [oids.keyUsage]: readKeyUsage,
  [oids.extendedKeyUsage]: readExtendedKeyUsage,
  [oids.subjectAltName]: (value, found) => Object.assign(found, readGeneralNames(value)),
  [oids.subjectKeyIdentifier]: (value, found) => {
    found.subjectKeyId = content(value, 'the subject key identifier').toString('hex');
  },
  [oids.cRLDistributionPoints]: (value, found) => {
    found.crlUrls = readDistributionPoints(value);
  },
  [oids.authorityInfoAccess]: (value, found) => Object.assign(found, readInfoAccess(value)),
  [oids.authorityKeyIdentifier]: (value, found) => {
    const identifier = children(value, 'the authority key identifier').find((part) => hasTag(part, 0x80));
    if (identifier !== undefined) found.authorityKeyId = content(identifier, 'the authority key identifier').toString('hex');
  },
};

function readBasicConstraints(value: Asn1, found: Found): void {
  const fields = children(value, 'the basic constraints');
  found.caParts.constraint = hasTag(fields[0], 0x01) && content(fields[0], 'the basic constraints')[0] !== 0;
  const length = fields.find((field) => hasTag(field, 0x02));
  if (length === undefined) return;
  const bytes = content(length, 'the path length');
  if (bytes.length === 0 || bytes.length > 2 || (bytes[0] as number) >= 0x80) throw new Error('the path length is out of range');
  found.pathLength = bytes.readUIntBE(0, bytes.length);
}

function readKeyUsage(value: Asn1, found: Found): void {
  if (!hasTag(value, 0x03)) throw new Error('the key usage is not a BIT STRING');
  const bytes = content(value, 'the key usage');
  const first = bytes[1] ?? 0;
  if (first & 0x80) found.usages.push('digital signature');
  if (first & 0x20) found.usages.push('key encipherment');
  found.caParts.certSign = (first & 0x04) !== 0;
  found.caParts.crlSign = (first & 0x02) !== 0;
}

function readExtendedKeyUsage(value: Asn1, found: Found): void {
  found.hasExtendedKeyUsage = true;
  for (const purpose of children(value, 'the extended key usage')) {
    const type = oid(purpose, 'a purpose');
    if (type === oids.serverAuth) found.usages.push('server auth');
    else if (type === oids.clientAuth) found.usages.push('client auth');
    else if (type === oids.anyExtendedKeyUsage) found.anyPurpose = true;
  }
}
