/** One issue or renewal, from the key on disk to the installed pair. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { createCsr, parseCertificate } from '@evercert/shared/x509';
import type { CoordinatorApi, IssueReason } from '../coordinator-api.ts';
import type { CertificateFiles, InstalledPair, PendingPair } from '../files/types.ts';
import type { KeyedLock } from '../state/keyed-lock.ts';
import type { DesiredCertificate } from './types.ts';

export interface IssuerOptions {
  files: CertificateFiles;
  api: CoordinatorApi;
  clock: Clock;
  logger: Logger;
  /** Held by the certificate's name while declared files are written. */
  lock: KeyedLock;
  /** Makes the request; the shared x509 part by default. */
  makeCsr?: typeof createCsr;
}

/** The waiting pair cannot become a certificate after these: the next try begins with a new key. */
const discardAfter = new Set(['KeyInUse', 'InvalidCsr', 'WeakKey', 'InvalidCertificate', 'PairMismatch']);

export class Issuer {
  readonly #options: IssuerOptions;

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  /**
   * Goes on where an earlier try ended: a key that waits is used again, a chain that came is installed without asking anew.
   * Errors: those of CoordinatorApi.issueCertificate and CertificateFiles.install.
   */
  async issue(
    desired: DesiredCertificate,
    reason: IssueReason,
    limits: { deadlineMs: number; signal: AbortSignal },
  ): Promise<InstalledPair> {
    const { files, logger, lock } = this.#options;
    const { spec, trustAnchors } = desired;
    try {
      const pending = await this.#usablePending(desired);
      if (!pending.chain) await this.#request(desired, pending, reason, limits);
      return await lock.run(spec.name, () => files.install(spec, trustAnchors));
    } catch (caught) {
      const error = toEvercertError(caught);
      if (discardAfter.has(error.code)) {
        await files.discardPending(spec.name);
        logger.warn('The waiting key and chain were discarded; the next try makes new ones', { certificate: spec.name, code: error.code });
      }
      throw error;
    }
  }

  /** Makes the next key ahead of need. */
  async prepare({ spec }: DesiredCertificate): Promise<void> {
    await this.#options.files.ensurePendingKey(spec);
  }

  async #request(
    { spec }: DesiredCertificate,
    { privateKey }: PendingPair,
    reason: IssueReason,
    limits: { deadlineMs: number; signal: AbortSignal },
  ): Promise<void> {
    const makeCsr = this.#options.makeCsr ?? createCsr;
    const csr = await makeCsr({ privateKey, commonName: spec.commonName });
    const request = { name: spec.name, csr, specHash: spec.specHash, reason };
    const { chain, issuedAtMs } = await this.#options.api.issueCertificate(request, limits);
    await this.#options.files.savePendingChain(spec.name, chain, issuedAtMs);
  }

  /** A chain that waits since before the agent was off may be of no use any more: then a new key starts afresh. */
  async #usablePending({ spec }: DesiredCertificate): Promise<PendingPair> {
    const { files, clock, logger } = this.#options;
    const pending = await files.ensurePendingKey(spec);
    const leaf = pending.chain?.[0];
    if (!leaf) return pending;
    const leftMs = parseCertificate(leaf).notAfter.getTime() - clock.nowMs();
    if (leftMs > spec.lifetimeSeconds * 1000 * (1 - spec.renewAt)) return pending;
    logger.info('A chain that waited for installation is too old and was discarded', { certificate: spec.name });
    await files.discardPending(spec.name);
    return files.ensurePendingKey(spec);
  }
}
