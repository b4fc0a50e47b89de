/** Joins by a token: the first identity, or another after the old one has expired or was revoked. */
import type { Clock } from '@evercert/shared/clock';
import { type EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs } from '@evercert/shared/retry';
import type { EnrollmentApi } from '../coordinator-api.ts';
import type { IdentityCondition } from './condition.ts';
import { callMs, requestFor, withNextKey } from './requests.ts';
import type { Identity, IdentityStore } from './store.ts';
import type { Token, TokenReading } from './token.ts';
import type { Waker } from './waker.ts';

export interface JoinerOptions {
  store: IdentityStore;
  enrollment: EnrollmentApi;
  readToken: () => Promise<TokenReading>;
  nodeName: string;
  tokenFile: string;
  clock: Clock;
  random: () => number;
  logger: Logger;
  condition: IdentityCondition;
  waker: Waker;
  /** The new identity is installed. */
  onJoined: (identity: Identity, reason: 'NodeJoined' | 'NodeRejoined') => void;
}

/** What a node that has an identity no more joins after. */
export interface Expired {
  identity: Identity;
  /** What the last refused recovery said, and what can be done; empty while there was none. */
  advice: string;
}

/** How often a missing or refused token is looked at again. */
export const tokenPollMs = 5000;
/** A refused token of a node that has never joined is tried again after this: the coordinator may know it by now. */
const refusedAgainMs = 5 * 60_000;
const joinCapMs = 60_000;
/** Where identities live for seconds, nobody waits for a minute to get another. */
const leastJoinCapMs = 1000;

export class Joiner {
  readonly #options: JoinerOptions;
  /** When each token was refused, by its fingerprint, by the monotonic clock. */
  readonly #refused = new Map<string, number>();
  #failures = 0;

  constructor(options: JoinerOptions) {
    this.#options = options;
  }

  /** Whether there is a token that was not refused yet. */
  async hasUntriedToken(): Promise<boolean> {
    const reading = await this.#options.readToken();
    return 'token' in reading && !this.#refused.has(reading.token.fingerprint);
  }

  /** Every token may be tried again. */
  forgetRefusals(): void {
    this.#refused.clear();
  }

  /** The node has an identity, however it came: the next failure is the first of a row. */
  resetBackoff(): void {
    this.#failures = 0;
  }

  /** One step: a try with the token, or a wait in which a new one is seen. */
  async join(expired: Expired | undefined, signal: AbortSignal): Promise<void> {
    const { readToken, clock, condition, waker } = this.#options;
    const reading = await readToken();
    if (!('token' in reading)) {
      if (expired) condition.setOver(expired.identity, reading.message);
      else condition.set('WaitingForToken', undefined, reading.message);
      await waker.wait(tokenPollMs, signal);
      return;
    }
    const { token } = reading;
    const refusedAtMs = this.#refused.get(token.fingerprint);
    const again = refusedAtMs === undefined || (!expired && clock.monotonicMs() - refusedAtMs >= refusedAgainMs);
    if (!again) {
      // The state and its message stand as the refusal left them; a new token is seen within the poll.
      await waker.wait(tokenPollMs, signal);
      return;
    }
    await this.#try(token, expired, signal);
  }

  async #try(token: Token, expired: Expired | undefined, signal: AbortSignal): Promise<void> {
    const { store, enrollment, nodeName, clock, logger, condition, onJoined } = this.#options;
    // What the last try ended with stands until this one has an answer.
    if (expired && !condition.comingBack) {
      condition.setOver(expired.identity, `the token in ${token.source} is being tried`);
    } else if (!expired && condition.state === 'WaitingForToken') condition.set('Joining');
    try {
      const csr = await requestFor(store, nodeName);
      logger.info('Asking the coordinator for an identity', { node: nodeName, tokenSource: token.source });
      const received = await withNextKey(store, () => enrollment.enroll({ token: token.value, csr }, { deadlineMs: callMs, signal }));
      const identity = await withNextKey(store, () => store.install({ ...received, issuedAtMs: clock.nowMs() }));
      this.#refused.clear();
      onJoined(identity, expired ? 'NodeRejoined' : 'NodeJoined');
    } catch (caught) {
      if (signal.aborted) return;
      await this.#failed(toEvercertError(caught), token, expired, signal);
    }
  }

  async #failed(error: EvercertError, token: Token, expired: Expired | undefined, signal: AbortSignal): Promise<void> {
    const { clock, random, tokenFile, condition, waker } = this.#options;
    this.#failures += 1;
    const pinned = error.code === 'PinMismatch' || error.code === 'InvalidCertificate';
    // What is wrong with the coordinator's certificate says nothing about the token: it was not even sent.
    if (!error.retryable && !pinned) this.#refused.set(token.fingerprint, clock.monotonicMs());
    const nextStep =
      pinned || error.retryable
        ? 'the agent keeps trying'
        : `put a new token for this node into ${tokenFile} ('evercert token create'); the agent takes it by itself`;
    if (expired) {
      const { advice } = expired;
      condition.setOver(expired.identity, `${advice}${advice && '; '}the token in ${token.source} is of no use: ${error.message}`, error);
    } else condition.set(error.retryable ? 'Joining' : 'JoinRefused', error, `${error.message}; ${nextStep}`);
    const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
    const delayMs =
      error.retryable || pinned ? backoffMs({ attempt: this.#failures, draw: random(), capMs: joinCapOf(expired), ...hint }) : tokenPollMs;
    await waker.wait(delayMs, signal);
  }
}

/** The longest wait between two tries to join; after an expiry, an eighth of the life that has ended, as between two tries to renew. */
function joinCapOf(expired: Expired | undefined): number {
  const lifeMs = expired ? expired.identity.notAfterMs - expired.identity.issuedAtMs : Number.POSITIVE_INFINITY;
  return Math.min(joinCapMs, Math.max(leastJoinCapMs, lifeMs / 8));
}
