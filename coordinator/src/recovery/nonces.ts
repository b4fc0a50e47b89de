import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';

export interface NonceOptions {
  clock: Clock;
  /** Cryptographically strong. */
  randomBytes: (size: number) => Buffer;
  /** Nonces that may be out at once, over all sources. */
  capacity?: number;
}

/** How long a nonce is good for. */
export const nonceLifeMs = 60_000;
const nonceBytes = 32;
/** Of one source address: so many at once, then so many a second. An address may stand for a whole cluster behind a NAT. */
const burst = 200;
const perSecond = 50;
const maxSources = 10_000;

interface Source {
  tokens: number;
  atMs: number;
}

/** Hands out nonces that are good once, for a minute by the monotonic clock. Everything that a stranger can make it keep is bounded. */
export class Nonces {
  readonly #clock: Clock;
  readonly #randomBytes: (size: number) => Buffer;
  readonly #capacity: number;
  /** When each was given, in the order of giving. */
  readonly #given = new Map<string, number>();
  readonly #sources = new Map<string, Source>();

  constructor({ clock, randomBytes, capacity = 16_384 }: NonceOptions) {
    this.#clock = clock;
    this.#randomBytes = randomBytes;
    this.#capacity = capacity;
  }

  /** Overloaded, with a hint: this source asks too often, or too many are out. */
  give(source: string): Buffer {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetOld(nowMs);
    this.#count(source, nowMs);
    if (this.#given.size >= this.#capacity) {
      throw new EvercertError('Overloaded', `${this.#given.size} recoveries are under way already`, { retryAfterMs: 5000 });
    }
    const nonce = this.#randomBytes(nonceBytes);
    this.#given.set(nonce.toString('hex'), nowMs);
    return nonce;
  }

  /** True once for a nonce that was given less than a minute ago; it is used up whatever follows. */
  use(nonce: Uint8Array): boolean {
    const key = Buffer.from(nonce).toString('hex');
    const givenAtMs = this.#given.get(key);
    this.#given.delete(key);
    return givenAtMs !== undefined && this.#clock.monotonicMs() - givenAtMs < nonceLifeMs;
  }

  /** Nonces that are out. */
  get size(): number {
    return this.#given.size;
  }

  #count(source: string, nowMs: number): void {
    const known = this.#sources.get(source) ?? { tokens: burst, atMs: nowMs };
    const tokens = Math.min(burst, known.tokens + ((nowMs - known.atMs) / 1000) * perSecond);
    if (tokens < 1) throw new EvercertError('Overloaded', 'too many recoveries are begun from this address', { retryAfterMs: 10_000 });
    // Set anew, so that the map's first is the one that has been quiet for longest.
    this.#sources.delete(source);
    if (this.#sources.size >= maxSources) this.#sources.delete(this.#sources.keys().next().value ?? '');
    this.#sources.set(source, { tokens: tokens - 1, atMs: nowMs });
  }

  #forgetOld(nowMs: number): void {
    for (const [key, givenAtMs] of this.#given) {
      if (nowMs - givenAtMs < nonceLifeMs) return;
      this.#given.delete(key);
    }
  }
}
