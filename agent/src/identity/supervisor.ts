/** Gets the node its identity and keeps it alive: joins by a token, renews in time, re-joins after expiry. Never gives up, never throws. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { drawFor, refusalDelayMs, renewalDueMs, retryDelayMs } from '@evercert/shared/schedule';
import type { CoordinatorApi, EnrollmentApi, RecoveryApi } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import { adviceAfter, comeBack, waitToComeBackMs } from './come-back.ts';
import { IdentityCondition, type IdentityState } from './condition.ts';
import { Joiner, tokenPollMs } from './joiner.ts';
import { callMs, requestFor, withNextKey } from './requests.ts';
import type { Identity, IdentityStore } from './store.ts';
import type { TokenReading } from './token.ts';
import { Waker } from './waker.ts';

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
/** These say nothing about the node: a token would fare no better. */
const transportErrors = new Set(['Unavailable', 'DeadlineExceeded', 'Overloaded', 'Cancelled']);

export class IdentitySupervisor {
  readonly #options: SupervisorOptions;
  readonly #waker: Waker;
  readonly #condition: IdentityCondition;
  readonly #joiner: Joiner;
  #failures = 0;
  #timeLeftMs = 0;
  #expiredSerial = '';
  #renewSerial = '';
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
    this.#condition = new IdentityCondition(options);
    this.#joiner = new Joiner({
      ...options,
      condition: this.#condition,
      waker: this.#waker,
      onJoined: (identity, reason) => this.#took(identity, reason),
    });
  }

  /** Runs until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { identity } = this.#options.store;
      try {
        if (!identity || this.#orderedToken) await this.#join(identity, signal);
        else if (this.#expired(identity)) await this.#comeBack(identity, signal);
        else if (this.#revoked?.serial === identity.serial) await this.#awaitToken(this.#revoked.error, signal);
        else await this.#keep(identity, signal);
      } catch (caught) {
        const error = toEvercertError(caught);
        if (signal.aborted) return;
        this.#condition.set(this.#condition.state, error);
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

  /** The identity of this serial opens no connection, although it has not ended by this node's clock: what it proves is proved by recovery. */
  notTakenByCoordinator(serial: string): void {
    if (this.#expiredSerial === serial) return;
    this.#expiredSerial = serial;
    this.#condition.notTaken(serial);
    this.#options.logger.warn('The coordinator does not take the identity: its control CA was replaced, or one of the clocks is wrong', {
      serial,
    });
    this.#waker.wake();
  }

  /**
   * The coordinator asks for another identity in place of the one of this serial; empty: it asks for none. A wish stands until that identity is replaced: the coordinator may have
   * given another already, by an answer that was lost.
   */
  renewalRequested(serial: string): void {
    if (serial === '') return;
    const news = this.#renewSerial !== serial;
    this.#renewSerial = serial;
    if (news) this.#waker.wake();
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
    if (token) this.#joiner.forgetRefusals();
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
      state: this.#condition.state,
      message: this.#condition.message,
      code: this.#condition.code,
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
    const due = identity.serial === this.#renewSerial ? 0 : dueMs(identity);
    if (clock.nowMs() < due) {
      this.#failures = 0;
      this.#condition.set('Ready');
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
      this.#condition.set('RenewalFailing', error);
      const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
      const input = { timeLeftMs: this.#timeLeftMs, draw: random(), ...hint };
      const delayMs = error.retryable ? retryDelayMs({ ...input, attempt: this.#failures }) : refusalDelayMs(input);
      await this.#waker.wait(Math.min(delayMs, Math.max(0, identity.notAfterMs - clock.nowMs())), signal);
    }
  }

  async #renew({ cluster, role, nodeName }: Identity, signal: AbortSignal): Promise<void> {
    const { store, api, clock } = this.#options;
    const csr = await requestFor(store, nodeName);
    const received = await withNextKey(store, () => api.renewIdentity(csr, { deadlineMs: callMs, signal }));
    const identity = await withNextKey(store, () => store.install({ ...received, cluster, role, issuedAtMs: clock.nowMs() }));
    this.#took(identity, 'IdentityRenewed');
  }

  /** A revoked identity is of no use before the revocation is lifted, which the connection finds out; a token that was made since brings another. */
  async #awaitToken(error: EvercertError, signal: AbortSignal): Promise<void> {
    if (await this.#joiner.hasUntriedToken()) return this.#joiner.join(undefined, signal);
    this.#condition.set('IdentityRevoked', error);
    await this.#waker.wait(tokenPollMs, signal);
  }

  /** One step of a node whose identity has expired: the recovery, then a token, then a wait in which a new token is seen. */
  async #comeBack(expired: Identity, signal: AbortSignal): Promise<void> {
    const { store, recovery, clock, random, tokenFile } = this.#options;
    if (!this.#condition.comingBack) this.#condition.setOver(expired, 'asking the coordinator to take it back');
    try {
      const identity = await withNextKey(store, () => comeBack({ store, recovery, clock }, expired, signal));
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
      this.#condition.setOver(expired, this.#advice, error);
      if (!transportErrors.has(error.code) && (await this.#joiner.hasUntriedToken())) return this.#join(expired, signal);
      const endMs = clock.monotonicMs() + waitToComeBackMs(error, this.#failures, random());
      for (let left = endMs - clock.monotonicMs(); left > 0 && !signal.aborted; left = endMs - clock.monotonicMs()) {
        const woken = await this.#waker.wait(Math.min(left, tokenPollMs), signal);
        if (woken || (await this.#joiner.hasUntriedToken())) return;
      }
    }
  }

  /** An identity that has expired is what the node comes back from; one that has not is replaced as if it had none. */
  async #join(identity: Identity | undefined, signal: AbortSignal): Promise<void> {
    this.#orderedToken = false;
    await this.#joiner.join(identity && this.#expired(identity) ? { identity, advice: this.#advice } : undefined, signal);
  }

  #took(identity: Identity, reason: string): void {
    this.#failures = 0;
    this.#joiner.resetBackoff();
    this.#endedAnswers = 0;
    const { events, onIdentity } = this.#options;
    const end = new Date(identity.notAfterMs).toISOString();
    events.record({
      reason,
      type: 'Normal',
      serial: identity.serial,
      message: `node ${identity.nodeName} has an identity in cluster ${identity.cluster}, good until ${end}`,
    });
    this.#condition.set('Ready');
    onIdentity(identity);
  }

  #expired(identity: Identity): boolean {
    return identity.serial === this.#expiredSerial || this.#options.clock.nowMs() >= identity.notAfterMs;
  }
}

function dueMs({ issuedAtMs, notAfterMs, serial }: Identity): number {
  return renewalDueMs({ issuedAtMs, notAfterMs, renewAt, draw: drawFor(serial) });
}
