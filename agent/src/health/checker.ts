/** Looks every few seconds whether the declared components are well, while somebody is there to be told. */
import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { InstalledPair } from '../files/types.ts';
import type { Probe } from './probe.ts';

/** As the desired state has it, with the trust anchors of the server's issuer. */
export interface DesiredHealthCheck {
  component: string;
  url: string;
  /** Name of the certificate with which to ask. */
  clientCertificate: string;
  issuer: string;
  /** DER. */
  trustAnchors: Buffer[];
}

export interface ComponentSnapshot {
  name: string;
  state: 'Healthy' | 'Unhealthy' | 'Unreachable';
  message: string;
  checkedAtMs: number;
}

export interface HealthCheckerOptions {
  probe: Probe;
  /** The pair in use of that certificate. */
  pairOf: (certificate: string) => InstalledPair | undefined;
  clock: Clock;
  logger: Logger;
  /** The state of a component has changed. */
  onChange: () => void;
}

const intervalMs = 3000;
const unwellIntervalMs = 1000;
const freshEveryMs = 5000;

export class HealthChecker {
  readonly #options: HealthCheckerOptions;
  #checks: DesiredHealthCheck[] = [];
  #snapshots = new Map<string, ComponentSnapshot>();
  #connected = false;
  #running: Promise<void> | undefined;
  #timer: Timer | undefined;
  #toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: HealthCheckerOptions) {
    this.#options = options;
  }

  /** Takes over what is to be asked. */
  apply(checks: DesiredHealthCheck[]): void {
    this.#checks = checks;
    const names = new Set(checks.map(({ component }) => component));
    for (const name of this.#snapshots.keys()) if (!names.has(name)) this.#snapshots.delete(name);
    this.look();
  }

  /** Looks only while the agent is connected. */
  setConnected(connected: boolean): void {
    if (connected === this.#connected) return;
    this.#connected = connected;
    this.look();
  }

  /** Looks now, and from then on at each interval. */
  look(): void {
    if (!this.#connected || this.#checks.length === 0 || this.#running !== undefined) return;
    this.#timer?.cancel();
    this.#running = this.#round().finally(() => {
      this.#running = undefined;
      const well = this.snapshots().every(({ state }) => state === 'Healthy');
      if (this.#connected) this.#timer = this.#options.clock.after(well ? intervalMs : unwellIntervalMs, () => this.look());
    });
  }

  snapshots(): ComponentSnapshot[] {
    return [...this.#snapshots.values()];
  }

  async stop(): Promise<void> {
    this.#connected = false;
    this.#timer?.cancel();
    await this.#running;
  }

  async #round(): Promise<void> {
    for (const check of this.#checks) await this.#ask(check);
  }

  async #ask({ component, url, clientCertificate, trustAnchors }: DesiredHealthCheck): Promise<void> {
    const { probe, pairOf, clock, logger, onChange } = this.#options;
    const pair = pairOf(clientCertificate);
    const answer = pair
      ? await probe({ url, trustAnchors, pair })
      : { state: 'Unreachable' as const, message: `the certificate ${clientCertificate} with which to ask is not in place` };
    if (!this.#checks.some((check) => check.component === component)) return;
    const before = this.#snapshots.get(component);
    this.#snapshots.set(component, { name: component, ...answer, checkedAtMs: clock.nowMs() });
    if (before?.state !== answer.state)
      logger.info('The health of a component has changed', { component, state: answer.state, seen: answer.message });
    const nowMs = clock.monotonicMs();
    // That all is as before is told too, less often: as of when matters to whoever repairs.
    if (before?.state === answer.state && nowMs - this.#toldAtMs < freshEveryMs) return;
    this.#toldAtMs = nowMs;
    onChange();
  }
}
