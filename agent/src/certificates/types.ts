import type { ErrorCode } from '@evercert/shared/errors';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import type { IssueReason } from '../coordinator-api.ts';
import type { PairMeta } from '../files/types.ts';

export type CertificateState = 'Pending' | 'Issuing' | 'Ready' | 'RenewalFailing' | 'Revoked' | 'Expired' | 'Failed';

/** What a look at the component showed; empty while nothing was seen yet. */
export type Served = '' | 'Served' | 'NotServed' | 'Unreachable';

export interface DesiredCertificate {
  spec: ResolvedCertificate;
  /** DER; the chain is checked against them before it is installed. */
  trustAnchors: Buffer[];
  /** What was issued before this time is to be renewed now. */
  renewIfIssuedBeforeMs?: number;
  /** The coordinator refuses the next renewal, or the first issue. */
  revoked?: RevokedBy;
  /** A pair that is in place already may be taken over instead of being replaced. */
  adopt?: boolean;
  /** Nobody here can renew it: what is in place is watched, and its files are never written. */
  watchOnly?: boolean;
  /** The coordinator was restored from a backup and knows of this one as the newest (empty: of none): it wants to hear of another that is in use. */
  knownSerial?: string;
}

/** Which entry of which RenewRevocation object. */
export interface RevokedBy {
  object: string;
  /** 0-based. */
  entry: number;
  kind: string;
  value: string;
  notBeforeMs?: number;
  description: string;
}

/** A moment on both clocks: the wall clock sees suspend, the monotonic one does not see steps. What waits is due when either is reached. */
export interface Moment {
  wallMs: number;
  monotonicMs: number;
}

/** A row of failures. */
export interface Failure {
  code: ErrorCode;
  message: string;
  retryable: boolean;
  /** Failures in the row. */
  attempts: number;
  /** Time that was left until the end when the row began, milliseconds. */
  timeLeftMs: number;
  retryAt: Moment;
}

/** All that a decision about one certificate depends on. */
export interface CertificateView {
  spec: Pick<ResolvedCertificate, 'specHash' | 'renewAt' | 'lifetimeSeconds' | 'keyAlgorithm'>;
  renewIfIssuedBeforeMs?: number;
  installed?: PairMeta;
  /** A pair was installed once, and neither the declared files nor the agent's copy are of use now. */
  damaged: boolean;
  /** Somebody asked for a renewal, and none has come since. */
  renewRequested: boolean;
  /** The next key waits on disk already. */
  keyPrepared: boolean;
  issuing?: IssueReason;
  failure?: Failure;
  revoked?: RevokedBy;
  /** A pair in place is to be looked for, and taken over, before another is asked for. */
  lookInPlace?: boolean;
  watchOnly?: boolean;
}

/** For status and reports. */
export interface CertificateSnapshot {
  name: string;
  state: CertificateState;
  serial: string;
  /** SHA-256 of the certificate in place, DER, hexadecimal. */
  fingerprint?: string;
  notBeforeMs?: number;
  notAfterMs?: number;
  nextRenewalAtMs?: number;
  lastRenewalAtMs?: number;
  issuedTotal: number;
  failures: number;
  lapses: number;
  lastError: string;
  lastErrorCode: string;
  served: Served;
  specHash: string;
}
