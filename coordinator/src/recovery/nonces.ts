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
const nonceLifeMs = 60_000;
const nonceBytes = 32;
/** Of one source address: so many at once, then so many a second. An address may stand for a whole cluster behind a NAT. */
const burst = 200;
const perSecond = 50;
const maxSources = 10_000;

interface Source {
  tokens: number;
  atMs: number;
}

/**
 * Hands out nonces that are good once, for a minute by the monotonic clock. Everything that a stranger can make it keep is bounded; when all that there may be are out, the
 * source that holds most loses its oldest to one that holds fewer, so that nobody keeps the others from coming back.
 */
export class Nonces {
  readonly #clock: Clock;
  readonly #randomBytes: (size: number) => Buffer;
  readonly #capacity: number;
  /** When and to whom each was given, in the order of giving. */
  readonly #given = new Map<string, { atMs: number; source: string }>();
  /** The same by source. */
  readonly #held = new Map<string, Set<string>>();
  readonly #sources = new Map<string, Source>();

  constructor({ clock, randomBytes, capacity = 16_384 }: NonceOptions) {
    this.#clock = clock;
    this.#randomBytes = randomBytes;
    this.#capacity = capacity;
  }

  /**
   * @param source what counts as one: an address, or a network.
   * Overloaded, with a hint: this source asks too often, or too many are out and nobody holds more than it does.
   */
  give(source: string): Buffer {
    const nowMs = this.#clock.monotonicMs();
    this.#forgetOld(nowMs);
    this.#count(source, nowMs);
    if (this.#given.size >= this.#capacity && !this.#takeFromGreediest(source)) {
      throw new EvercertError('Overloaded', `${this.#given.size} recoveries are under way already`, { retryAfterMs: 5000 });
    }
    const nonce = this.#randomBytes(nonceBytes);
    const key = nonce.toString('hex');
    this.#given.set(key, { atMs: nowMs, source });
    const held = this.#held.get(source) ?? new Set();
    this.#held.set(source, held.add(key));
    return nonce;
  }

  /** True once for a nonce that was given less than a minute ago; it is used up whatever follows. */
  use(nonce: Uint8Array): boolean {
    const key = Buffer.from(nonce).toString('hex');
    const given = this.#forget(key);
    return given !== undefined && this.#clock.monotonicMs() - given.atMs < nonceLifeMs;
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
    for (const [key, { atMs }] of this.#given) {
      if (nowMs - atMs < nonceLifeMs) return;
      this.#forget(key);
    }
  }

  #forget(key: string): { atMs: number; source: string } | undefined {
    const given = this.#given.get(key);
    if (!given) return undefined;
    this.#given.delete(key);
    const held = this.#held.get(given.source);
    held?.delete(key);
    if (held?.size === 0) this.#held.delete(given.source);
    return given;
  }

  #takeFromGreediest(source: string): boolean {
    let greediest = new Set<string>();
    for (const held of this.#held.values()) if (held.size > greediest.size) greediest = held;
    const [oldest] = greediest;
    if (oldest === undefined || greediest.size <= (this.#held.get(source)?.size ?? 0) + 1) return false;
    this.#forget(oldest);
    return true;
  }
}
