import { damaged } from './damage.ts';

/** Reads given numbers of bytes from chunks of any size; keeps no more than one piece in memory. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #pieces: Buffer[] = [];
  #size = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Exactly so many. DataLoss: there are fewer. */
  async exactly(count: number, what: string): Promise<Buffer> {
    const found = await this.upTo(count);
    if (found.length < count) throw damaged(`it ends within ${what}: it was cut off`);
    return found;
  }

  /** So many, or all that are left. */
  async upTo(count: number): Promise<Buffer> {
    while (this.#size < count && (await this.#more()));
    const all = Buffer.concat(this.#pieces);
    this.#pieces = [all.subarray(count)];
    this.#size = Math.max(0, all.length - count);
    return all.subarray(0, count);
  }

  /** Whether nothing is left. */
  async isAtEnd(): Promise<boolean> {
    while (this.#size === 0) if (!(await this.#more())) return true;
    return false;
  }

  /** Lets go of the source. */
  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#source.next();
    if (done) {
      this.#ended = true;
      return false;
    }
    this.#pieces.push(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    this.#size += value.byteLength;
    return true;
  }
}
