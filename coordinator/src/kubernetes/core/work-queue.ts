import type { Clock, Timer } from '@evercert/shared/clock';
import { type EvercertError, toEvercertError } from '@evercert/shared/errors';
import { backoffMs } from '@evercert/shared/retry';

export interface Again {
  /** The key is worked on once more, then, although nothing failed. */
  againAfterMs: number;
}

// biome-ignore lint/suspicious/noConfusingVoidType: a work that returns nothing is what most are.
export type WorkResult = Again | undefined | void;

export interface WorkQueueOptions {
  work: (key: string) => Promise<WorkResult>;
  /** Keys at work at once. */
  concurrency: number;
  clock: Clock;
  /** In [0, 1). */
  random: () => number;
  /** Wait after the first failure before jitter; doubles each time. */
  baseMs?: number;
  capMs?: number;
  /** The key is tried again after `delayMs`. */
  onFailure?: (key: string, error: EvercertError, attempt: number, delayMs: number) => void;
  onSuccess?: (key: string) => void;
}

/** A key that fails waits at least so long, whatever is drawn. */
const leastWaitMs = 50;

/**
 * Keys that wait for work: each once, never twice at work at the same time, with a back-off of its own. A key that is added while it is at work is worked on again afterwards, so that no change
 * is missed.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #ready = new Set<string>();
  readonly #working = new Set<string>();
  readonly #again = new Set<string>();
  readonly #waiting = new Map<string, Timer>();
  readonly #attempts = new Map<string, number>();
  readonly #idle: (() => void)[] = [];
  #stopped = false;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Now, or after what waits before it. */
  add(key: string): void {
    if (this.#stopped) return;
    this.#stopWaiting(key);
    if (this.#working.has(key)) this.#again.add(key);
    else this.#ready.add(key);
    this.#pump();
  }

  /** Not before so many milliseconds from now, unless it is added meanwhile; an earlier appointment counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#stopped || this.#waiting.has(key) || this.#ready.has(key)) return;
    const timer = this.#options.clock.after(delayMs, () => {
      this.#waiting.delete(key);
      this.add(key);
    });
    this.#waiting.set(key, timer);
  }

  /** Keys whose last work failed. */
  get failing(): number {
    return this.#attempts.size;
  }

  get length(): number {
    return this.#ready.size + this.#working.size;
  }

  /** Takes no more work; resolves when what is at work has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ready.clear();
    this.#again.clear();
    for (const key of [...this.#waiting.keys()]) this.#stopWaiting(key);
    if (this.#working.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #stopWaiting(key: string): void {
    this.#waiting.get(key)?.cancel();
    this.#waiting.delete(key);
  }

  #pump(): void {
    for (const key of this.#ready) {
      if (this.#working.size >= this.#options.concurrency) return;
      this.#ready.delete(key);
      this.#working.add(key);
      void this.#run(key);
    }
  }

  async #run(key: string): Promise<void> {
    const { work, onSuccess } = this.#options;
    try {
      const result = await work(key);
      this.#attempts.delete(key);
      onSuccess?.(key);
      if (result) this.addAfter(key, result.againAfterMs);
    } catch (error) {
      if (!this.#stopped) this.#retryLater(key, toEvercertError(error));
    } finally {
      this.#working.delete(key);
      if (this.#again.delete(key)) this.add(key);
      this.#pump();
      if (this.#working.size === 0) for (const done of this.#idle.splice(0)) done();
    }
  }

  #retryLater(key: string, error: EvercertError): void {
    const { random, baseMs = 500, capMs = 60_000, onFailure } = this.#options;
    const attempt = (this.#attempts.get(key) ?? 0) + 1;
    this.#attempts.set(key, attempt);
    const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
    const delayMs = Math.max(leastWaitMs, backoffMs({ attempt, draw: random(), baseMs, capMs, ...hint }));
    onFailure?.(key, error, attempt, delayMs);
    this.addAfter(key, delayMs);
  }
}
