/** The calls of the node over whichever link is up. One that fails with its connection is repeated over the next: all of them may be asked twice. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { CallLimits, CoordinatorApi } from '../coordinator-api.ts';
import type { Link } from './link.ts';

export interface CallsOptions {
  clock: Clock;
  /** A call over the link in use failed for a reason that another coordinator may not have. False: there is none to go to. */
  onTrouble: (link: Link, error: EvercertError) => Promise<boolean>;
  /** Why there is no connection; empty: nothing is known. */
  lastError: () => string;
}

/** So long a call waits for the next link, after the one before was lost. */
const failoverMs = 8000;
const maxTries = 4;
/** Another coordinator may do what this one could not. */
const elsewhere = new Set(['Unavailable', 'StoreFailure', 'Overloaded']);

export class Calls implements CoordinatorApi {
  readonly #options: CallsOptions;
  readonly #waiting = new Set<() => void>();
  #link: Link | undefined;
  #lostAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: CallsOptions) {
    this.#options = options;
  }

  issueCertificate(...[request, limits]: Parameters<CoordinatorApi['issueCertificate']>): ReturnType<CoordinatorApi['issueCertificate']> {
    return this.#call(limits, (link, left) => link.issueCertificate(request, left));
  }

  adoptCertificate(...[request, limits]: Parameters<CoordinatorApi['adoptCertificate']>): ReturnType<CoordinatorApi['adoptCertificate']> {
    return this.#call(limits, (link, left) => link.adoptCertificate(request, left));
  }

  renewIdentity(...[csr, limits]: Parameters<CoordinatorApi['renewIdentity']>): ReturnType<CoordinatorApi['renewIdentity']> {
    return this.#call(limits, (link, left) => link.renewIdentity(csr, left));
  }

  getKeyPair(...[name, limits]: Parameters<CoordinatorApi['getKeyPair']>): ReturnType<CoordinatorApi['getKeyPair']> {
    return this.#call(limits, (link, left) => link.getKeyPair(name, left));
  }

  acquireRestartLease(...[request, limits]: Parameters<CoordinatorApi['acquireRestartLease']>): Promise<void> {
    return this.#call(limits, (link, left) => link.acquireRestartLease(request, left));
  }

  releaseRestartLease(...[request, limits]: Parameters<CoordinatorApi['releaseRestartLease']>): Promise<void> {
    return this.#call(limits, (link, left) => link.releaseRestartLease(request, left));
  }

  /** The one in use. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** From now on calls go over this link, those that wait for one as well. */
  use(link: Link): void {
    this.#link = link;
    this.#tell();
  }

  /** There is no link for now. */
  lost(): void {
    if (!this.#link) return;
    this.#link = undefined;
    this.#lostAtMs = this.#options.clock.monotonicMs();
  }

  /** Nothing better than the link in use was found. */
  stays(): void {
    this.#tell();
  }

  async #call<T>(limits: CallLimits, ask: (link: Link, left: CallLimits) => Promise<T>): Promise<T> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + limits.deadlineMs;
    let link = await this.#first(endMs, limits.signal);
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await ask(link, { ...limits, deadlineMs: Math.max(1, endMs - clock.monotonicMs()) });
      } catch (caught) {
        const error = toEvercertError(caught);
        const over = attempt === maxTries || limits.signal?.aborted || clock.monotonicMs() >= endMs;
        if (over || !elsewhere.has(error.code)) throw error;
        if (link === this.#link && !(await this.#options.onTrouble(link, error))) throw error;
        const other = await this.#other(link, Math.min(endMs, clock.monotonicMs() + failoverMs), limits.signal);
        if (!other) throw error;
        link = other;
      }
    }
  }

  async #first(endMs: number, signal: AbortSignal | undefined): Promise<Link> {
    const link = this.#link ?? (await this.#other(undefined, Math.min(endMs, this.#lostAtMs + failoverMs), signal));
    if (link) return link;
    const lastError = this.#options.lastError();
    throw new EvercertError('Unavailable', `there is no connection to the coordinator${lastError ? `: ${lastError}` : ''}`);
  }

  /** The link in use, once it is another than this one; undefined: there was none by the end of the time, or nothing better was found. */
  async #other(than: Link | undefined, endMs: number, signal: AbortSignal | undefined): Promise<Link | undefined> {
    while (!signal?.aborted) {
      if (this.#link && this.#link !== than) return this.#link;
      const leftMs = endMs - this.#options.clock.monotonicMs();
      if (leftMs <= 0) return undefined;
      const told = await this.#news(leftMs, signal);
      // Told, and it is still the same one.
      if (told && this.#link !== undefined && this.#link === than) return undefined;
    }
    return undefined;
  }

  /** True: something was told of the link. False: the time is over, or the signal has aborted. */
  #news(waitMs: number, signal: AbortSignal | undefined): Promise<boolean> {
    return new Promise((resolve) => {
      const end = (told: boolean): void => {
        timer.cancel();
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', aborted);
        resolve(told);
      };
      const wake = (): void => end(true);
      const aborted = (): void => end(false);
      const timer = this.#options.clock.after(waitMs, aborted);
      this.#waiting.add(wake);
      signal?.addEventListener('abort', aborted, { once: true });
    });
  }

  #tell(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
