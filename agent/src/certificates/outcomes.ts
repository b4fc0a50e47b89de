import type { Clock } from '@evercert/shared/clock';
import { type EvercertError, toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { IssueReason } from '../coordinator-api.ts';
import type { EventSink } from '../events.ts';
import type { InstalledPair } from '../files/types.ts';
import type { CounterStore } from '../state/counters.ts';
import type { Failure } from './types.ts';

export interface OutcomesOptions {
  counters: CounterStore;
  events: EventSink;
  clock: Clock;
  logger: Logger;
}

/** Of an event, in characters. */
const maxMessage = 1000;

/** Counts, logs and tells the coordinator what became of the work on certificates. */
export class Outcomes {
  readonly #options: OutcomesOptions;

  constructor(options: OutcomesOptions) {
    this.#options = options;
  }

  installed(name: string, { serial, notAfterMs }: InstalledPair, reason: IssueReason): void {
    const { counters, clock, events } = this.#options;
    counters.update(name, { issuedTotal: counters.get(name).issuedTotal + 1, lastRenewalAtMs: clock.nowMs() });
    const end = new Date(notAfterMs).toISOString();
    const message = `certificate ${name} was installed (${reason}), good until ${end}`;
    events.record({ reason: 'CertificateInstalled', type: 'Normal', certificate: name, serial, message });
  }

  adopted(name: string, { serial, notAfterMs }: InstalledPair, differences: string[]): void {
    const { counters, events } = this.#options;
    // Nothing was installed, and the component reads it already.
    counters.update(name, { activatedSerial: serial });
    const next = differences.length === 0 ? '' : `; its next renewal changes it: ${differences.join('; ')}`;
    const message = `certificate ${name} was taken over as it is, good until ${new Date(notAfterMs).toISOString()}${next}`;
    events.record({ reason: 'CertificateTakenOver', type: 'Normal', certificate: name, serial, message: message.slice(0, maxMessage) });
  }

  notAdopted(name: string, why: string): void {
    const message = `what is in place for ${name} is not taken over: ${why}`;
    this.#options.events.record({
      reason: 'CertificateNotTakenOver',
      type: 'Warning',
      certificate: name,
      message: message.slice(0, maxMessage),
    });
  }

  /** An event comes of the first failure with a code, and then ever less often. */
  failed(name: string, failure: Failure, { before, renewal }: { before: Failure | undefined; renewal: boolean }): void {
    const { counters, events, clock, logger } = this.#options;
    const { attempts, retryAt, code, message } = failure;
    counters.update(name, { failures: counters.get(name).failures + 1 });
    const retryInMs = Math.round(retryAt.monotonicMs - clock.monotonicMs());
    logger.warn('A certificate could not be issued', { certificate: name, code, error: message, attempts, retryInMs });
    if (before?.code === code && !isPowerOfTwo(attempts)) return;
    events.record({
      reason: renewal ? 'RenewalFailed' : 'IssueFailed',
      type: 'Warning',
      certificate: name,
      errorCode: code,
      message: `certificate ${name} could not be issued (try ${attempts}): ${message}`,
    });
  }

  /** Counts a certificate that has run out while it was in use, once. True when that was news. */
  lapsed(name: string, { serial, notAfterMs }: InstalledPair): boolean {
    const { counters, clock, events } = this.#options;
    const { lapses, lapsedSerial } = counters.get(name);
    if (clock.nowMs() < notAfterMs || lapsedSerial === serial) return false;
    counters.update(name, { lapses: lapses + 1, lapsedSerial: serial });
    const message = `certificate ${name} ran out while it was in use`;
    events.record({ reason: 'CertificateLapsed', type: 'Warning', certificate: name, serial, message });
    return true;
  }

  placed(name: string, { serial }: InstalledPair): void {
    const message = `the files of certificate ${name} were put where they are declared now`;
    this.#options.events.record({ reason: 'FilesPlaced', type: 'Normal', certificate: name, serial, message });
  }

  /** The scan tries again, and reports while it does not succeed. */
  notPlaced(name: string, caught: unknown): void {
    this.#options.logger.warn('Declared files could not be placed', { certificate: name, ...fields(caught) });
  }

  removed(name: string): void {
    const { counters, events } = this.#options;
    counters.forget(name);
    const message = `certificate ${name} is no longer declared; its files were removed`;
    events.record({ reason: 'CertificateRemoved', type: 'Normal', certificate: name, message });
  }

  notRemoved(name: string, caught: unknown): void {
    this.#options.logger.error('A certificate that is no longer declared could not be removed', { certificate: name, ...fields(caught) });
  }

  /** The renewal itself will meet the same trouble and report it; until it is due nothing is lost. */
  notPrepared(name: string, caught: unknown): void {
    this.#options.logger.warn('The next key could not be made ahead of need', { certificate: name, ...fields(caught) });
  }
}

function fields(caught: unknown): { code: EvercertError['code']; error: string } {
  const { code, message } = toEvercertError(caught);
  return { code, error: message };
}

function isPowerOfTwo(count: number): boolean {
  return Number.isInteger(Math.log2(count));
}
