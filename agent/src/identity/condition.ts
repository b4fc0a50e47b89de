import type { Clock } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { Identity } from './store.ts';

/** WaitingForToken: there is none to try. JoinRefused: the coordinator, or the pin, said no. IdentityNotTaken: it has not ended, but opens no connection. */
export type IdentityState =
  | 'WaitingForToken'
  | 'Joining'
  | 'JoinRefused'
  | 'Ready'
  | 'RenewalFailing'
  | 'IdentityExpired'
  | 'IdentityNotTaken'
  | 'IdentityRevoked';

/** How the node's identity is, in words for an administrator. Each change is logged once. */
export class IdentityCondition {
  readonly #logger: Logger;
  readonly #onChange: () => void;
  readonly #nowMs: () => number;
  #notTakenSerial = '';
  #state: IdentityState = 'Joining';
  #message = '';
  #code = '';

  constructor({ logger, onChange, clock }: { logger: Logger; onChange: () => void; clock: Pick<Clock, 'nowMs'> }) {
    this.#nowMs = () => clock.nowMs();
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

  /** The node is on its way back. */
  get comingBack(): boolean {
    return this.#state === 'IdentityExpired' || this.#state === 'IdentityNotTaken';
  }

  /** The coordinator does not take the identity of this serial, for another reason than its end as far as it says. */
  notTaken(serial: string): void {
    this.#notTakenSerial = serial;
  }

  /** The identity opens no connection any more: it has ended, or the coordinator says so. */
  setOver({ notAfterMs, nodeName, serial }: Identity, detail: string, error?: EvercertError): void {
    const end = new Date(notAfterMs).toISOString();
    const ended = serial !== this.#notTakenSerial || notAfterMs <= this.#nowMs();
    const what = ended
      ? `expired at ${end}`
      : `is good until ${end} by this node's clock, but the coordinator does not take it: the control CA was replaced, or one of the clocks is wrong`;
    this.set(
      ended ? 'IdentityExpired' : 'IdentityNotTaken',
      error,
      `the identity of node ${nodeName} ${what}; the agent keeps all files and asks for a new one by itself every few seconds: ${detail}`,
    );
  }
}
