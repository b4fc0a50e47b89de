/**
 * Reading DER. node-forge's strict parser judges the whole; slices over the original bytes are taken beside it, since a signature is over what was received and
 * never over what a parser would write. Everything here throws plain errors: the public functions turn them into an EvercertError with their own code.
 */
import type { asn1 as forgeAsn1 } from 'node-forge';
import asn1 from 'node-forge/lib/asn1.js';

export type Asn1 = forgeAsn1.Asn1;

/** Deepest nesting in any certificate or request that occurs is about ten. */
const maxDepth = 24;

/** Parses one element that fills the bytes to the end. */
export function decode(der: Uint8Array): Asn1 {
  const text = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('latin1');
  const options = { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth };
  return asn1.fromDer(text, options);
}

/** The elements inside a constructed element. */
export function children(node: Asn1 | undefined, what: string): Asn1[] {
  if (node === undefined || !Array.isArray(node.value)) throw new Error(`${what} is missing or not constructed`);
  return node.value as Asn1[];
}

/** The bytes inside a primitive element. */
export function content(node: Asn1 | undefined, what: string): Buffer {
  if (node === undefined || typeof node.value !== 'string') throw new Error(`${what} is missing or not primitive`);
  return Buffer.from(node.value, 'latin1');
}

/** The whole bytes inside a BIT STRING. */
export function bits(node: Asn1 | undefined, what: string): Buffer {
  const bytes = content(node, what);
  if (!hasTag(node, 0x03) || bytes[0] !== 0) throw new Error(`${what} is not a BIT STRING of whole bytes`);
  return bytes.subarray(1);
}

export function oid(node: Asn1 | undefined, what: string): string {
  const bytes = content(node, what);
  if (!hasTag(node, 0x06) || bytes.length === 0 || bytes.length > 32 || (bytes.at(-1) ?? 0) >= 0x80) {
    throw new Error(`${what} is not an OBJECT IDENTIFIER`);
  }
  return dotted(bytes);
}

/** Arcs may have more bits than a number holds: those that are made of UUIDs have 128. */
function dotted(bytes: Buffer): string {
  const arcs: bigint[] = [];
  let arc = 0n;
  for (const byte of bytes) {
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0n;
  }
  const [first = 0n, ...rest] = arcs;
  const top = first < 80n ? first / 40n : 2n;
  return [top, first - top * 40n, ...rest].join('.');
}

/** Compares class, number and constructed bit with an identifier octet. */
export function hasTag(node: Asn1 | undefined, tag: number): boolean {
  return node !== undefined && (node.tagClass | (node.constructed ? 0x20 : 0) | node.type) === tag;
}

export interface Slice {
  tag: number;
  /** The whole element. */
  bytes: Buffer;
  /** What is inside it. */
  content: Buffer;
}

/** The elements that stand in a row in these bytes. Lengths must be definite and minimal, as in DER. */
export function slices(bytes: Buffer, what: string): Slice[] {
  const found: Slice[] = [];
  for (let at = 0; at < bytes.length; ) {
    const { start, end } = header(bytes, at, what);
    found.push({ tag: bytes[at] as number, bytes: bytes.subarray(at, end), content: bytes.subarray(start, end) });
    at = end;
  }
  return found;
}

/** The elements inside the one SEQUENCE that fills these bytes. */
export function sequenceSlices(bytes: Buffer, what: string): Slice[] {
  const [outer, ...rest] = slices(bytes, what);
  if (outer?.tag !== 0x30 || rest.length > 0) throw new Error(`${what} is not one SEQUENCE`);
  return slices(outer.content, what);
}

function header(bytes: Buffer, at: number, what: string): { start: number; end: number } {
  const short = bytes[at + 1];
  if (short === undefined) throw new Error(`${what} ends inside an element`);
  let start = at + 2;
  let length = short;
  if (short >= 0x80) {
    const count = short & 0x7f;
    if (count === 0 || count > 3 || start + count > bytes.length) throw new Error(`${what} has a length that DER does not allow`);
    length = bytes.readUIntBE(start, count);
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw new Error(`${what} has a length that is not minimal`);
    start += count;
  }
  if (start + length > bytes.length) throw new Error(`${what} ends inside an element`);
  return { start, end: start + length };
}
