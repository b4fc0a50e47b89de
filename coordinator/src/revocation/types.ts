import type { RevocationKind } from '@evercert/shared/manifest';
import type { RevocationReason } from '@evercert/shared/revocation';
import type { CertificateRecord } from '../state/records.ts';

/** An entry of an object that matches a certificate, or what would be issued. */
export interface RevocationMatch {
  object: string;
  /** 0-based. */
  entry: number;
  kind: RevocationKind;
  value: string;
  /** Only certificates issued before this time; absent: all, present and future. */
  notBeforeMs?: number;
  description: string;
  /** RFC 5280 section 5.3.1. */
  reason: RevocationReason;
  /** When the entry first came. */
  addedAtMs: number;
}

/** The part of a certificate that entries speak of. */
export interface MatchedProfile {
  commonName: string;
  organizations: readonly string[];
  dnsNames: readonly string[];
  ipAddresses: readonly string[];
  uris?: readonly string[];
}

/** An issued certificate as entries see it; a CertificateRecord is one. */
export type MatchedCertificate = Pick<
  CertificateRecord,
  'cluster' | 'serial' | 'commonName' | 'organizations' | 'dnsNames' | 'ipAddresses' | 'uris' | 'issuedAtMs'
>;

export interface RevocationQuestion {
  cluster: string;
  /** The certificate in use, that a new one would succeed. */
  current?: MatchedCertificate | undefined;
  profile: MatchedProfile;
  /** When the new one would be issued. */
  nowMs: number;
  /** A repair is under way: the one in use counts no more. */
  ignoreCurrent: boolean;
  /** Who asks for what, for those who are told of refusals. */
  applicant?: { node: string; certificate: string };
}

/** A renewal or an issue that was refused. */
export interface RefusedQuestion extends Refusal {
  cluster: string;
  applicant: { node: string; certificate: string } | undefined;
}

export interface Refusal {
  match: RevocationMatch;
  /** True: what would be issued is matched, so that repair is refused too. False: only the certificate in use. */
  future: boolean;
}
