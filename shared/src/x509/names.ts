/** Distinguished names (RFC 5280 section 4.1.2.4). */
import { EvercertError } from '../errors/index.ts';
import { type Asn1, children, content, decode, hasTag, oid } from './asn1.ts';
import { element, objectIdentifier, printableString, sequence, setOf, utf8String } from './der.ts';
import { attributeNames, oids } from './oids.ts';

const maxAttributes = 256;
const maxOrganizations = 64;
const maxValueLength = 320;
const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/;
const encodedOids = {
  commonName: objectIdentifier(oids.commonName),
  organization: objectIdentifier(oids.organization),
  serialNumber: objectIdentifier(oids.serialNumber),
};

export interface SubjectFields {
  commonName: string;
  organizations?: readonly string[];
  /** The serialNumber attribute (2.5.4.5): tells generations of one name apart. Printable characters only. */
  serialNumber?: string;
}

/** InvalidArgument: a part that cannot stand in a subject. Longer than X.520's 64 characters is allowed: Kubernetes' `system:node:NAME` needs it. */
export function checkSubject({ commonName, organizations = [], serialNumber }: SubjectFields): void {
  if (commonName !== '') checkValue('common name', commonName);
  if (organizations.length > maxOrganizations) {
    throw new EvercertError('InvalidArgument', `a subject may have ${maxOrganizations} organizations, not ${organizations.length}`);
  }
  for (const organization of organizations) checkValue('organization', organization);
  if (serialNumber === undefined) return;
  checkValue('unique attribute', serialNumber);
  if (!printable.test(serialNumber)) throw badValue('unique attribute', serialNumber, "letters, digits and ' ()+,-./:=?");
}

function checkValue(what: string, value: string): void {
  if (value === '' || value.length > maxValueLength) throw badValue(what, value, `1 to ${maxValueLength} characters`);
  if (!value.isWellFormed() || /\p{Cc}/u.test(value)) throw badValue(what, value, 'text without control characters');
}

function badValue(what: string, value: string, expected: string): EvercertError {
  return new EvercertError(
    'InvalidArgument',
    `the ${what} ${JSON.stringify(value.slice(0, 100))} cannot stand in a subject; expected ${expected}`,
  );
}

/** Encodes a subject, common name last, so that RFC 4514's reversed text begins with CN. Empty parts and repeats are left out. */
export function encodeName({ commonName, organizations = [], serialNumber }: SubjectFields): Buffer {
  const parts = [...new Set(organizations)].map((organization) => attribute(encodedOids.organization, organization));
  if (serialNumber !== undefined) parts.push(attribute(encodedOids.serialNumber, serialNumber));
  if (commonName !== '') parts.push(attribute(encodedOids.commonName, commonName));
  return sequence(...parts);
}

/** PrintableString where its few characters do, else UTF8String, as RFC 5280 wants it and as Go's library writes it. */
function attribute(type: Buffer, value: string): Buffer {
  return setOf(sequence(type, printable.test(value) ? printableString(value) : utf8String(value)));
}

export interface NameAttribute {
  oid: string;
  /** Undefined when the value is not a string. */
  value: string | undefined;
  /** The encoded value's bytes, for the text form of what is no string. */
  raw: Buffer;
  /** Index of the RDN that it stands in. */
  rdn: number;
}

export function readName(node: Asn1 | undefined, what: string): NameAttribute[] {
  const found: NameAttribute[] = [];
  for (const [rdn, set] of children(node, what).entries()) {
    for (const pair of children(set, what)) {
      const [type, value] = children(pair, what);
      found.push({ oid: oid(type, what), value: stringValue(value), raw: primitiveBytes(value), rdn });
    }
  }
  if (found.length > maxAttributes) throw new Error(`${what} has more than ${maxAttributes} attributes`);
  return found;
}

export function attributeValues(name: readonly NameAttribute[], type: string): string[] {
  return name.flatMap((attribute) => (attribute.oid === type && attribute.value !== undefined ? [attribute.value] : []));
}

/** The name as RFC 4514 writes it: last RDN first, `CN=kubernetes-admin,O=kubeadm:cluster-admins`. */
export function formatName(name: readonly NameAttribute[]): string {
  const rdns = new Map<number, string[]>();
  for (const attribute of name) rdns.set(attribute.rdn, [...(rdns.get(attribute.rdn) ?? []), formatAttribute(attribute)]);
  return [...rdns.values()]
    .reverse()
    .map((parts) => parts.join('+'))
    .join(',');
}

/** A name by itself, in DER: its RFC 4514 text, and its last common name (empty: none). InvalidCertificate: it cannot be read. */
export function parseName(der: Buffer): { text: string; commonName: string } {
  try {
    const name = readName(decode(der), 'the name');
    return { text: formatName(name), commonName: attributeValues(name, oids.commonName).at(-1) ?? '' };
  } catch (error) {
    throw new EvercertError('InvalidCertificate', 'the name cannot be read as DER', { cause: error });
  }
}

function formatAttribute({ oid: type, value, raw }: NameAttribute): string {
  return `${attributeNames[type] ?? type}=${value === undefined ? `#${raw.toString('hex')}` : escapeValue(value)}`;
}

/** RFC 4514 section 2.4; control characters too, so that no name can forge lines in a log. */
function escapeValue(value: string): string {
  return value
    .replace(/[\\,+"<>;]|^[ #]| $/g, (character) => `\\${character}`)
    .replace(/\p{Cc}/gu, (character) => `\\${Buffer.from(character, 'utf8').toString('hex').match(/../g)?.join('\\')}`);
}

function primitiveBytes(node: Asn1 | undefined): Buffer {
  return node !== undefined && typeof node.value === 'string' ? element(node.type, Buffer.from(node.value, 'latin1')) : Buffer.alloc(0);
}

/** Text of the string types that names use. */
function stringValue(node: Asn1 | undefined): string | undefined {
  if (hasTag(node, 0x1e)) return String(node?.value);
  if (hasTag(node, 0x0c)) return content(node, 'a name').toString('utf8');
  const latin = [0x12, 0x13, 0x14, 0x16, 0x1a].some((tag) => hasTag(node, tag));
  return latin ? content(node, 'a name').toString('latin1') : undefined;
}
