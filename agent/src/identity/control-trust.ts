/** Which control CAs the agent trusts, as coordinators tell it during a rotation: taken only when the coordinator itself stands under them. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { IdentityStore } from './store.ts';

export interface ControlTrustOptions {
  store: IdentityStore;
  /** What the coordinator in use presented, DER: on the connection that stands, or on a fresh one; empty: there is none. Errors: Unavailable. */
  presented: (fresh: boolean) => Promise<Buffer[]>;
  clock: Clock;
  logger: Logger;
  onChange: () => void;
}

export class ControlTrust {
  readonly #options: ControlTrustOptions;
  #wanted: Buffer[] = [];
  #lastError = '';

  constructor(options: ControlTrustOptions) {
    this.#options = options;
  }

  /** Why the set that the coordinator told last is not trusted instead of the present one; empty: it is. */
  get lastError(): string {
    return this.#lastError;
  }

  /**
   * Trusts this set instead of the present one; durable when it resolves with true. Without a connection it is only remembered: a state from an earlier run may be older than what is
   * trusted since. Nobody is found by the retired pins from then on, but for what is trusted. Errors: InvalidCertificate (the coordinator does not stand under it; what was trusted stays), Unavailable, DiskFull, FileSystem.
   */
  async take(anchors: Buffer[], retiredPins: readonly string[] = []): Promise<boolean> {
    this.#wanted = anchors;
    const changed = await this.#try();
    await this.#options.store.retirePins(retiredPins);
    return changed;
  }

  /** The set that was not taken is looked at once more: the coordinator may have its new certificate by now. Never rejects. */
  async retry(): Promise<void> {
    if (this.#lastError === '' && !this.#pending()) return;
    try {
      await this.#try();
    } catch (caught) {
      const { code, message } = toEvercertError(caught);
      this.#options.logger.debug('The control CAs that the coordinator told are still not trusted', { code, error: message });
    }
  }

  #pending(): boolean {
    const { trustAnchors } = this.#options.store;
    return this.#wanted.length > 0 && !sameSet(this.#wanted, trustAnchors);
  }

  async #try(): Promise<boolean> {
    if (!this.#pending()) {
      this.#settle('');
      return false;
    }
    try {
      const changed = await this.#adopt();
      this.#settle('');
      return changed;
    } catch (caught) {
      const error = toEvercertError(caught);
      this.#settle(error.message);
      throw error;
    }
  }

  /** A connection from before the coordinator got its new certificate says nothing against the new set: a fresh one tells. */
  async #adopt(): Promise<boolean> {
    const { presented } = this.#options;
    const chain = await presented(false);
    if (chain.length === 0) return false;
    try {
      return await this.#adoptBy(chain);
    } catch (caught) {
      if (toEvercertError(caught).code !== 'InvalidCertificate') throw caught;
      return await this.#adoptBy(await presented(true));
    }
  }

  async #adoptBy(serverChain: Buffer[]): Promise<boolean> {
    const { store, clock, logger } = this.#options;
    const changed = await store.adoptTrustAnchors(this.#wanted, { serverChain, atMs: clock.nowMs() });
    if (changed) logger.info('The control CAs that are trusted have changed', { count: this.#wanted.length });
    return changed;
  }

  #settle(message: string): void {
    if (message === this.#lastError) return;
    this.#lastError = message;
    this.#options.onChange();
  }
}

function sameSet(one: readonly Buffer[], other: readonly Buffer[]): boolean {
  return one.length === other.length && one.every((der) => other.some((each) => each.equals(der)));
}
