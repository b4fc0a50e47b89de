import type { KeyRange } from './codec.ts';

/** Counts the keys from one on, up to a range's end, at a revision (0: now); and tells the first of them. */
export type Count = (range: KeyRange, revision: number) => Promise<{ count: number; first: Buffer | undefined; revision: number }>;

export interface Tail {
  /** From here to the range's end there are at least as many keys as wanted, and not many more. */
  key: Buffer;
  /** Of the whole range. */
  total: number;
  revision: number;
}

/** So many keys are read rather than searched further. */
const fewKeys = 256;
/** Bytes, behind what all keys under a prefix have in common, by which they are told apart; keys that differ only later are read together. */
const width = 48;
const maxHints = 100;

interface Hint {
  /** Where the tail began the last time, and how wide it was. */
  start: bigint;
  span: bigint;
}

/**
 * Looks for the last keys of a range by halving it and counting, which etcd does without reading values. Whoever reads page by page, or looks at the end of a log again and again, finds
 * most of the way gone already: the place of the last time is tried first.
 */
export class TailFinder {
  readonly #count: Count;
  readonly #hints = new Map<string, Hint>();

  constructor(count: Count) {
    this.#count = count;
  }

  /** `common`: how many bytes all keys of the range share for sure. */
  async find(range: KeyRange, { wanted, prefix, common }: { wanted: number; prefix: string; common: number }): Promise<Tail> {
    const { count: total, revision } = await this.#count(range, 0);
    const enough = Math.max(2 * wanted, fewKeys);
    if (total <= enough) return { key: range.key, total, revision };
    const lead = range.key.subarray(0, common);
    const bounds = {
      low: numberAt(range.key, common),
      high: isLast(range.rangeEnd) ? 1n << BigInt(8 * width) : numberAt(range.rangeEnd, common),
    };
    const from = (place: bigint): Buffer => (place === bounds.low ? range.key : Buffer.concat([lead, bytesOf(place)]));
    const countFrom = async (place: bigint): Promise<{ left: number; first: bigint }> => {
      const { count, first } = await this.#count({ key: from(place), rangeEnd: range.rangeEnd }, revision);
      const found = first?.subarray(0, common).equals(lead) ? numberAt(first, common) : place;
      return { left: count, first: found > place ? found : place };
    };
    const start = await search(bounds, { wanted, enough, hint: this.#hints.get(prefix), countFrom });
    if (this.#hints.size >= maxHints) this.#hints.clear();
    this.#hints.set(prefix, { start, span: bounds.high - start });
    return { key: from(start), total, revision };
  }
}

async function search(
  bounds: { low: bigint; high: bigint },
  {
    wanted,
    enough,
    hint,
    countFrom,
  }: { wanted: number; enough: number; hint: Hint | undefined; countFrom: (place: bigint) => Promise<{ left: number; first: bigint }> },
): Promise<bigint> {
  let { low, high } = bounds;
  if (hint !== undefined) {
    let { span } = hint;
    let place = hint.start > low && hint.start < high ? hint.start : high - span;
    // Downwards in growing steps until there are enough.
    for (; place > low; place -= span, span *= 4n) {
      const { left, first } = await countFrom(place);
      if (left < wanted) {
        high = place;
        continue;
      }
      low = first;
      if (left <= enough) return low;
      break;
    }
  }
  for (let middle = (low + high) >> 1n; middle > low; middle = (low + high) >> 1n) {
    const { left, first } = await countFrom(middle);
    if (left < wanted) high = middle;
    else {
      low = first;
      if (left <= enough) return low;
    }
  }
  return low;
}

/** A range that has no end. */
function isLast(rangeEnd: Buffer): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}

/** The bytes from a place on as one number. */
function numberAt(bytes: Buffer, from: number): bigint {
  const padded = Buffer.alloc(width);
  bytes.copy(padded, 0, from, from + width);
  return BigInt(`0x${padded.toString('hex')}`);
}

function bytesOf(number: bigint): Buffer {
  return Buffer.from(number.toString(16).padStart(2 * width, '0'), 'hex');
}
