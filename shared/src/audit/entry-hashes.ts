const bytesEach = 16;

/** The hashes of a row of entries, half of each: enough to tell two apart, and small enough for millions. */
export class EntryHashes {
  readonly first: number;
  #bytes = Buffer.alloc(bytesEach * 64);
  #count = 0;

  constructor(first: number) {
    this.first = first;
  }

  get last(): number {
    return this.first + this.#count - 1;
  }

  /** Of the entry that comes next; one that is out of its order is left out. */
  add(sequence: number, hash: string): void {
    if (sequence <= this.last) return;
    const end = (sequence - this.first + 1) * bytesEach;
    // A log that jumps by millions is broken, and said to be: there is no need to compare it.
    if (end > this.#bytes.length * 2 + maxJumpBytes) return;
    while (end > this.#bytes.length) this.#bytes = Buffer.concat([this.#bytes, Buffer.alloc(this.#bytes.length)]);
    this.#bytes.write(hash.slice(0, bytesEach * 2), end - bytesEach, 'hex');
    this.#count = sequence - this.first + 1;
  }

  isAt(sequence: number, hash: string): boolean {
    return this.#at(sequence).toString('hex') === hash.slice(0, bytesEach * 2);
  }

  /**
   * The first entry that differs between two logs; undefined: they agree wherever they overlap. Each hash stands for all entries before it, so what agrees once agrees in all that
   * comes before.
   */
  forkFrom(other: EntryHashes): number | undefined {
    let low = Math.max(this.first, other.first);
    let high = Math.min(this.last, other.last);
    if (low > high || this.#sameAt(other, high)) return undefined;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.#sameAt(other, middle)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #sameAt(other: EntryHashes, sequence: number): boolean {
    return this.#at(sequence).equals(other.#at(sequence));
  }

  #at(sequence: number): Buffer {
    const begin = (sequence - this.first) * bytesEach;
    return this.#bytes.subarray(begin, begin + bytesEach);
  }
}

const maxJumpBytes = 16 * 1024 * 1024;
