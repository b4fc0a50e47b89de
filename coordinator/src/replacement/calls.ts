import type { Clock, Timer } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import PQueue from 'p-queue';

/** A driver that does not end although it was told to (a program has five seconds of it) is left alone after this; the action is called again later, which its key makes harmless. */
const graceMs = 8000;

export interface CallLimits {
  /** The action's time; then its signal aborts. */
  limitMs: number;
  /** Any of them ends the call: the coordinator stops, or the replacement is cancelled. */
  signals: readonly AbortSignal[];
}

/** Calls of provisioners, so many at once over all clusters, each with its time. */
export class ProvisionerCalls {
  readonly #clock: Clock;
  readonly #queue: PQueue;

  constructor({ clock, concurrency }: { clock: Clock; concurrency: number }) {
    this.#clock = clock;
    this.#queue = new PQueue({ concurrency });
  }

  /** Errors: Cancelled (one of the signals), DeadlineExceeded (its time is over), and those of the action. */
  run<T>({ limitMs, signals }: CallLimits, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#queue.add(() => this.#bounded(limitMs, signals, action));
  }

  async #bounded<T>(limitMs: number, signals: readonly AbortSignal[], action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signals.some(({ aborted }) => aborted)) throw cancelled();
    const over = new AbortController();
    const timer = this.#clock.after(limitMs, () => over.abort());
    const signal = AbortSignal.any([over.signal, ...signals]);
    const late = Promise.withResolvers<never>();
    late.promise.catch(() => {});
    let grace: Timer | undefined;
    const onAbort = (): void => {
      grace = this.#clock.after(graceMs, () => late.reject(new EvercertError('DeadlineExceeded', 'it did not end when it was told to')));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([action(signal), late.promise]);
    } catch (error) {
      if (signals.some(({ aborted }) => aborted)) throw cancelled(error);
      if (!over.signal.aborted) throw error;
      throw new EvercertError('DeadlineExceeded', `not done within ${Math.ceil(limitMs / 1000)} s: ${toEvercertError(error).message}`, {
        cause: error,
      });
    } finally {
      signal.removeEventListener('abort', onAbort);
      timer.cancel();
      grace?.cancel();
    }
  }
}

function cancelled(cause?: unknown): EvercertError {
  return new EvercertError('Cancelled', 'the call of the provisioner was broken off', { cause });
}
