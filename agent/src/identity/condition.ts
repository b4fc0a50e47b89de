import type { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Identity } from './store.ts';

/** WaitingForToken: there is none to try. JoinRefused: the coordinator, or the pin, said no. */
export type IdentityState =
  | 'WaitingForToken'
  | 'Joining'
  | 'JoinRefused'
  | 'Ready'
  | 'RenewalFailing'
  | 'IdentityExpired'
  | 'IdentityRevoked';

/** How the node's identity is, in words for an administrator. Each change is logged once. */
export class IdentityCondition {
  readonly #logger: Logger;
  readonly #onChange: () => void;
  #state: IdentityState = 'Joining';
  #message = '';
  #code = '';

  constructor({ logger, onChange }: { logger: Logger; onChange: () => void }) {
    this.#logger = logger;
    this.#onChange = onChange;
  }

  get state(): IdentityState {
    return this.#state;
  }

  /** What is wrong and what to do; empty when all is well. */
  get message(): string {
    return this.#message;
  }

  get code(): string {
    return this.#code;
  }

  set(state: IdentityState, error?: EvercertError, message = error?.message ?? ''): void {
    const code = error?.code ?? '';
    if (state === this.#state && message === this.#message && code === this.#code) return;
    this.#state = state;
    this.#message = message;
    this.#code = code;
    if (message) this.#logger.warn('The identity is not as it should be', { state, code, error: message });
    else this.#logger.info('The identity has a new state', { state });
    this.#onChange();
  }

  setExpired({ notAfterMs, nodeName }: Identity, detail: string, error?: EvercertError): void {
    const end = new Date(notAfterMs).toISOString();
    this.set(
      'IdentityExpired',
      error,
      `the identity of node ${nodeName} expired at ${end}; the agent keeps all files and asks for a new one by itself every few seconds: ${detail}`,
    );
  }
}
