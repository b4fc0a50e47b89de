/** Keeps the node connected: one endpoint after the other, backoff between, a new channel before the old one goes when the identity was renewed. */
import type { DesiredState, Hello, RenewNow, Welcome } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { CoordinatorApi, EnrollmentApi } from '../coordinator-api.ts';
import type { Identity, IdentityStore } from '../identity/store.ts';
import { Waker } from '../identity/waker.ts';
import { durationToMs } from './convert.ts';
import { Link, type LinkEnd } from './link.ts';
import type { Reporter } from './reporter.ts';

export type ConnectionState = 'WaitingForIdentity' | 'Connecting' | 'Connected';

export interface ConnectionSnapshot {
  state: ConnectionState;
  endpoint: string;
  /** When the state began. */
  sinceMs: number;
  lastError: string;
  lastErrorCode: string;
}

export interface ConnectionOptions {
  endpoints: readonly string[];
  store: IdentityStore;
  usableIdentity: () => Identity | undefined;
  enrollment: EnrollmentApi;
  reporter: Reporter;
  hello: () => Hello;
  /** Time in which something has to be renewed, milliseconds: the less is left, the sooner the next try. */
  timeLeftMs: () => number;
  clock: Clock;
  random: () => number;
  logger: Logger;
  onDesiredState: (state: DesiredState) => void;
  onRenewNow: (request: RenewNow) => void;
  onConnected: (welcome: Welcome) => void;
  /** The coordinator refused the identity of this serial as expired. */
  onIdentityExpired: (serial: string) => void;
  /** The coordinator refused the identity of this serial as revoked. It is tried again: a revocation can be lifted. */
  onIdentityRevoked: (serial: string, error: EvercertError) => void;
  onChange: () => void;
}

const longestBackoffMs = 30_000;
const shortestBackoffCapMs = 500;
const longestGoodbyeMs = 5 * 60_000;
/** Clocks that differ by more are worth a warning. */
const skewMs = 10_000;
/** After so many failures in a row the control CA may have been replaced: it is looked for by the pins, and then every so many failures again. */
const anchorsAfter = 2;
const anchorsEvery = 5;

export class Connection implements CoordinatorApi {
  readonly #options: ConnectionOptions;
  readonly #waker: Waker;
  #link: Link | undefined;
  #snapshot: ConnectionSnapshot;
  #next = 0;
  #failures = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#waker = new Waker(options.clock);
    this.#snapshot = { state: 'WaitingForIdentity', endpoint: '', sinceMs: options.clock.nowMs(), lastError: '', lastErrorCode: '' };
  }

  issueCertificate(...args: Parameters<CoordinatorApi['issueCertificate']>): ReturnType<CoordinatorApi['issueCertificate']> {
    return this.#connected((link) => link.issueCertificate(...args));
  }

  adoptCertificate(...args: Parameters<CoordinatorApi['adoptCertificate']>): ReturnType<CoordinatorApi['adoptCertificate']> {
    return this.#connected((link) => link.adoptCertificate(...args));
  }

  renewIdentity(...args: Parameters<CoordinatorApi['renewIdentity']>): ReturnType<CoordinatorApi['renewIdentity']> {
    return this.#connected((link) => link.renewIdentity(...args));
  }

  getKeyPair(...args: Parameters<CoordinatorApi['getKeyPair']>): ReturnType<CoordinatorApi['getKeyPair']> {
    return this.#connected((link) => link.getKeyPair(...args));
  }

  acquireRestartLease(...args: Parameters<CoordinatorApi['acquireRestartLease']>): Promise<void> {
    return this.#connected((link) => link.acquireRestartLease(...args));
  }

  releaseRestartLease(...args: Parameters<CoordinatorApi['releaseRestartLease']>): Promise<void> {
    return this.#connected((link) => link.releaseRestartLease(...args));
  }

  snapshot(): ConnectionSnapshot {
    return this.#snapshot;
  }

  /** There is a new identity: connect with it, before the old connection is given up. */
  identityChanged(): void {
    this.#waker.wake();
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const identity = this.#options.usableIdentity();
      if (!identity) {
        this.#set('WaitingForIdentity', '');
        await this.#waker.wait(1000, signal);
        continue;
      }
      const end = await this.#connectAndServe(identity, signal);
      if (signal.aborted) return;
      await this.#pause(end, signal);
    }
  }

  async #connectAndServe(identity: Identity, signal: AbortSignal): Promise<LinkEnd> {
    const { endpoints } = this.#options;
    const endpoint = endpoints[this.#next % endpoints.length] ?? '';
    if (this.#snapshot.state !== 'Connecting' || this.#snapshot.endpoint !== endpoint) this.#set('Connecting', endpoint, this.#snapshot);
    try {
      const link = await this.#open(endpoint, identity, signal);
      this.#failures = 0;
      const end = await this.#serve(link, signal);
      this.#link = undefined;
      this.#options.reporter.detach();
      return end;
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#failures += 1;
      if (error.code === 'IdentityExpired') this.#options.onIdentityExpired(identity.serial);
      if (error.code === 'Revoked') this.#options.onIdentityRevoked(identity.serial, error);
      return { error, ...(error.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }) };
    }
  }

  /** Resolves with a link that the coordinator has welcomed and that is in use. */
  async #open(endpoint: string, identity: Identity, signal: AbortSignal): Promise<Link> {
    const { store, hello, clock, logger, reporter, onDesiredState, onRenewNow, onConnected } = this.#options;
    const link: Link = new Link({
      endpoint,
      identity,
      trustAnchors: store.trustAnchors,
      hello: hello(),
      clock,
      logger,
      onDesiredState,
      onRenewNow,
      onDrain: () => reporter.flush(),
    });
    const stop = (): void => link.close();
    signal.addEventListener('abort', stop, { once: true });
    void link.ended.then(() => signal.removeEventListener('abort', stop));
    try {
      const welcome = await link.welcomed;
      this.#link = link;
      this.#set('Connected', endpoint);
      this.#warnOfSkew(welcome);
      reporter.attach(link, durationToMs(welcome.heartbeatInterval));
      logger.info('Connected to the coordinator', { endpoint, cluster: welcome.cluster, node: welcome.node, serial: identity.serial });
      onConnected(welcome);
      return link;
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** Until the stream ends; changes over to new links as the identity is renewed. */
  async #serve(first: Link, signal: AbortSignal): Promise<LinkEnd> {
    let link = first;
    for (let failures = 0; ; ) {
      const current = this.#options.usableIdentity();
      const renewed = current !== undefined && current.serial !== link.identity.serial;
      if (renewed && failures === 0) {
        try {
          const next = await this.#open(link.endpoint, current, signal);
          // Not awaited: calls under way on the old link may take their time. It never rejects.
          void link.drain();
          link = next;
          continue;
        } catch (caught) {
          const error = toEvercertError(caught);
          this.#options.logger.warn('No connection with the new identity yet; the old one is kept', {
            code: error.code,
            error: error.message,
          });
          failures = 1;
        }
      }
      const waited = failures > 0 ? this.#waker.wait(5000, signal) : this.#waker.wait(60_000, signal);
      const end = await Promise.race([link.ended, waited.then(() => undefined)]);
      if (end) {
        this.#waker.wake();
        link.close();
        return end;
      }
      failures = 0;
    }
  }

  async #pause({ error, retryAfterMs }: LinkEnd, signal: AbortSignal): Promise<void> {
    const { random, logger, onChange } = this.#options;
    const hintMs = Math.min(retryAfterMs ?? 0, longestGoodbyeMs);
    const delayMs = backoffMs({ attempt: Math.max(1, this.#failures), draw: random(), capMs: this.#backoffCapMs(), hintMs });
    const { endpoint } = this.#snapshot;
    const state = this.#snapshot.state === 'Connected' ? 'Connecting' : this.#snapshot.state;
    if (error.message !== this.#snapshot.lastError || this.#failures % 20 === 1) {
      logger.warn('No connection to the coordinator; trying again', {
        endpoint,
        code: error.code,
        error: error.message,
        attempts: this.#failures,
        retryInMs: delayMs,
      });
    }
    this.#snapshot = { ...this.#snapshot, state, lastError: error.message, lastErrorCode: error.code };
    onChange();
    this.#next += 1;
    if (this.#failures >= anchorsAfter && (this.#failures - anchorsAfter) % anchorsEvery === 0) await this.#lookForAnchors(signal);
    await this.#waker.wait(delayMs, signal);
  }

  /** An agent that was off while the control CA was replaced finds the new one by its pins. */
  async #lookForAnchors(signal: AbortSignal): Promise<void> {
    const { enrollment, store, logger } = this.#options;
    try {
      const found = await enrollment.fetchTrustAnchors({ deadlineMs: 10_000, signal });
      if (await store.addTrustAnchors(found)) logger.info('A new control CA was found by its pin and is trusted from now on');
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.code === 'Unavailable' || error.code === 'Cancelled') return;
      logger.warn('The coordinator does not show a control CA that this agent may trust', { code: error.code, error: error.message });
      this.#snapshot = { ...this.#snapshot, lastError: error.message, lastErrorCode: error.code };
    }
  }

  #backoffCapMs(): number {
    return Math.max(shortestBackoffCapMs, Math.min(longestBackoffMs, this.#options.timeLeftMs() / 8));
  }

  async #connected<T>(call: (link: Link) => Promise<T>): Promise<T> {
    if (this.#link) return call(this.#link);
    const { lastError } = this.#snapshot;
    throw new EvercertError('Unavailable', `there is no connection to the coordinator${lastError ? `: ${lastError}` : ''}`);
  }

  #warnOfSkew({ serverTime }: Welcome): void {
    const { clock, logger } = this.#options;
    const differenceMs = serverTime ? clock.nowMs() - serverTime.getTime() : 0;
    if (Math.abs(differenceMs) > skewMs)
      logger.warn("This node's clock and the coordinator's differ; check time synchronisation", { differenceMs });
  }

  #set(state: ConnectionState, endpoint: string, error?: { lastError: string; lastErrorCode: string }): void {
    if (this.#snapshot.state === state && this.#snapshot.endpoint === endpoint) return;
    const sinceMs = this.#snapshot.state === state ? this.#snapshot.sinceMs : this.#options.clock.nowMs();
    this.#snapshot = { state, endpoint, sinceMs, lastError: error?.lastError ?? '', lastErrorCode: error?.lastErrorCode ?? '' };
    this.#options.onChange();
  }
}
