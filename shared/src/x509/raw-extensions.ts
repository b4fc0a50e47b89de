/** Extensions as such, of certificates, requests, CRLs and OCSP alike (RFC 5280 section 4.1). */
import { type Asn1, children, content, hasTag, oid } from './asn1.ts';
import { booleanTrue, octetString, sequence } from './der.ts';

const maxExtensions = 64;

export interface RawExtension {
  /** Dotted numbers. */
  type: string;
  critical: boolean;
  /** What the OCTET STRING holds. */
  value: Buffer;
}

export function extension(type: Buffer, critical: boolean, value: Uint8Array): Buffer {
  return critical ? sequence(type, booleanTrue, octetString(value)) : sequence(type, octetString(value));
}

/** Reads a SEQUENCE OF Extension; undefined stands for none. A repeated extension is an error (RFC 5280 section 4.2). Throws plain errors. */
export function rawExtensions(node: Asn1 | undefined): RawExtension[] {
  const found = new Map<string, RawExtension>();
  for (const part of node === undefined ? [] : children(node, 'the extensions')) {
    const fields = children(part, 'an extension');
    const type = oid(fields[0], 'the type of an extension');
    if (found.has(type)) throw new Error(`extension ${type} is there twice`);
    if (found.size >= maxExtensions) throw new Error(`there are more than ${maxExtensions} extensions`);
    const flagged = hasTag(fields[1], 0x01);
    const value = fields[flagged ? 2 : 1];
    if (!hasTag(value, 0x04)) throw new Error(`extension ${type} has no value`);
    const critical = flagged && content(fields[1], 'a criticality')[0] !== 0;
    found.set(type, { type, critical, value: content(value, 'an extension') });
  }
  return [...found.values()];
}
