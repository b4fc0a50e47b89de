import { createHash, type Hash } from 'node:crypto';

/** What happened in one cluster, in order: its digest tells whether two runs were the same, and its lines can be read. */
export class History {
  readonly #hash: Hash = createHash('sha256');
  readonly #tell: ((line: string) => void) | undefined;
  #waiting: string[] = [];

  constructor(tell?: (line: string) => void) {
    this.#tell = tell;
  }

  add(timeMs: number, what: string): void {
    const line = `${new Date(timeMs).toISOString()} ${what}`;
    this.#tell?.(line);
    this.#waiting.push(line);
    if (this.#waiting.length >= 256) this.#absorb();
  }

  /** Hexadecimal SHA-256 over all lines; nothing is added afterwards. */
  digest(): string {
    this.#absorb();
    return this.#hash.digest('hex');
  }

  #absorb(): void {
    if (this.#waiting.length === 0) return;
    this.#hash.update(`${this.#waiting.join('\n')}\n`);
    this.#waiting = [];
  }
}
