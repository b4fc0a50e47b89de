import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type CertificateSigner, type LeafProfile, signerFor } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import { issueOwn } from '../server/own-identity.ts';
import { layout } from '../state/layout.ts';
import type { AuthorityRecord } from '../state/records.ts';

export interface OcspSigner {
  signer: CertificateSigner;
  /** DER, issued by the CA itself. */
  certificate: Buffer;
  /** The CA that it answers for. */
  caDer: Buffer;
  notAfterMs: number;
}

export interface OcspSignersOptions {
  authorities: Pick<Authorities, 'issuer'>;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  lifetimeMs: number;
}

interface Slot {
  authoritySerial: string;
  current: OcspSigner | undefined;
  renewAtMs: number;
  making: Promise<OcspSigner> | undefined;
}

const profile: LeafProfile = {
  commonName: 'evercert-ocsp',
  organizations: [],
  dnsNames: [],
  ipAddresses: [],
  uris: [],
  usages: ['digital signature'],
  ocspSigning: true,
};

/** After a failure, the signer that still works is used on for so long before the next try. */
const retryMs = 5000;

/**
 * A delegated signer per CA (RFC 6960 section 4.2.2.2), with a P-256 key that lives in memory alone: the CA's own key signs no answers. It is made when the first question comes,
 * and another takes its place at two thirds of its life, while the old one answers on.
 */
export class OcspSigners {
  readonly #options: OcspSignersOptions;
  readonly #slots = new Map<string, Slot>();

  constructor(options: OcspSignersOptions) {
    this.#options = options;
  }

  /** Errors: whatever keeps the CA from signing. */
  async of(authority: AuthorityRecord): Promise<OcspSigner> {
    const { clock, logger } = this.#options;
    const slot = this.#slot(authority);
    const nowMs = clock.nowMs();
    if (slot.current && nowMs < slot.renewAtMs) return slot.current;
    slot.making ??= this.#make(authority, slot).finally(() => (slot.making = undefined));
    if (!slot.current || nowMs >= slot.current.notAfterMs) return await slot.making;
    slot.making.catch((error: unknown) => {
      slot.renewAtMs = clock.nowMs() + retryMs;
      logger.warn('cannot renew an OCSP signer; the present one goes on', {
        cluster: authority.cluster,
        issuer: authority.name,
        error: describeError(error),
      });
    });
    return slot.current;
  }

  forget(cluster: string, issuer: string): void {
    this.#slots.delete(layout.authority(cluster, issuer));
  }

  #slot({ cluster, name, serial }: AuthorityRecord): Slot {
    const key = layout.authority(cluster, name);
    const known = this.#slots.get(key);
    if (known?.authoritySerial === serial) return known;
    const slot: Slot = { authoritySerial: serial, current: undefined, renewAtMs: 0, making: undefined };
    this.#slots.set(key, slot);
    return slot;
  }

  async #make(authority: AuthorityRecord, slot: Slot): Promise<OcspSigner> {
    const { authorities, clock, backdateMs, lifetimeMs } = this.#options;
    const controlCa = Buffer.from(authority.certificate, 'base64');
    const issuer = await authorities.issuer(authority);
    const made = await issueOwn({ issuer, controlCa, controlCaNotAfterMs: authority.notAfterMs, clock, backdateMs }, profile, lifetimeMs);
    const { certificate, issuedAtMs, notAfterMs } = made;
    slot.current = { signer: signerFor(made.privateKey), certificate, caDer: controlCa, notAfterMs };
    slot.renewAtMs = issuedAtMs + ((notAfterMs - issuedAtMs) * 2) / 3;
    return slot.current;
  }
}
