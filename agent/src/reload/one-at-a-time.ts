/** Restarts of what a cluster cannot do without: only while the coordinator's lease says that no other node of the cluster does the same. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { backoffMs } from '@evercert/shared/retry';
import type { CoordinatorApi } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import { KeyedLock } from '../state/keyed-lock.ts';
import { componentOf, type Reloader, type ReloadRequest } from './types.ts';

export interface OneAtATimeOptions {
  api: Pick<CoordinatorApi, 'acquireRestartLease' | 'releaseRestartLease'>;
  clock: Clock;
  random: () => number;
  logger: Logger;
  events: EventSink;
  /** Aborts when the agent stops. */
  stopped: AbortSignal;
  /** Whether a component answers at `tls://HOST:PORT`. */
  answers: (url: string) => Promise<boolean>;
}

const callMs = 10_000;
/** Parts of the life that is left which are waited for: while the coordinator cannot be asked, and while it says no. */
const patience = { unreachable: 1 / 4, refused: 1 / 2 };
/** Where no certificate hangs on it, and at most. */
const longestWaitMs = 3600_000;
const backoff = { baseMs: 500, capMs: 10_000 };
/** How long the component may take to answer again where the reload itself does not wait for it. */
const servingMs = 60_000;
const longestLeaseMs = 10 * 60_000;
const pollMs = 250;

/** A reloader that asks for the lease where the specification wants it. A lease that cannot be had in time does not keep a certificate from being taken up: it goes without, and says so. */
export function oneAtATime(reload: Reloader, options: OneAtATimeOptions): Reloader {
  const lock = new KeyedLock();
  return (spec, request = {}) =>
    // Never two on this node either: the lease is the node's, and the first to end would give it back.
    spec.oneAtATime ? lock.run('', () => new LeasedReload(spec, request, options).run(reload)) : reload(spec, request);
}

class LeasedReload {
  readonly #spec: ReloadSpec;
  readonly #request: ReloadRequest;
  readonly #options: OneAtATimeOptions;
  readonly #component: string;
  readonly #signal: AbortSignal;

  constructor(spec: ReloadSpec, request: ReloadRequest, options: OneAtATimeOptions) {
    this.#spec = spec;
    this.#request = request;
    this.#options = options;
    this.#component = componentOf(spec);
    this.#signal = request.signal ? AbortSignal.any([request.signal, options.stopped]) : options.stopped;
  }

  async run(reload: Reloader): Promise<void> {
    const leased = await this.#acquire();
    let serving = false;
    try {
      await reload(this.#spec, this.#request);
      serving = await this.#servesAgain();
    } finally {
      if (leased) await this.#release(serving);
    }
  }

  /** True: the lease is this node's. False: it could not be had in the time that there is. */
  async #acquire(): Promise<boolean> {
    const { api, clock, random, logger } = this.#options;
    const lifeLeftMs = this.#request.lifeLeftMs ?? Number.POSITIVE_INFINITY;
    const startMs = clock.monotonicMs();
    for (let attempt = 1; ; attempt += 1) {
      try {
        const request = { component: this.#component, durationMs: longestRestartMs(this.#spec) };
        await api.acquireRestartLease(request, { deadlineMs: callMs, signal: this.#signal });
        return true;
      } catch (caught) {
        const error = toEvercertError(caught);
        if (this.#signal.aborted) throw new EvercertError('Cancelled', 'the agent stops');
        const part = error.code === 'Conflict' ? patience.refused : patience.unreachable;
        const leftMs = startMs + Math.min(longestWaitMs, part * lifeLeftMs) - clock.monotonicMs();
        const waitMs = error.retryAfterMs ?? backoffMs({ attempt, draw: 0.5 + random() / 2, ...backoff });
        if (!error.retryable || leftMs <= 0) return this.#without(error);
        if (attempt === 1)
          logger.info('A restart waits for the lease of the cluster', {
            component: this.#component,
            code: error.code,
            error: error.message,
          });
        await clock.sleep(Math.min(waitMs, leftMs), this.#signal);
      }
    }
  }

  #without(error: EvercertError): false {
    this.#options.events.record({
      reason: 'RestartWithoutLease',
      type: 'Warning',
      errorCode: error.code,
      message: `${this.#component} is restarted without the lease of the cluster, which could not be had in time: ${error.message}`,
    });
    return false;
  }

  /** A static pod's restart waits by itself for what it watches. */
  async #servesAgain(): Promise<boolean> {
    const { clock, answers } = this.#options;
    const { verify } = this.#request;
    if (verify === undefined) return true;
    const endMs = clock.monotonicMs() + servingMs;
    for (;;) {
      if (await answers(verify)) return true;
      if (clock.monotonicMs() >= endMs) return false;
      await clock.sleep(pollMs, this.#signal);
    }
  }

  /** A lease that cannot be given back ends by itself. */
  async #release(serving: boolean): Promise<void> {
    const { api, clock, logger, random } = this.#options;
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      try {
        await api.releaseRestartLease({ serving }, { deadlineMs: callMs });
        return;
      } catch (caught) {
        const error = toEvercertError(caught);
        logger.warn('The lease of a restart could not be given back; it ends by itself', {
          code: error.code,
          error: error.message,
          attempt,
        });
        if (this.#options.stopped.aborted) return;
        await clock.sleep(backoffMs({ attempt, draw: random(), ...backoff }));
      }
    }
  }
}

/** Both phases of a static pod's restart may take its time limit. */
function longestRestartMs(spec: ReloadSpec): number {
  const own = { 'static-pod': 2, command: 1, systemd: 1, signal: 1 }[spec.type];
  const seconds = 'timeoutSeconds' in spec ? spec.timeoutSeconds : 90;
  return Math.min(longestLeaseMs, own * seconds * 1000 + servingMs);
}
