import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type CertificateSigner, type LeafProfile, signerFor } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import { intermediatesOf } from '../ca/generations.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { issueOwn, ownDetails } from '../server/own-identity.ts';
import { layout } from '../state/layout.ts';
import type { AuthorityGeneration, AuthorityRecord } from '../state/records.ts';

export interface OcspSigner {
  signer: CertificateSigner;
  /** DER: its certificate, issued by the CA itself, then the intermediates up to what clients trust. */
  chain: Buffer[];
  /** The CA that it answers for. */
  caDer: Buffer;
  notAfterMs: number;
}

export interface OcspSignersOptions {
  authorities: Pick<Authorities, 'issuer'>;
  events: Pick<EventRecorder, 'record'>;
  clock: Clock;
  logger: Logger;
  backdateMs: number;
  lifetimeMs: number;
}

interface Slot {
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

/** One key of a CA. */
export type AnsweringGeneration = AuthorityGeneration & Pick<AuthorityRecord, 'cluster' | 'name'>;

/**
 * A delegated signer per key of a CA (RFC 6960 section 4.2.2.2), with a P-256 key that lives in memory alone: the CA's own key signs no answers. It is made when the first question comes,
 * and another takes its place at two thirds of its life, while the old one answers on.
 */
export class OcspSigners {
  readonly #options: OcspSignersOptions;
  readonly #slots = new Map<string, Slot>();

  constructor(options: OcspSignersOptions) {
    this.#options = options;
  }

  /** Errors: whatever keeps the CA from signing. */
  async of(authority: AnsweringGeneration): Promise<OcspSigner> {
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

  /** Drops the signers of a CA's keys, but for those of these serials. */
  keepOnly(cluster: string, issuer: string, serials: ReadonlySet<string>): void {
    const prefix = `${layout.authority(cluster, issuer)}@`;
    for (const key of this.#slots.keys()) if (key.startsWith(prefix) && !serials.has(key.slice(prefix.length))) this.#slots.delete(key);
  }

  #slot({ cluster, name, serial }: AnsweringGeneration): Slot {
    const key = `${layout.authority(cluster, name)}@${serial}`;
    const slot = this.#slots.get(key) ?? { current: undefined, renewAtMs: 0, making: undefined };
    this.#slots.set(key, slot);
    return slot;
  }

  async #make(authority: AnsweringGeneration, slot: Slot): Promise<OcspSigner> {
    const { authorities, events, clock, backdateMs, lifetimeMs } = this.#options;
    const issuer = await authorities.issuer(authority);
    const made = await issueOwn({ issuer, clock, backdateMs }, profile, lifetimeMs);
    const { certificate, serial, issuedAtMs, notAfterMs } = made;
    const { cluster, name } = authority;
    const message = `issued a certificate that signs OCSP answers for ${name} until ${new Date(notAfterMs).toISOString()}`;
    const details = { ...ownDetails('OCSP signer', made), issuer: name, issuerSerial: authority.serial };
    events.record({ cluster, actor: 'coordinator', reason: 'OcspSignerIssued', serial, message, details });
    slot.current = {
      signer: signerFor(made.privateKey),
      chain: [certificate, ...intermediatesOf(authority)],
      caDer: issuer.der,
      notAfterMs,
    };
    slot.renewAtMs = issuedAtMs + ((notAfterMs - issuedAtMs) * 2) / 3;
    return slot.current;
  }
}
