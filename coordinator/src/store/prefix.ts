/**
 * The smallest string above every string that starts with the prefix, in the order of UTF-8 bytes (which is the order of code points).
 * Undefined: there is none, the prefix is empty or made of the last code point only.
 */
export function prefixEnd(prefix: string): string | undefined {
  const points = [...prefix];
  for (;;) {
    const last = points.pop()?.codePointAt(0);
    if (last === undefined) return undefined;
    // U+D800 to U+DFFF are surrogates: no characters of their own.
    if (last < 0x10ffff) return points.join('') + String.fromCodePoint(last === 0xd7ff ? 0xe000 : last + 1);
  }
}

/** Order of two keys by their UTF-8 bytes; JavaScript's own `<` compares UTF-16 units, which differs above U+FFFF. */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
