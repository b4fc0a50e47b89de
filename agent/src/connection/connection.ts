/**
 * Keeps the node connected: to the coordinator that it prefers, else to another at once, with backoff between where none answers. A new link is up before the old one is given up where
 * that can be: after a renewal of the identity, when the coordinator says goodbye, and when it cannot do what others may.
 */
import type { DesiredState, Hello, RenewNow, Welcome } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { type EvercertError, toEvercertError } from '@evercert/shared/errors';
import { fetchServerChain } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import { identityNotValid } from '@evercert/shared/wire';
import type { EnrollmentApi } from '../coordinator-api.ts';
import type { Identity, IdentityStore } from '../identity/store.ts';
import { Waker } from '../identity/waker.ts';
import { Calls } from './calls.ts';
import { silenceMs, splitEndpoint } from './channel.ts';
import { durationToMs } from './convert.ts';
import type { Endpoints } from './endpoints.ts';
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
  /** All that are known, the preferred one first. */
  endpoints: readonly string[];
}

export interface ConnectionOptions {
  endpoints: Endpoints;
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
  /** The identity of this serial opens no connection: it has ended by the coordinator's clock, or is by a control CA that was replaced. */
  onIdentityNotTaken: (serial: string) => void;
  /** The coordinator refused the identity of this serial as revoked. It is tried again: a revocation can be lifted. */
  onIdentityRevoked: (serial: string, error: EvercertError) => void;
  onChange: () => void;
  /** How often a coordinator that says nothing is asked for a sign of life, and how long it has for it, milliseconds; default 5000. */
  silenceMs?: number;
}

const longestBackoffMs = 30_000;
const shortestBackoffCapMs = 500;
/** A coordinator has so long to take a stream; less while there are others to be tried. */
const welcomeMs = 15_000;
const impatientMs = 5000;
/** Nodes that lose their coordinator together go to the next one spread over so long. */
const spreadMs = 1000;
/** Between two tries at different coordinators. */
const hopMs = 250;
/** A call that fails with its connection may be heard of so much earlier than the stream. */
const brokenMs = 500;
/** Clocks that differ by more are worth a warning. */
const skewMs = 10_000;
/** After so many failures in a row the control CA may have been replaced: it is looked for by the pins, and then every so many failures again. */
const anchorsAfter = 2;
const anchorsEvery = 5;
const dialMs = 5000;
const whatToDo =
  "if the control CA was replaced while this node was off, run 'evercert-agent recover --ca-pin PIN' here, with the pin that 'evercert version' shows where the coordinator is known";

export class Connection {
  /** Calls with the node's identity, over whichever coordinator is connected. */
  readonly api: Calls;
  readonly #options: ConnectionOptions;
  readonly #waker: Waker;
  #snapshot: Omit<ConnectionSnapshot, 'endpoints'>;
  #failures = 0;
  /** Coordinators in a row that took too long: where all of them are busy, patience gets further than a new connection. */
  #timeouts = 0;
  /** The link that another coordinator would be better than. */
  #troubled: Link | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#waker = new Waker(options.clock);
    this.#snapshot = { state: 'WaitingForIdentity', endpoint: '', sinceMs: options.clock.nowMs(), lastError: '', lastErrorCode: '' };
    const onTrouble = (link: Link, error: EvercertError): Promise<boolean> => this.#inTrouble(link, error);
    this.api = new Calls({ clock: options.clock, onTrouble, lastError: () => this.#snapshot.lastError });
  }

  snapshot(): ConnectionSnapshot {
    return { ...this.#snapshot, endpoints: this.#options.endpoints.all() };
  }

  /** There is a new identity: connect with it, before the old connection is given up. */
  identityChanged(): void {
    this.#waker.wake();
  }

  /** What the coordinator in use presented, DER, leaf first: on the connection that stands, or on a fresh one; empty: there is none. Errors: Unavailable. */
  async presented(fresh: boolean): Promise<Buffer[]> {
    const { link } = this.api;
    if (!link) return [];
    if (!fresh) return link.serverChain();
    return await fetchServerChain({ ...splitEndpoint(link.endpoint), trustAnchors: this.#options.store.trustAnchors, timeoutMs: dialMs });
  }

  /** What was trusted is not any more: whoever proved himself by it is left at once. */
  distrusted(): void {
    this.api.link?.close();
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
    const { endpoints, reporter, store } = this.#options;
    if (store.trustAnchors.length === 0) await this.#lookForAnchors(signal);
    const { endpoint } = endpoints.next();
    if (this.#snapshot.state !== 'Connecting' || this.#snapshot.endpoint !== endpoint) this.#set('Connecting', endpoint, this.#snapshot);
    try {
      const link = await this.#open(endpoint, identity, signal);
      this.#failures = 0;
      const end = await this.#serve(link, signal);
      this.api.lost();
      reporter.detach();
      return end;
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#failures += 1;
      if (error.code === 'IdentityExpired') this.#options.onIdentityExpired(identity.serial);
      if (error.metadata['reason'] === identityNotValid) this.#options.onIdentityNotTaken(identity.serial);
      if (error.code === 'Revoked') this.#options.onIdentityRevoked(identity.serial, error);
      this.#failed(endpoint, error);
      return { error };
    }
  }

  /** Resolves with a link that the coordinator has welcomed and that is in use. */
  async #open(endpoint: string, identity: Identity, signal: AbortSignal): Promise<Link> {
    const { store, hello, clock, logger, reporter, endpoints, onDesiredState, onRenewNow, onConnected } = this.#options;
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
      welcomeMs: endpoints.free(endpoint).length > 0 ? Math.min(welcomeMs, impatientMs * (1 + this.#timeouts)) : welcomeMs,
      silenceMs: this.#options.silenceMs ?? silenceMs,
    });
    const stop = (): void => link.close();
    signal.addEventListener('abort', stop, { once: true });
    void link.ended.then(() => signal.removeEventListener('abort', stop));
    try {
      const welcome = await link.welcomed;
      this.#timeouts = 0;
      endpoints.worked(endpoint);
      // One that is alone tells nothing that the way to it did not.
      if (welcome.endpoints.length > 1) endpoints.learn(welcome.endpoints);
      this.api.use(link);
      this.#set('Connected', endpoint);
      this.#warnOfSkew(welcome);
      reporter.attach(link, durationToMs(welcome.heartbeatInterval));
      logger.info('Connected to the coordinator', { endpoint, cluster: welcome.cluster, node: welcome.node, serial: identity.serial });
      onConnected(welcome);
      return link;
    } catch (error) {
      if (toEvercertError(error).code === 'DeadlineExceeded') this.#timeouts += 1;
      link.close();
      throw error;
    }
  }

  /** Until the stream ends and no other took its place; changes over to new links as the identity is renewed and as coordinators go. */
  async #serve(first: Link, signal: AbortSignal): Promise<LinkEnd> {
    let link = first;
    for (let failed = false; ; ) {
      const next = failed ? undefined : await this.#better(link, signal);
      if (next) {
        link = next;
        continue;
      }
      const waited = this.#waker.wait(failed || this.#renewed(link) ? 5000 : 60_000, signal);
      const end = await Promise.race([link.ended, waited.then(() => undefined)]);
      failed = false;
      if (!end) continue;
      this.#waker.wake();
      this.#failed(link.endpoint, end);
      const other = end.goodbye && (await this.#afterGoodbye(link, end.goodbye.endpoints, signal));
      if (other) link = other;
      else {
        // What is under way may come to its end where the coordinator has said goodbye.
        if (end.goodbye) void link.drain();
        else link.close();
        return end;
      }
    }
  }

  /** A link in the place of this one, where there is reason for another and one can be had: the identity was renewed, or the coordinator cannot do what others may. */
  async #better(link: Link, signal: AbortSignal): Promise<Link | undefined> {
    const { endpoints } = this.#options;
    const free = endpoints.free('');
    if (this.#troubled === link) {
      const next = await this.#moveTo(
        free.filter((endpoint) => endpoint !== link.endpoint),
        signal,
      );
      this.#troubled = undefined;
      if (!next) this.api.stays();
      return next;
    }
    if (!this.#renewed(link)) return undefined;
    // A new connection has to be made anyway: that is when nodes drift back to the coordinator that they prefer.
    const preferred = endpoints.all().slice(0, 1);
    return this.#moveTo([...new Set([...preferred.filter((endpoint) => free.includes(endpoint)), link.endpoint])], signal);
  }

  #renewed(link: Link): boolean {
    const identity = this.#options.usableIdentity();
    return identity !== undefined && identity.serial !== link.identity.serial;
  }

  /** To one of those that the coordinator has named, within a second, while it still answers what is under way. */
  async #afterGoodbye(link: Link, named: string[], signal: AbortSignal): Promise<Link | undefined> {
    const { endpoints, random } = this.#options;
    if (named.length === 0) return undefined;
    endpoints.learn(named);
    // All agents of the coordinator hear it in the same moment.
    await this.#waker.wait(random() * spreadMs, signal);
    const known = endpoints.all();
    return this.#moveTo([...new Set([...named.filter((endpoint) => known.includes(endpoint)), ...endpoints.free(link.endpoint)])], signal);
  }

  /** Opens a link to the first that takes one, then lets the calls over the one before come to their end. */
  async #moveTo(candidates: string[], signal: AbortSignal): Promise<Link | undefined> {
    for (const endpoint of candidates) {
      const identity = this.#options.usableIdentity();
      if (!identity || signal.aborted) return undefined;
      const before = this.api.link;
      try {
        const next = await this.#open(endpoint, identity, signal);
        // Not awaited: calls under way on the old link may take their time. It never rejects.
        void before?.drain();
        return next;
      } catch (caught) {
        const error = toEvercertError(caught);
        if (signal.aborted) return undefined;
        this.#failed(endpoint, error);
        this.#options.logger.warn('No new connection yet; the old one is kept', { endpoint, code: error.code, error: error.message });
      }
    }
    return undefined;
  }

  /** A call over this link failed. True: another link comes, or is looked for. */
  async #inTrouble(link: Link, error: EvercertError): Promise<boolean> {
    const { endpoints } = this.#options;
    if (error.code === 'Unavailable' && (await this.#breaks(link))) return true;
    if (link !== this.api.link || this.#troubled === link) return true;
    this.#failed(link.endpoint, error);
    if (endpoints.free(link.endpoint).length === 0) return false;
    this.#troubled = link;
    this.#waker.wake();
    return true;
  }

  /** Whether it is the connection that broke: the stream tells in nearly the same moment. */
  async #breaks(link: Link): Promise<boolean> {
    const heard = new AbortController();
    const ended = link.ended.then(() => true);
    const late = this.#options.clock.sleep(brokenMs, heard.signal).then(
      () => false,
      () => false,
    );
    return Promise.race([ended, late]).finally(() => heard.abort());
  }

  #failed(endpoint: string, { retryAfterMs }: { retryAfterMs?: number | undefined }): void {
    this.#options.endpoints.failed(endpoint, { draw: this.#options.random(), capMs: this.#backoffCapMs(), hintMs: retryAfterMs });
  }

  async #pause({ error }: LinkEnd, signal: AbortSignal): Promise<void> {
    const { random, logger, onChange, endpoints } = this.#options;
    const { endpoint, lastErrorCode } = this.#snapshot;
    const next = endpoints.next();
    const spread = this.#failures === 0 ? spreadMs : hopMs;
    const delayMs = Math.ceil(next.endpoint === endpoint ? next.waitMs : Math.max(next.waitMs, random() * spread));
    const state = this.#snapshot.state === 'Connected' ? 'Connecting' : this.#snapshot.state;
    if (error.code !== lastErrorCode || this.#failures <= endpoints.all().length || this.#failures % 20 === 1) {
      logger.warn('No connection to the coordinator; trying again', {
        endpoint,
        code: error.code,
        error: error.message,
        attempts: this.#failures,
        next: next.endpoint,
        retryInMs: delayMs,
      });
    }
    this.#snapshot = { ...this.#snapshot, state, lastError: error.message, lastErrorCode: error.code };
    onChange();
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
      const message = error.code === 'PinMismatch' ? `${error.message}; ${whatToDo}` : error.message;
      this.#snapshot = { ...this.#snapshot, lastError: message, lastErrorCode: error.code };
    }
  }

  #backoffCapMs(): number {
    return Math.max(shortestBackoffCapMs, Math.min(longestBackoffMs, this.#options.timeLeftMs() / 8));
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
