/** Gets the node its identity and keeps it alive: joins by a token, renews in time, re-joins after expiry. Never gives up, never throws. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import { drawFor, refusalDelayMs, renewalDueMs, retryDelayMs } from '@evercert/shared/schedule';
import { createCsr } from '@evercert/shared/x509';
import type { CoordinatorApi, EnrollmentApi, RecoveryApi } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import { adviceAfter, comeBack, waitToComeBackMs } from './come-back.ts';
import type { Identity, IdentityStore } from './store.ts';
import type { Token, TokenReading } from './token.ts';
import { Waker } from './waker.ts';

/** WaitingForToken: there is none to try. JoinRefused: the coordinator, or the pin, said no. */
export type IdentityState =
  | 'WaitingForToken'
  | 'Joining'
  | 'JoinRefused'
  | 'Ready'
  | 'RenewalFailing'
  | 'IdentityExpired'
  | 'IdentityRevoked';

export interface IdentitySnapshot {
  state: IdentityState;
  /** What is wrong and what to do; empty when all is well. */
  message: string;
  code: string;
  nodeName: string;
  cluster: string;
  role: string;
  serial: string;
  notAfterMs?: number;
  nextRenewalAtMs?: number;
}

export interface SupervisorOptions {
  store: IdentityStore;
  enrollment: EnrollmentApi;
  recovery: RecoveryApi;
  api: Pick<CoordinatorApi, 'renewIdentity'>;
  readToken: () => Promise<TokenReading>;
  nodeName: string;
  tokenFile: string;
  clock: Clock;
  random: () => number;
  logger: Logger;
  events: EventSink;
  /** A new identity is in use. */
  onIdentity: (identity: Identity) => void;
  onChange: () => void;
}

/** Part of the life after which an identity is renewed. */
const renewAt = 2 / 3;
/** How often a missing or refused token is looked at again. */
const tokenPollMs = 5000;
/** A refused token of a node that has never joined is tried again after this: the coordinator may know it by now. */
const refusedAgainMs = 5 * 60_000;
const joinCapMs = 60_000;
/** Where identities live for seconds, nobody waits for a minute to get another. */
const leastJoinCapMs = 1000;
const callMs = 20_000;
/** These say nothing about the node: a token would fare no better. */
const transportErrors = new Set(['Unavailable', 'DeadlineExceeded', 'Overloaded', 'Cancelled']);
/** These say that the waiting key will never do. */
const discardKeyAfter = new Set(['KeyInUse', 'InvalidCsr', 'WeakKey', 'PairMismatch']);

export class IdentitySupervisor {
  readonly #options: SupervisorOptions;
  readonly #waker: Waker;
  /** When each token was refused, by its fingerprint, by the monotonic clock. */
  readonly #refused = new Map<string, number>();
  #state: IdentityState = 'Joining';
  #error: { message: string; code: string } = { message: '', code: '' };
  #failures = 0;
  #timeLeftMs = 0;
  #expiredSerial = '';
  #revoked: { serial: string; error: EvercertError } | undefined;
  /** What the last refused recovery said, and what can be done. */
  #advice = '';
  /** Identities in a row that came back ended. */
  #endedAnswers = 0;
  /** An administrator at the node wants the token in the token file tried, whatever the state. */
  #orderedToken = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#waker = new Waker(options.clock);
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { identity } = this.#options.store;
      try {
        if (!identity) await this.#join(undefined, signal);
        else if (this.#orderedToken) await this.#join(this.#expired(identity) ? identity : undefined, signal);
        else if (this.#expired(identity)) await this.#comeBack(identity, signal);
        else if (this.#revoked?.serial === identity.serial) await this.#awaitToken(this.#revoked.error, signal);
        else await this.#keep(identity, signal);
      } catch (caught) {
        const error = toEvercertError(caught);
        if (signal.aborted) return;
        this.#set(this.#state, error);
        await this.#waker.wait(tokenPollMs, signal);
      }
    }
  }

  /** The identity to call the coordinator with; undefined when there is none or it has expired. */
  usable(): Identity | undefined {
    const { identity } = this.#options.store;
    return identity && !this.#expired(identity) ? identity : undefined;
  }

  /** The coordinator says that the identity of this serial has expired, whatever this node's clock says. */
  expiredByCoordinator(serial: string): void {
    if (this.#expiredSerial === serial) return;
    this.#expiredSerial = serial;
    this.#options.logger.warn('The coordinator says that the identity has expired; check the clocks of both', { serial });
    this.#waker.wake();
  }

  /** The coordinator refuses the identity of this serial by a revocation. */
  revokedByCoordinator(serial: string, error: EvercertError): void {
    const known = this.#revoked?.serial === serial && this.#revoked.error.message === error.message;
    this.#revoked = { serial, error };
    if (!known) this.#waker.wake();
  }

  /** The coordinator takes the identity: a revocation that there was has been lifted. */
  acceptedByCoordinator(): void {
    if (!this.#revoked) return;
    this.#revoked = undefined;
    this.#waker.wake();
  }

  /** Something has changed that may let a waiting step succeed: the coordinator is reachable again. */
  wake(): void {
    this.#waker.wake();
  }

  /** Tries at once to come back; with `token`, by the token in the token file, although the identity may not have expired. */
  tryNow({ token }: { token: boolean }): void {
    this.#orderedToken = token;
    if (token) this.#refused.clear();
    this.#waker.wake();
  }

  /** Until the identity in use ends, milliseconds; infinite without a usable one. */
  timeLeftMs(): number {
    const identity = this.usable();
    return identity ? identity.notAfterMs - this.#options.clock.nowMs() : Number.POSITIVE_INFINITY;
  }

  snapshot(): IdentitySnapshot {
    const { store, nodeName } = this.#options;
    const { identity } = store;
    return {
      state: this.#state,
      message: this.#error.message,
      code: this.#error.code,
      nodeName,
      cluster: identity?.cluster ?? '',
      role: identity?.role ?? '',
      serial: identity?.serial ?? '',
      ...(identity && { notAfterMs: identity.notAfterMs, nextRenewalAtMs: dueMs(identity) }),
    };
  }

  /** Waits until renewal is due, then tries once. */
  async #keep(identity: Identity, signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    const due = dueMs(identity);
    if (clock.nowMs() < due) {
      this.#failures = 0;
      this.#set('Ready');
      await this.#waker.waitUntil(due, signal);
      return;
    }
    try {
      await this.#renew(identity, signal);
      this.#failures = 0;
    } catch (caught) {
      if (signal.aborted) return;
      const error = toEvercertError(caught);
      this.#failures += 1;
      if (this.#failures === 1) this.#timeLeftMs = identity.notAfterMs - clock.nowMs();
      this.#set('RenewalFailing', error);
      const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
      const input = { timeLeftMs: this.#timeLeftMs, draw: random(), ...hint };
      const delayMs = error.retryable ? retryDelayMs({ ...input, attempt: this.#failures }) : refusalDelayMs(input);
      await this.#waker.wait(Math.min(delayMs, Math.max(0, identity.notAfterMs - clock.nowMs())), signal);
    }
  }

  async #renew({ cluster, role, nodeName }: Identity, signal: AbortSignal): Promise<void> {
    const { store, api, clock } = this.#options;
    const csr = await this.#request(nodeName);
    const received = await this.#ask(() => api.renewIdentity(csr, { deadlineMs: callMs, signal }));
    this.#took(await this.#ask(() => store.install({ ...received, cluster, role, issuedAtMs: clock.nowMs() })), 'IdentityRenewed');
  }

  /** A revoked identity is of no use before the revocation is lifted, which the connection finds out; a token that was made since brings another. */
  async #awaitToken(error: EvercertError, signal: AbortSignal): Promise<void> {
    if (await this.#untriedToken()) return this.#join(undefined, signal);
    this.#set('IdentityRevoked', error);
    await this.#waker.wait(tokenPollMs, signal);
  }

  /** One step of a node whose identity has expired: the recovery, then a token, then a wait in which a new token is seen. */
  async #comeBack(expired: Identity, signal: AbortSignal): Promise<void> {
    const { store, recovery, clock, random, tokenFile } = this.#options;
    if (this.#state !== 'IdentityExpired')
      this.#set('IdentityExpired', undefined, this.#expiredAdvice(expired, 'asking the coordinator to take it back'));
    try {
      const identity = await this.#ask(() => comeBack({ store, recovery, clock }, expired, signal));
      // The answer to an earlier request that was lost can have ended meanwhile: that identity now comes back itself. Twice in a row it is this node's clock that is wrong.
      if (!this.#expired(identity)) this.#took(identity, 'IdentityRecovered');
      else if (++this.#endedAnswers > 1)
        throw new EvercertError(
          'FailedPrecondition',
          "the identity that the coordinator gave has ended already by this node's clock: set the clock",
        );
    } catch (caught) {
      if (signal.aborted) return;
      const error = toEvercertError(caught);
      this.#failures += 1;
      this.#advice = `${error.message}; ${adviceAfter(error, expired, tokenFile)}`;
      this.#set('IdentityExpired', error, this.#expiredAdvice(expired, this.#advice));
      if (!transportErrors.has(error.code) && (await this.#untriedToken())) return this.#join(expired, signal);
      const endMs = clock.monotonicMs() + waitToComeBackMs(error, this.#failures, random());
      for (let left = endMs - clock.monotonicMs(); left > 0 && !signal.aborted; left = endMs - clock.monotonicMs()) {
        const woken = await this.#waker.wait(Math.min(left, tokenPollMs), signal);
        if (woken || (await this.#untriedToken())) return;
      }
    }
  }

  async #untriedToken(): Promise<boolean> {
    const reading = await this.#options.readToken();
    return 'token' in reading && !this.#refused.has(reading.token.fingerprint);
  }

  /** One step towards a first identity, or a new one after expiry. */
  async #join(expired: Identity | undefined, signal: AbortSignal): Promise<void> {
    const { readToken, clock } = this.#options;
    this.#orderedToken = false;
    const reading = await readToken();
    if (!('token' in reading)) {
      this.#set(
        expired ? 'IdentityExpired' : 'WaitingForToken',
        undefined,
        expired ? this.#expiredAdvice(expired, reading.message) : reading.message,
      );
      await this.#waker.wait(tokenPollMs, signal);
      return;
    }
    const { token } = reading;
    const refusedAtMs = this.#refused.get(token.fingerprint);
    const again = refusedAtMs === undefined || (!expired && clock.monotonicMs() - refusedAtMs >= refusedAgainMs);
    if (!again) {
      // The state and its message stand as the refusal left them; a new token is seen within the poll.
      await this.#waker.wait(tokenPollMs, signal);
      return;
    }
    await this.#tryToken(token, expired, signal);
  }

  async #tryToken(token: Token, expired: Identity | undefined, signal: AbortSignal): Promise<void> {
    const { store, enrollment, nodeName, clock, logger } = this.#options;
    // What the last try ended with stands until this one has an answer.
    if (expired && this.#state !== 'IdentityExpired') {
      this.#set('IdentityExpired', undefined, this.#expiredAdvice(expired, `the token in ${token.source} is being tried`));
    } else if (!expired && this.#state === 'WaitingForToken') this.#set('Joining');
    try {
      const csr = await this.#request(nodeName);
      logger.info('Asking the coordinator for an identity', { node: nodeName, tokenSource: token.source });
      const received = await this.#ask(() => enrollment.enroll({ token: token.value, csr }, { deadlineMs: callMs, signal }));
      const identity = await this.#ask(() => store.install({ ...received, issuedAtMs: clock.nowMs() }));
      this.#failures = 0;
      this.#refused.clear();
      this.#took(identity, expired ? 'NodeRejoined' : 'NodeJoined');
    } catch (caught) {
      if (signal.aborted) return;
      await this.#joinFailed(toEvercertError(caught), token, expired, signal);
    }
  }

  async #joinFailed(error: EvercertError, token: Token, expired: Identity | undefined, signal: AbortSignal): Promise<void> {
    const { clock, random, tokenFile } = this.#options;
    this.#failures += 1;
    const pinned = error.code === 'PinMismatch' || error.code === 'InvalidCertificate';
    // What is wrong with the coordinator's certificate says nothing about the token: it was not even sent.
    if (!error.retryable && !pinned) this.#refused.set(token.fingerprint, clock.monotonicMs());
    const nextStep =
      pinned || error.retryable
        ? 'the agent keeps trying'
        : `put a new token for this node into ${tokenFile} ('evercert token create'); the agent takes it by itself`;
    const message = `${error.message}; ${nextStep}`;
    if (expired) {
      const both = `${this.#advice}${this.#advice && '; '}the token in ${token.source} is of no use: ${error.message}`;
      this.#set('IdentityExpired', error, this.#expiredAdvice(expired, both));
    } else this.#set(error.retryable ? 'Joining' : 'JoinRefused', error, message);
    const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
    const delayMs =
      error.retryable || pinned ? backoffMs({ attempt: this.#failures, draw: random(), capMs: joinCapOf(expired), ...hint }) : tokenPollMs;
    await this.#waker.wait(delayMs, signal);
  }

  async #request(commonName: string): Promise<Buffer> {
    return createCsr({ privateKey: await this.#options.store.nextKey(), commonName });
  }

  /** Forgets the waiting key when the answer says that it will never do. */
  async #ask<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (discardKeyAfter.has(toEvercertError(error).code)) await this.#options.store.discardNextKey();
      throw error;
    }
  }

  #took(identity: Identity, reason: string): void {
    this.#failures = 0;
    this.#endedAnswers = 0;
    const { events, onIdentity } = this.#options;
    const end = new Date(identity.notAfterMs).toISOString();
    events.record({
      reason,
      type: 'Normal',
      serial: identity.serial,
      message: `node ${identity.nodeName} has an identity in cluster ${identity.cluster}, good until ${end}`,
    });
    this.#set('Ready');
    onIdentity(identity);
  }

  #set(state: IdentityState, error?: EvercertError, message = error?.message ?? ''): void {
    const code = error?.code ?? '';
    if (state === this.#state && message === this.#error.message && code === this.#error.code) return;
    const { logger, onChange } = this.#options;
    this.#state = state;
    this.#error = { message, code };
    if (message) logger.warn('The identity is not as it should be', { state, code, error: message });
    else logger.info('The identity has a new state', { state });
    onChange();
  }

  #expired(identity: Identity): boolean {
    return identity.serial === this.#expiredSerial || this.#options.clock.nowMs() >= identity.notAfterMs;
  }

  #expiredAdvice({ notAfterMs, nodeName }: Identity, detail: string): string {
    const end = new Date(notAfterMs).toISOString();
    return `the identity of node ${nodeName} expired at ${end}; the agent keeps all files and asks for a new one by itself every few seconds: ${detail}`;
  }
}

/** The longest wait between two tries to join; after an expiry, an eighth of the life that has ended, as between two tries to renew. */
function joinCapOf(expired: Identity | undefined): number {
  const lifeMs = expired ? expired.notAfterMs - expired.issuedAtMs : Number.POSITIVE_INFINITY;
  return Math.min(joinCapMs, Math.max(leastJoinCapMs, lifeMs / 8));
}

function dueMs({ issuedAtMs, notAfterMs, serial }: Identity): number {
  return renewalDueMs({ issuedAtMs, notAfterMs, renewAt, draw: drawFor(serial) });
}
