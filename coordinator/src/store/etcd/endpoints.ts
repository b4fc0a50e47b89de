import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { Endpoint } from './endpoint.ts';
import { CallFailure, toCallFailure } from './errors.ts';

export interface EndpointsOptions {
  endpoints: Endpoint[];
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  /** Longest wait for a connection. */
  dialTimeoutMs: number;
  /** Longest wait for one answer of one member. */
  requestTimeoutMs: number;
}

/** How one call may be tried again. */
export interface CallKind {
  /** What it is, for messages: as in "cannot read". */
  doing: string;
  /** False: once it may have been applied it is not sent again. */
  repeatable: boolean;
}

/** After a failure, others are preferred for so long at first, then longer. */
const firstAvoidMs = 500;
const longestAvoidMs = 30_000;
/** Pause once every member was tried in vain: an election takes about a second. */
const roundPauseMs = 200;
/** Calls in all take so many times the longest wait for one answer. */
const patience = 2;

/** The members of etcd, of which one is used until it fails; then the next. */
export class Endpoints {
  readonly #options: EndpointsOptions;
  #current: number;

  constructor(options: EndpointsOptions) {
    this.#options = options;
    // Several coordinators with the same list spread over the members.
    this.#current = Math.floor(options.random() * options.endpoints.length);
  }

  get all(): readonly Endpoint[] {
    return this.#options.endpoints;
  }

  get current(): Endpoint {
    return this.#options.endpoints[this.#current]!;
  }

  /** A member to which a connection stands. CallFailure, always not applied. */
  async connect(): Promise<Endpoint> {
    const endpoint = this.current;
    try {
      await endpoint.ready(this.#options.dialTimeoutMs);
      return endpoint;
    } catch (error) {
      const { error: told, details, fate } = toCallFailure(error, endpoint.target, endpoint.tlsError);
      throw new CallFailure(fate === 'unknown' ? silent(endpoint, told) : told, 'not-applied', details);
    }
  }

  /** Runs a call, at another member where one fails and the call may be sent again. Errors: as the store's interface tells them; a StoreFailure's metadata say the `outcome`. */
  async run<T>(kind: CallKind, work: (endpoint: Endpoint, deadlineMs: number) => Promise<T>): Promise<T> {
    const { clock, random, requestTimeoutMs, endpoints } = this.#options;
    const end = clock.monotonicMs() + patience * requestTimeoutMs;
    for (let attempt = 1; ; attempt += 1) {
      const endpoint = this.current;
      try {
        await this.connect();
        const answer = await this.#attempt(endpoint, work, kind.repeatable ? requestTimeoutMs / 2 : requestTimeoutMs);
        endpoint.failures = 0;
        return answer;
      } catch (caught) {
        const failure = caught instanceof CallFailure ? caught : toCallFailure(caught, endpoint.target);
        if (failure.fate === 'refused' || failure.fate === 'full') throw failure;
        this.fail(endpoint, failure.error);
        const may = failure.fate === 'not-applied' || kind.repeatable;
        // Each of them is asked once at least.
        if (!may || (clock.monotonicMs() >= end && attempt >= endpoints.length))
          throw new CallFailure(this.#gaveUp(kind, failure), failure.fate, failure.details);
        if (attempt % endpoints.length === 0)
          await clock.sleep(backoffMs({ attempt: 1, draw: random(), baseMs: roundPauseMs, hintMs: roundPauseMs / 2 }));
      }
    }
  }

  async #attempt<T>(endpoint: Endpoint, work: (endpoint: Endpoint, deadlineMs: number) => Promise<T>, deadlineMs: number): Promise<T> {
    try {
      return await work(endpoint, deadlineMs);
    } catch (error) {
      throw toCallFailure(error, endpoint.target, endpoint.tlsError);
    }
  }

  /** Others are preferred to this member for a while. */
  fail(endpoint: Endpoint, error: EvercertError): void {
    const { clock, logger, endpoints } = this.#options;
    const now = clock.monotonicMs();
    if (endpoint.avoidUntilMs <= now) {
      logger.warn('a member of etcd fails', { endpoint: endpoint.target, code: error.code, error: error.message });
      endpoint.avoidUntilMs = now + Math.min(longestAvoidMs, firstAvoidMs * 2 ** Math.min(endpoint.failures, 10));
      endpoint.failures += 1;
    }
    if (endpoint !== this.current) return;
    const others = endpoints.map((_, index) => (this.#current + 1 + index) % endpoints.length);
    const well = others.find((index) => endpoints[index]!.avoidUntilMs <= now);
    this.#current = well ?? others[0]!;
  }

  close(): void {
    for (const endpoint of this.all) endpoint.close();
  }

  #gaveUp({ doing }: CallKind, { error, fate }: CallFailure): EvercertError {
    const outcome = fate === 'unknown' ? 'unknown' : 'not-applied';
    const fact = outcome === 'unknown' ? '; whether it was applied is not known' : '';
    const { cause, metadata } = error;
    return new EvercertError('StoreFailure', `cannot ${doing}${fact}: ${error.message}`, { cause, metadata: { ...metadata, outcome } });
  }
}

/** etcd takes connections before it has found its other members, and answers none of them until then. */
function silent({ target }: Endpoint, error: EvercertError): EvercertError {
  const message = `etcd at ${target} does not answer: it is cut off or overloaded, or waits for a quorum of its members; see its log, and 'When all certificates have expired' in docs/store.md if theirs have`;
  return new EvercertError('StoreFailure', message, { cause: error, metadata: error.metadata });
}
