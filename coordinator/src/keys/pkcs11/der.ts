import { EvercertError } from '@evercert/shared/errors';

/** One DER element over the original bytes: private numbers go through no string, which could not be wiped. */
export interface Element {
  tag: number;
  content: Buffer;
}

/** The elements that lie one after another. DataLoss: it is no DER. */
export function elements(bytes: Uint8Array): Element[] {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: Element[] = [];
  for (let at = 0; at < data.length; ) {
    const { start, length } = lengthAt(data, at + 1);
    if (start + length > data.length) throw malformed();
    found.push({ tag: data[at] ?? 0, content: data.subarray(start, start + length) });
    at = start + length;
  }
  return found;
}

/** The elements inside the one that the bytes are. */
export function childrenOf(bytes: Uint8Array): Element[] {
  return elements(contentOf(bytes));
}

export function contentOf(bytes: Uint8Array): Buffer {
  const [first, ...rest] = elements(bytes);
  if (first === undefined || rest.length > 0) throw malformed();
  return first.content;
}

/** An element, encoded again. */
export function encoded(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}

/** Without the zero bytes in front. */
export function unsigned(bytes: Uint8Array): Buffer {
  const first = bytes.findIndex((byte) => byte !== 0);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).subarray(first < 0 ? bytes.length : first);
}

function lengthAt(data: Buffer, at: number): { start: number; length: number } {
  const first = data[at] ?? 0xff;
  if (first < 0x80) return { start: at + 1, length: first };
  const count = first & 0x7f;
  if (count < 1 || count > 3 || at + 1 + count > data.length) throw malformed();
  return { start: at + 1 + count, length: data.readUIntBE(at + 1, count) };
}

function malformed(): EvercertError {
  return new EvercertError('DataLoss', 'a key of the token is not understood: expected DER');
}
