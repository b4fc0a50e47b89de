import type { Clock } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';

export type BridgeState = 'Connecting' | 'Connected' | 'Degraded' | 'Disconnected';

export interface BridgeView {
  server: string;
  state: BridgeState;
  message: string;
  /** When the API server last answered, whatever it said. */
  lastContactAtMs: number | undefined;
  /** Since the coordinator started. */
  signed: number;
  denied: number;
  failed: number;
}

const maxMessage = 500;
const unreachableCodes = new Set(['Unavailable', 'DeadlineExceeded']);

/** How the bridge to one cluster stands: each part of it tells how it fares, under a name of its own. */
export class BridgeStatus {
  readonly #clock: Clock;
  readonly #parts = new Map<string, { message: string; unreachable: boolean } | undefined>();
  #server = '';
  #lastContactAtMs: number | undefined;
  #published: readonly string[] | undefined;
  #signed = 0;
  #denied = 0;
  #failed = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  answered(server: string): void {
    this.#server = server;
    this.#lastContactAtMs = this.#clock.nowMs();
  }

  well(part: string): void {
    this.#parts.set(part, undefined);
  }

  failing(part: string, { code, message }: Pick<EvercertError, 'code' | 'message'>): void {
    this.#parts.set(part, { message, unreachable: unreachableCodes.has(code) });
  }

  /** DER, base64: the CAs by which machines are told to trust the API server, as was last seen there; undefined: nothing was seen yet. */
  publishes(authorities: readonly string[] | undefined): void {
    this.#published = authorities;
  }

  /**
   * Whether machines that join are told of exactly these CAs. Undefined: the API server cannot be reached, and nobody is told anything by it.
   *
   * @param bundle DER, base64.
   */
  published(bundle: readonly string[]): { current: boolean; message: string } | undefined {
    const { state, message } = this.view();
    if (state === 'Connecting' || state === 'Disconnected') return undefined;
    const same = this.#published?.length === bundle.length && bundle.every((der) => this.#published?.includes(der));
    if (same) return { current: true, message: '' };
    return {
      current: false,
      message: `cluster-info at the API server does not hold the CAs as they are now${message === '' ? '' : ` (${message})`}`,
    };
  }

  count(what: 'signed' | 'denied' | 'failed'): void {
    if (what === 'signed') this.#signed += 1;
    else if (what === 'denied') this.#denied += 1;
    else this.#failed += 1;
  }

  view(): BridgeView {
    const troubles = [...this.#parts].flatMap(([part, trouble]) => (trouble ? [{ part, ...trouble }] : []));
    const allUnreachable = troubles.length === this.#parts.size && troubles.every(({ unreachable }) => unreachable);
    return {
      server: this.#server,
      state: this.#parts.size === 0 ? 'Connecting' : troubles.length === 0 ? 'Connected' : allUnreachable ? 'Disconnected' : 'Degraded',
      message: troubles
        .map(({ part, message }) => `${part}: ${message}`)
        .join('; ')
        .slice(0, maxMessage),
      lastContactAtMs: this.#lastContactAtMs,
      signed: this.#signed,
      denied: this.#denied,
      failed: this.#failed,
    };
  }
}
