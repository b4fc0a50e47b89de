/** Takes a pair over that lies at the declared paths already: the coordinator records it, the agent keeps a copy, and nothing on the disk changes. */
import { toEvercertError } from '@evercert/shared/errors';
import type { CoordinatorApi } from '../coordinator-api.ts';
import type { CertificateFiles, InstalledPair } from '../files/types.ts';
import type { KeyedLock } from '../state/keyed-lock.ts';
import type { DesiredCertificate } from './types.ts';

export interface AdopterOptions {
  files: CertificateFiles;
  api: CoordinatorApi;
  /** Held by the certificate's name while its state is written. */
  lock: KeyedLock;
}

export type AdoptionOutcome =
  | { pair: InstalledPair; differences: string[] }
  /** Nothing is in place, or what is there is not to be taken over. */
  | { why?: string };

export class Adopter {
  readonly #options: AdopterOptions;

  constructor(options: AdopterOptions) {
    this.#options = options;
  }

  /** Tells a coordinator that was restored from a backup of the pair in use; nothing changes here. Undefined: it was taken into the records; else why not. Errors: what is worth another try. */
  async tell(
    { spec }: DesiredCertificate,
    { chain, privateKey }: InstalledPair,
    limits: { deadlineMs: number; signal: AbortSignal },
  ): Promise<string | undefined> {
    try {
      await this.#options.api.adoptCertificate({ name: spec.name, chain, privateKey, specHash: spec.specHash }, limits);
      return undefined;
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.retryable) throw error;
      return error.message;
    }
  }

  /** `after`: only another pair than the one of this serial. Errors: what is worth another try; a refusal is an outcome. */
  async adopt(
    { spec, trustAnchors }: DesiredCertificate,
    limits: { deadlineMs: number; signal: AbortSignal },
    after?: InstalledPair,
  ): Promise<AdoptionOutcome> {
    const { files, api, lock } = this.#options;
    const look = await files.findInPlace(spec, trustAnchors);
    if (!('found' in look)) return look;
    const { found } = look;
    if (after && found.chain[0]?.equals(after.chain[0] as Buffer)) return {};
    try {
      const { adoptedAtMs, renewAtMs, differences } = await api.adoptCertificate(
        { name: spec.name, chain: found.chain, privateKey: found.privateKey, specHash: spec.specHash },
        limits,
      );
      const pair = await lock.run(spec.name, () => files.adopt(spec, found, { adoptedAtMs, renewAtMs }));
      return { pair, differences };
    } catch (caught) {
      const error = toEvercertError(caught);
      if (error.retryable) throw error;
      return { why: error.message };
    }
  }
}
