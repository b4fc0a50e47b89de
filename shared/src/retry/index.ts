import type { Clock } from '../clock/index.ts';
import { type EvercertError, toEvercertError } from '../errors/index.ts';

export interface RetryOptions {
  clock: Clock;
  /** In [0, 1). */
  random: () => number;
  /** Tries in all, the first included; unlimited by default. */
  attempts?: number;
  /** Wait after the first failure before jitter, 1 s by default; doubles each time. */
  baseMs?: number;
  /** Longest wait before jitter, 5 min by default. */
  capMs?: number;
  /** Ends the waiting and the trying; the result is then the error Cancelled. */
  signal?: AbortSignal;
  /** Whether another try can help; by default what the error table says of the code. */
  retryable?: (error: EvercertError) => boolean;
  /** Called before each wait. */
  onRetry?: (error: EvercertError, attempt: number, delayMs: number) => void;
}

/**
 * Runs `work` until it succeeds: exponential backoff with full jitter, a server's hint as the least wait. Throws the last error when the tries are used up or when
 * it is one that cannot be mended by trying again; throws Cancelled when the signal aborts during a wait.
 */
export async function retry<T>(work: (attempt: number) => Promise<T>, options: RetryOptions): Promise<T> {
  const { clock, random, attempts = Number.POSITIVE_INFINITY, retryable = (error) => error.retryable } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work(attempt);
    } catch (caught) {
      const error = toEvercertError(caught);
      if (attempt >= attempts || options.signal?.aborted || !retryable(error)) throw error;
      const delayMs = backoffMs({
        attempt,
        draw: random(),
        ...pick(options),
        ...(error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs }),
      });
      options.onRetry?.(error, attempt, delayMs);
      await clock.sleep(delayMs, options.signal);
    }
  }
}

function pick({ baseMs, capMs }: RetryOptions): { baseMs?: number; capMs?: number } {
  return { ...(baseMs === undefined ? {} : { baseMs }), ...(capMs === undefined ? {} : { capMs }) };
}

/** One wait of the above, for loops that cannot be written as a function to repeat. `attempt` is 1 after the first failure; milliseconds. */
export function backoffMs(input: { attempt: number; draw: number; baseMs?: number; capMs?: number; hintMs?: number }): number {
  const { attempt, draw, baseMs = 1000, capMs = 5 * 60_000, hintMs = 0 } = input;
  return Math.ceil(Math.max(0, hintMs) + draw * Math.min(capMs, baseMs * 2 ** Math.min(Math.max(attempt - 1, 0), 30)));
}
