/** What the agent's domain asks of the coordinator; implemented at the edge, over gRPC. Every call rejects with an EvercertError. */
import type { KeyObject } from 'node:crypto';
import type { RoleName } from '@evercert/shared/manifest';

export type IssueReason = 'Initial' | 'Scheduled' | 'Requested' | 'SpecChanged' | 'FileDamaged';

export interface CallLimits {
  /** Longest time that the call may take, milliseconds. */
  deadlineMs: number;
  signal?: AbortSignal;
}

/** A certificate that was in place and is now managed. */
export interface Adoption {
  /** The time from which its life is reckoned. */
  adoptedAtMs: number;
  /** It is renewed then. */
  renewAtMs: number;
  /** What the next renewal changes, for people. */
  differences: string[];
}

export interface IssuedChain {
  /** DER, leaf first. */
  chain: Buffer[];
  /** The coordinator's recorded issue time. */
  issuedAtMs: number;
}

/** Calls with the node's identity. Repeats with the same public key are answered with the same certificate. */
export interface CoordinatorApi {
  /** Errors: NotFound, InvalidCsr, KeyInUse, StaleSpec, Overloaded, Unavailable, DeadlineExceeded… */
  issueCertificate(request: { name: string; csr: Buffer; specHash: string; reason: IssueReason }, limits: CallLimits): Promise<IssuedChain>;
  /** Errors: NotFound, StaleSpec, FailedPrecondition and InvalidCertificate (it is not one to take over), Revoked, Unavailable, DeadlineExceeded… */
  adoptCertificate(
    request: { name: string; chain: Buffer[]; privateKey: KeyObject; specHash: string },
    limits: CallLimits,
  ): Promise<Adoption>;
  renewIdentity(csr: Buffer, limits: CallLimits): Promise<GivenIdentity>;
  getKeyPair(name: string, limits: CallLimits): Promise<{ version: string; privateKeyPem: string; publicKeyPem: string }>;
  /** Errors: Conflict, with a hint when to ask again: another node of the cluster restarts a component now. */
  acquireRestartLease(request: { component: string; durationMs: number }, limits: CallLimits): Promise<void>;
  /** `serving`: the component is well again. */
  releaseRestartLease(request: { serving: boolean }, limits: CallLimits): Promise<void>;
}

/** An identity as a coordinator gives it. */
export interface GivenIdentity {
  /** DER, leaf first. */
  chain: Buffer[];
  /** DER of the control CAs that are trusted now. */
  trustAnchors: Buffer[];
  /** What the coordinator presented, DER, leaf first. */
  serverChain: Buffer[];
}

export interface Enrollment extends GivenIdentity {
  cluster: string;
  role: RoleName;
}

/** Joining: finds the coordinator by its pinned CA, then redeems a token over server-authenticated TLS. */
export interface EnrollmentApi {
  /** Errors: InvalidToken, TokenExpired, TokenUsedUp, TokenMismatch, AlreadyExists, PinMismatch, Unavailable… */
  enroll(request: { token: string; csr: Buffer }, limits: CallLimits): Promise<Enrollment>;
  /** The control CA's certificates as the pins find them now; for an agent that was off while the control CA was replaced. */
  fetchTrustAnchors(limits: CallLimits): Promise<Buffer[]>;
}

/** With what a node proves the identity that opens no connection any more, and the request for the next one. */
export interface RecoveryProof {
  /** DER of that identity, and its key. */
  certificate: Buffer;
  privateKey: KeyObject;
  csr: Buffer;
}

/** Coming back on an identity that has expired, or is by a control CA that was replaced, over server-authenticated TLS. */
export interface RecoveryApi {
  /** Errors: RecoveryNotOpen (with a hint when to ask again), RecoveryRefused, Revoked, PermissionDenied, FailedPrecondition, Overloaded, Unavailable… */
  recover(proof: RecoveryProof, limits: CallLimits): Promise<GivenIdentity & { issuedAtMs?: number }>;
}
