import { EvercertError } from '../errors/index.ts';

export interface Timer {
  cancel(): void;
}

/** The only source of time. Everything that waits or reads the time gets one handed in; tests hand in a FakeClock. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  nowMs(): number;
  /** Never goes back and does not see clock steps; for durations only. Milliseconds. */
  monotonicMs(): number;
  /**
   * Calls back once the wall clock has reached `wallMs`. Polls the wall clock at least every `pollMs` (1 s), so that suspend, clock steps and setTimeout's
   * limit of 24.8 days do no harm. A time that has passed calls back in the next turn.
   */
  at(wallMs: number, callback: () => void): Timer;
  /** Calls back after a duration by the monotonic clock. */
  after(durationMs: number, callback: () => void): Timer;
  /** Resolves after a duration; rejects with code Cancelled when the signal aborts. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

const pollMs = 1000;

class SystemClock implements Clock {
  nowMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  at(wallMs: number, callback: () => void): Timer {
    let timeout: NodeJS.Timeout;
    const poll = (): void => {
      const left = wallMs - this.nowMs();
      if (left <= 0) callback();
      else timeout = setTimeout(poll, Math.min(left, pollMs));
    };
    timeout = setTimeout(poll, Math.max(0, Math.min(wallMs - this.nowMs(), pollMs)));
    return { cancel: () => clearTimeout(timeout) };
  }

  after(durationMs: number, callback: () => void): Timer {
    const timeout = setTimeout(callback, Math.min(durationMs, 2 ** 31 - 1));
    return { cancel: () => clearTimeout(timeout) };
  }

  sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, durationMs, signal);
  }
}

export function sleepOn(clock: Pick<Clock, 'after'>, durationMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancelled = (): EvercertError => new EvercertError('Cancelled', 'the wait was cancelled', { cause: signal?.reason });
    if (signal?.aborted) {
      reject(cancelled());
      return;
    }
    const onAbort = (): void => {
      timer.cancel();
      reject(cancelled());
    };
    const timer = clock.after(durationMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

export const systemClock: Clock = new SystemClock();
