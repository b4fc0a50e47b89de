import { createHash } from 'node:crypto';

/**
 * Chance, from a seed: sfc32 (Chris Doty-Humphrey, PractRand), its state taken from SHA-256 of the seed's text. Every use has a stream of its own, named by a path ("7/cluster/17/faults"):
 * streams do not disturb one another, so that one cluster can be replayed without the others.
 */
export class Random {
  readonly #path: string;
  #a: number;
  #b: number;
  #c: number;
  #counter: number;

  constructor(path: string) {
    const digest = createHash('sha256').update(path).digest();
    this.#path = path;
    this.#a = digest.readInt32LE(0);
    this.#b = digest.readInt32LE(4);
    this.#c = digest.readInt32LE(8);
    this.#counter = digest.readInt32LE(12);
  }

  /** An independent stream; the same for the same name, however many draws were made here. */
  stream(name: string | number): Random {
    return new Random(`${this.#path}/${name}`);
  }

  /** In [0, 1), 32 bits. */
  draw(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (this.#c << 21) | (this.#c >>> 11);
    this.#c = (this.#c + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  }

  between(least: number, most: number): number {
    return least + this.draw() * (most - least);
  }

  /** A whole number, both ends included. */
  whole(least: number, most: number): number {
    return least + Math.floor(this.draw() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.draw() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const one = list[Math.floor(this.draw() * list.length)];
    if (one === undefined) throw new Error('nothing to pick from: expected a list that is not empty');
    return one;
  }

  /** Between the two, evenly by orders of magnitude: minutes are as likely as days. */
  span(leastMs: number, mostMs: number): number {
    return Math.round(leastMs * (mostMs / leastMs) ** this.draw());
  }

  /** How many of something that happens so often on average (Poisson). */
  count(mean: number): number {
    const limit = Math.exp(-mean);
    let product = this.draw();
    let count = 0;
    while (product > limit && count < 1000) {
      count += 1;
      product *= this.draw();
    }
    return count;
  }
}
