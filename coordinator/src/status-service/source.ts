import type { RevocationReason } from '@evercert/shared/revocation';
import type { Informer } from '../state/informer.ts';
import type { AuthorityRecord } from '../state/records.ts';

/** The clusters' CAs, as the model has them. */
export interface AuthoritySource {
  authorities: Pick<Informer<AuthorityRecord>, 'get' | 'list' | 'subscribe'>;
}

/** What CRL and OCSP need to know of revocations; `Revocations` answers it. */
export interface RevocationSource {
  /** Certificates of one CA, not expired, that an entry matches; which generation issued each, as its record has it. */
  revokedOf(
    cluster: string,
    issuerName: string,
  ): Promise<{ serial: string; issuerSerial?: string | undefined; revokedAtMs: number; reason: RevocationReason; notAfterMs: number }[]>;
  statusOf(cluster: string, serial: string): Promise<'good' | 'unknown' | { revokedAtMs: number; reason: RevocationReason }>;
  /** After any change of a cluster's revocations. */
  subscribe(listener: (cluster: string) => void): void;
}
