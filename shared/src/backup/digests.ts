import { createHash, type Hash } from 'node:crypto';

export interface Counted {
  parts: Map<string, { entries: number; bytes: number; digest: string }>;
  entries: number;
  bytes: number;
  /** SHA-256 over everything, hexadecimal. */
  digest: string;
}

/** Counts entries by parts, with a digest of each part and of the whole. Entries of one part come in one order, whenever they are counted. */
export class DigestCounter {
  readonly #parts = new Map<string, { entries: number; bytes: number; hash: Hash }>();

  add(part: string, key: string, value: Uint8Array): void {
    let found = this.#parts.get(part);
    if (found === undefined) {
      found = { entries: 0, bytes: 0, hash: createHash('sha256') };
      this.#parts.set(part, found);
    }
    found.entries += 1;
    found.bytes += value.byteLength;
    // With their lengths, so that no two contents read the same.
    found.hash.update(`${Buffer.byteLength(key)} ${value.byteLength}\n${key}`).update(value);
  }

  /** Of all that was counted so far. */
  finish(): Counted {
    const parts: Counted['parts'] = new Map();
    const all = createHash('sha256');
    let [entries, bytes] = [0, 0];
    for (const [name, { hash, ...counts }] of [...this.#parts].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const digest = hash.copy().digest('hex');
      parts.set(name, { ...counts, digest });
      all.update(`${name} ${counts.entries} ${digest}\n`);
      entries += counts.entries;
      bytes += counts.bytes;
    }
    return { parts, entries, bytes, digest: all.digest('hex') };
  }
}
