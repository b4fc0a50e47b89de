import { EvercertError } from '@evercert/shared/errors';
import PQueue from 'p-queue';

/** No caller is told to wait longer than this. */
const maxRetryAfterMs = 60_000;

/**
 * The bounded queue in front of the signer (invariant 10): so many at work, so many waiting; whoever comes beyond is sent away at once with a time to come back, before any work is
 * spent on it. The hint grows with the queue and is spread, so that those sent away do not return together.
 */
export class Admission {
  readonly #queue: PQueue;
  readonly #limit: number;
  readonly #random: () => number;
  /** Smoothed time that one request takes, in milliseconds. */
  #serviceMs = 5;
  #shed = 0;

  constructor(options: { concurrency: number; queue: number; random?: () => number }) {
    this.#queue = new PQueue({ concurrency: options.concurrency });
    this.#limit = options.queue;
    this.#random = options.random ?? Math.random;
  }

  /** Runs the work when its turn comes. Overloaded, with `retryAfterMs`: the queue is full. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#queue.pending >= this.#queue.concurrency && this.#queue.size >= this.#limit) {
      this.#shed += 1;
      throw new EvercertError('Overloaded', `${this.#queue.size} requests wait already`, { retryAfterMs: this.#retryAfterMs() });
    }
    return this.#queue.add(async () => {
      const start = performance.now();
      try {
        return await work();
      } finally {
        this.#serviceMs += (performance.now() - start - this.#serviceMs) / 50;
      }
    });
  }

  get stats(): { waiting: number; working: number; shed: number } {
    return { waiting: this.#queue.size, working: this.#queue.pending, shed: this.#shed };
  }

  #retryAfterMs(): number {
    const drainMs = (this.#queue.size / this.#queue.concurrency) * this.#serviceMs;
    return Math.min(maxRetryAfterMs, Math.round((1000 + drainMs) * (1 + this.#random())));
  }
}
