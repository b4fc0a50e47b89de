/** After an installation: makes the component read the new pair, then looks whether it serves it. */
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { backoffMs, retry } from '@evercert/shared/retry';
import type { DesiredCertificate, Served } from '../certificates/types.ts';
import type { EventSink } from '../events.ts';
import type { InstalledPair } from '../files/types.ts';
import type { Reloader, ReloadRequest } from '../reload/types.ts';
import type { Look, Verifier } from './verify.ts';

export interface ActivatorOptions {
  reload: Reloader;
  verify: Verifier;
  clock: Clock;
  random: () => number;
  logger: Logger;
  events: EventSink;
  setServed: (name: string, serial: string, served: Served) => void;
  /** True when that was news. */
  setError: (name: string, error: EvercertError | undefined) => boolean;
  /** The component was told of this serial; durable soon. */
  setActivated: (name: string, serial: string) => void;
}

interface Activation {
  certificate: DesiredCertificate;
  pair: InstalledPair;
  abort: AbortController;
  done: Promise<void>;
  running: boolean;
}

/** Components that poll their files take up to a minute. */
const longestLookMs = 75_000;
const shortestLookMs = 5000;
const maxReloads = 3;

export class Activator {
  readonly #options: ActivatorOptions;
  readonly #activations = new Map<string, Activation>();

  constructor(options: ActivatorOptions) {
    this.#options = options;
  }

  /** Starts in the background. What still runs for an older pair of the same name ends. */
  activate(certificate: DesiredCertificate, pair: InstalledPair): void {
    this.#begin(certificate, pair, (activation) => this.#activate(activation));
  }

  /** Looks again at the installed pair; a component that serves another one is told to read its files anew. */
  recheck(certificate: DesiredCertificate, pair: InstalledPair): void {
    const known = this.#activations.get(certificate.spec.name);
    if (known?.running && known.pair.serial === pair.serial) return;
    this.#begin(certificate, pair, (activation) => this.#verify(activation));
  }

  /** One look, without consequences; skipped while an activation runs. */
  async glance({ spec }: DesiredCertificate, pair: InstalledPair): Promise<void> {
    const { verify, setServed, setError } = this.#options;
    if (spec.verify === undefined || this.#activations.get(spec.name)?.running) return;
    const { result } = await verify(spec.verify, pair, spec.dnsNames[0]);
    setServed(spec.name, pair.serial, result);
    if (result === 'Served') setError(spec.name, undefined);
  }

  /** The certificate is no longer declared. */
  forget(name: string): void {
    this.#activations.get(name)?.abort.abort();
    this.#activations.delete(name);
  }

  async stop(): Promise<void> {
    for (const { abort } of this.#activations.values()) abort.abort();
    await Promise.all([...this.#activations.values()].map(({ done }) => done));
  }

  #begin(certificate: DesiredCertificate, pair: InstalledPair, work: (activation: Activation) => Promise<void>): void {
    const { name } = certificate.spec;
    this.#activations.get(name)?.abort.abort();
    const activation: Activation = { certificate, pair, abort: new AbortController(), done: Promise.resolve(), running: true };
    this.#activations.set(name, activation);
    activation.done = work(activation)
      .catch((caught: unknown) => {
        const error = toEvercertError(caught);
        if (error.code !== 'Cancelled')
          this.#options.logger.error('The activation of a certificate failed', {
            certificate: name,
            code: error.code,
            error: error.message,
          });
      })
      .finally(() => (activation.running = false));
  }

  async #activate(activation: Activation): Promise<void> {
    await this.#reload(activation);
    this.#options.setActivated(activation.certificate.spec.name, activation.pair.serial);
    await this.#verify(activation);
  }

  /** Tries until it succeeds or a newer pair takes over; the certificate stays installed all the while. */
  async #reload({ certificate, pair, abort }: Activation): Promise<void> {
    const { clock, random, events, reload, setError } = this.#options;
    const { name, reload: spec, verify } = certificate.spec;
    if (!spec) return;
    const report = (error: EvercertError): void => {
      if (!setError(name, error)) return;
      events.record({
        reason: 'ReloadFailed',
        type: 'Warning',
        certificate: name,
        serial: pair.serial,
        errorCode: error.code,
        message: `the reload after the installation of ${name} failed: ${error.message}`,
      });
    };
    const life = pair.notAfterMs - pair.issuedAtMs;
    const request = (): ReloadRequest => ({
      signal: abort.signal,
      // What the component has in use until then ends with the life of the pair before, of which this much is left as a rule.
      lifeLeftMs: Math.max(0, pair.notAfterMs - clock.nowMs() - life * certificate.spec.renewAt),
      ...(verify !== undefined && { verify }),
    });
    await retry(() => reload(spec, request()), {
      clock,
      random,
      signal: abort.signal,
      capMs: Math.min(60_000, life / 8),
      onRetry: report,
    });
    setError(name, undefined);
  }

  async #verify(activation: Activation): Promise<void> {
    const { certificate, pair, abort } = activation;
    const { events, setServed, setError, logger } = this.#options;
    const { name, reload, verify: url } = certificate.spec;
    if (url === undefined) return;
    for (let reloads = 0; ; reloads += 1) {
      const look = await this.#lookForAWhile(activation, url);
      abort.signal.throwIfAborted();
      setServed(name, pair.serial, look.result);
      logger.info('Looked at the component', { certificate: name, serial: pair.serial, served: look.result, seen: look.message });
      if (look.result === 'Served') {
        setError(name, undefined);
        return;
      }
      if (look.result === 'NotServed' && reload && reloads < maxReloads) {
        await this.#reload(activation);
        continue;
      }
      setError(name, new EvercertError('NotServed', look.message));
      events.record({
        reason: look.result,
        type: 'Warning',
        certificate: name,
        serial: pair.serial,
        errorCode: 'NotServed',
        message: `certificate ${name} is installed, but ${look.message}`,
      });
      return;
    }
  }

  /** Looks until the certificate is served or the time is over: a quarter of its life, between five and 75 seconds. */
  async #lookForAWhile({ certificate, pair, abort }: Activation, url: string): Promise<Look> {
    const { clock, verify } = this.#options;
    const windowMs = Math.min(longestLookMs, Math.max(shortestLookMs, (pair.notAfterMs - pair.issuedAtMs) / 4));
    const endMs = clock.monotonicMs() + windowMs;
    for (let attempt = 1; ; attempt += 1) {
      const look = await verify(url, pair, certificate.spec.dnsNames[0]);
      if (look.result === 'Served') return look;
      const delayMs = backoffMs({ attempt, draw: 1, baseMs: 250, capMs: 10_000 });
      if (clock.monotonicMs() + delayMs > endMs) return look;
      await clock.sleep(delayMs, abort.signal);
    }
  }
}
