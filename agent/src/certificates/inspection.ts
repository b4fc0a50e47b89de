/** Looks at the declared files of every installed certificate and puts right what is not as it should be. */
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { parseCertificate, spkiSha256 } from '@evercert/shared/x509';
import { type EventSink, mendedEvent } from '../events.ts';
import type { CertificateFiles, FileFault, InstalledPair } from '../files/types.ts';
import type { CertificateManager } from './manager.ts';
import type { DesiredCertificate } from './types.ts';

export interface InspectionOptions {
  certificates: CertificateManager;
  files: CertificateFiles;
  events: EventSink;
  /** Called after a file's content was put right: a component may have read the wrong one meanwhile. */
  onRestored: (certificate: DesiredCertificate, pair: InstalledPair) => void;
}

/** What the component may have read while it was wrong. */
const contentFaults = new Set<FileFault['reason']>(['Foreign', 'Truncated', 'SymlinkOutside']);

export class CertificateInspection {
  readonly #options: InspectionOptions;
  /** Serial numbers of what stands in for an ended certificate, by the certificate's name. */
  readonly #toldOf = new Map<string, string>();

  constructor(options: InspectionOptions) {
    this.#options = options;
  }

  /** Never throws: what cannot be put right is noted on the certificate, with one event while it stays the same. */
  async scan(): Promise<void> {
    this.#options.certificates.lookAgain();
    for (const { certificate, pair } of this.#options.certificates.installed()) await this.#check(certificate, pair);
  }

  async #check(certificate: DesiredCertificate, pair: InstalledPair): Promise<void> {
    const { certificates, files, events, onRestored } = this.#options;
    const { spec, trustAnchors } = certificate;
    const { name } = spec;
    try {
      if ((certificate.watchOnly || pair.adopted) && (await this.#followed(certificate))) return;
      const mended = await certificates.withFiles(name, async (): Promise<FileFault[] | undefined> => {
        if (!(await files.installed(name))) return undefined;
        const faults = await files.inspect(spec, trustAnchors);
        if (faults.length === 0 || (await this.#standsIn(certificate, pair))) return [];
        return files.restore(spec, trustAnchors);
      });
      if (mended === undefined) {
        this.#damaged(name, pair);
        return;
      }
      certificates.setError(name, 'files', undefined);
      for (const fault of mended) events.record(mendedEvent(fault, name, pair.serial));
      if (mended.some(({ reason }) => contentFaults.has(reason))) onRestored(certificate, pair);
    } catch (caught) {
      const error = toEvercertError(caught);
      if (!certificates.setError(name, 'files', error)) return;
      events.record({
        reason: 'FileNotRestored',
        type: 'Warning',
        certificate: name,
        serial: pair.serial,
        errorCode: error.code,
        message: `the files of certificate ${name} could not be put right: ${error.message}`,
      });
    }
  }

  /**
   * Files that are used as they were found: whoever put them there may have renewed them. True: there is nothing to put right, and where nobody here renews, nothing is.
   */
  async #followed({ spec, trustAnchors, watchOnly }: DesiredCertificate): Promise<boolean> {
    const { certificates, files } = this.#options;
    const { name } = spec;
    const faults = (await files.inspect(spec, trustAnchors)).filter(({ reason }) => reason !== 'WrongMode');
    if (faults.length > 0 && (await certificates.followInPlace(name))) return true;
    const [fault] = faults;
    if (!watchOnly) return false;
    const error = fault && new EvercertError('FailedPrecondition', `${fault.message}; it is only watched, and nothing is put right here`);
    certificates.setError(name, 'files', error);
    return true;
  }

  /**
   * True: the installed pair has ended, and a certificate for the same key lies in its place that has not. Somebody put it there so that the component can go on (`evercert-coordinator
   * emergency-certificates`): what has ended is not put back over it. The next renewal replaces it.
   */
  async #standsIn({ spec, trustAnchors }: DesiredCertificate, pair: InstalledPair): Promise<boolean> {
    const { certificates, files, events } = this.#options;
    const { name } = spec;
    if (!certificates.hasEnded(name)) return false;
    const look = await files.findInPlace(spec, trustAnchors);
    if (!('found' in look) || spkiSha256(look.found.privateKey) !== spkiSha256(pair.privateKey)) return false;
    const { serial, notAfter } = parseCertificate(look.found.chain[0]!);
    if (this.#toldOf.get(name) === serial) return true;
    this.#toldOf.set(name, serial);
    const message = `another certificate for the key of ${name} lies in its place, good until ${notAfter.toISOString()}; the installed one has expired and is not put back`;
    events.record({ reason: 'CertificateStandsIn', type: 'Warning', certificate: name, serial, message });
    return true;
  }

  #damaged(name: string, pair: InstalledPair): void {
    if (!this.#options.certificates.markDamaged(name)) return;
    this.#options.events.record({
      reason: 'PairLost',
      type: 'Warning',
      certificate: name,
      serial: pair.serial,
      message: `certificate ${name} and the agent's own copy are gone or damaged; a new one is issued`,
    });
  }
}
