import type { RecoveryPolicy, RoleName } from '@evercert/shared/manifest';
import type { RevocationMatch } from '../revocation/types.ts';

/** What is known of one declared certificate of a node. */
export interface CertificateFacts {
  name: string;
  /** The newest that was issued; undefined: none ever was. */
  issued: { serial: string; issuedAtMs: number; notAfterMs: number } | undefined;
  /** What the agent said last of the one in place. */
  reported: { serial: string; notAfterMs: number; state: string; error: string; served: string } | undefined;
  /** Its component can be looked at. */
  verified: boolean;
  /** Entries that match the newest issued, and entries that match what would be issued now. */
  revokedBy: RevocationMatch[];
  refusedBy: RevocationMatch[];
}

/** What is known of one node. Times are milliseconds since the epoch. */
export interface RepairFacts {
  name: string;
  role: RoleName;
  joined: boolean;
  connected: boolean;
  /** No heartbeat for too long. */
  unreachable: boolean;
  /** `over`: by a generation of the control CA that is retired, so that it opens no connection before its end either. */
  identity: { serial: string; notAfterMs: number; over?: boolean; revokedBy: RevocationMatch | undefined };
  policy: RecoveryPolicy;
  certificates: CertificateFacts[];
  /** Components whose health is asked, as the agent said last; absent state: not asked yet. */
  components: { name: string; state: string; message: string; checkedAtMs: number }[];
  /** Names of the components that the agent is to ask. */
  checked: string[];
}

export type FindingKind =
  | 'IdentityExpired'
  | 'IdentityRevoked'
  | 'Expired'
  | 'Revoked'
  /** An entry without notBefore, or with one to come: what would be issued is refused too. */
  | 'Refused'
  | 'Missing'
  | 'Broken'
  | 'Silent'
  | 'Unhealthy';

export interface Finding {
  kind: FindingKind;
  /** Of a certificate: its name. */
  certificate?: string;
  message: string;
}

export interface NodeRepairPlan {
  node: string;
  role: RoleName;
  findings: Finding[];
  action: 'repair' | 'skip' | 'refused';
  /** Why it is skipped or refused, and what to do; empty for a repair. */
  reason: string;
  /** Certificates to be issued anew. */
  certificates: string[];
  /** Serial number of the identity that is to be replaced by a recovery; undefined: it is good. */
  expiredIdentity: string | undefined;
}

/** Who counts for etcd's quorum, and how many of them are well. */
export interface QuorumFacts {
  /** `etcd`: by the health of the members; `nodes`: by the certificates of the control-plane nodes, where no health is asked. */
  by: 'etcd' | 'nodes';
  members: string[];
  healthy: string[];
  needed: number;
}

export interface RepairPlan {
  nodes: NodeRepairPlan[];
  strategy: 'serial' | 'parallel';
  quorum: QuorumFacts;
}

export type RepairStep =
  | 'WindowOpened'
  | 'Recovered'
  | 'CertificateIssued'
  | 'Serving'
  | 'QuorumChecked'
  | 'Repaired'
  | 'Silent'
  | 'Failed';

export interface RepairOutcome {
  node: string;
  result: 'Repaired' | 'Healthy' | 'Silent' | 'Refused' | 'Failed';
  /** Those that were issued anew. */
  certificates: string[];
  message: string;
}

export type RepairNews =
  | { type: 'plan'; plan: RepairPlan }
  | { type: 'progress'; timeMs: number; node: string; certificate: string; step: RepairStep; message: string }
  | { type: 'summary'; outcomes: RepairOutcome[] };
