/** What a node's health is derived from, and what is derived. Plain data; times of the wall clock are milliseconds since the epoch. */
import type { RoleName } from '@evercert/shared/manifest';

export const nodePhases = [
  'Registered',
  'Joining',
  'Ready',
  'RenewalFailing',
  'Expiring',
  'Expired',
  'Unreachable',
  'Revoked',
  'Repairing',
  'Replacing',
  'Removed',
] as const;
export type NodePhase = (typeof nodePhases)[number];

export const conditionTypes = [
  'Ready',
  'Reachable',
  'CertificatesValid',
  'RenewalsSucceeding',
  'ComponentsServing',
  'TrustBundleCurrent',
] as const;
export type ConditionType = (typeof conditionTypes)[number];
export type ConditionStatus = 'True' | 'False' | 'Unknown';

/** A condition as it is now, without a history. */
export interface Finding {
  status: ConditionStatus;
  /** CamelCase. */
  reason: string;
  message: string;
}

export type Findings = Record<ConditionType, Finding>;

/** Kubernetes' form (https://kubernetes.io/docs/reference/node/node-status/#condition). */
export interface NodeCondition extends Finding {
  type: ConditionType;
  /** When the status last changed; reason and message may have changed since. */
  lastTransitionMs: number;
}

export interface NodeHealthState {
  phase: NodePhase;
  phaseSinceMs: number;
  /** Why the phase is not Ready, for a person. */
  message: string;
  /** In the order of `conditionTypes`. */
  conditions: NodeCondition[];
}

/**
 * Where a certificate that a node reports comes from: the newest of its name, an earlier one of its name, one that the coordinator never issued to this node under this name, or
 * not looked up yet.
 */
export type Origin = 'current' | 'superseded' | 'unknown' | 'unchecked';

/** One certificate that is declared for the node. */
export interface CertificateFacts {
  name: string;
  /** Part of its life after which its renewal is due; for certificates of which the agent tells no time. */
  renewAt: number;
  /** The newest that was issued; undefined: none ever was. */
  issued: { serial: string; issuedAtMs: number; notAfterMs: number } | undefined;
  /** What the agent said last of the one in place; undefined: it said nothing of it, or has none. */
  reported: ReportedCertificate | undefined;
  /** Which entry refuses its renewal or its issue; undefined: none. */
  revokedBy: string | undefined;
  /** Its CA's key is not here: no renewal is owed by anybody. */
  watchOnly?: boolean;
}

export interface ReportedCertificate {
  /** Empty: nothing is installed. */
  serial: string;
  notAfterMs: number;
  nextRenewalAtMs: number | undefined;
  state: string;
  error: string;
  errorCode: string;
  /** "", "Served", "NotServed", "Unreachable". */
  served: string;
  origin: Origin;
}

/** A trust bundle, a revocation list or a key pair that is declared for the node. */
export interface PartFacts {
  kind: 'trust bundle' | 'revocation list' | 'key pair';
  name: string;
  inPlace: boolean;
  error: string;
  /** Of a trust bundle: what its component was seen to name to its clients. "", "Served", "NotServed", "Unreachable". */
  served?: string;
  servedMessage?: string;
}

export interface HealthFacts {
  role: RoleName;
  /** The node was deleted. */
  removed: boolean;
  /** It was given an identity once. */
  joined: boolean;
  /** Since its last sign of life, by the monotonic clock; undefined: it never gave one. */
  silentMs: number | undefined;
  unreachableAfterMs: number;
  /** The wall clock at the last sign of life, for people. */
  lastSeenAtMs: number | undefined;
  /** A report of it is known. */
  reported: boolean;
  /** One has come since this coordinator started; false: what is known is from before, and the node may have got on since. */
  fresh: boolean;
  identity: { serial: string; notAfterMs: number; revokedBy: string | undefined };
  certificates: CertificateFacts[];
  parts: PartFacts[];
  /** Components whose health is asked, as the agent said last. */
  components: { name: string; state: string; message: string }[];
  /** Manifests that cannot be put into effect on this node, and why. */
  problems: readonly string[];
  /** A repair window is open for it. */
  repairing: boolean;
  /** Id of the replacement that it is the old or the new node of; undefined: none is under way. */
  replacing: string | undefined;
  nowMs: number;
}
