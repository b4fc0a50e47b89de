/** What replacement decides from, what it decides, and what is recorded of it. Plain data; times are milliseconds since the epoch. */
import type { ReplacementPolicy, RoleName } from '@evercert/shared/manifest';
import type { NodePhase } from '../nodes/health/types.ts';

/** A time in which this coordinator could not have renewed anything: it was away, or not well. */
export interface Outage {
  fromMs: number;
  untilMs: number;
  why: string;
}

/** The wall clock was set, or its machine slept, while the coordinator ran. */
export interface ClockLeap {
  /** What it showed before. */
  atMs: number;
  /** How much more than time had passed it showed then; negative: it was set back. */
  byMs: number;
}

/** How well the coordinator itself is, as far as it knows. */
export interface AvailabilityFacts {
  /** It is serving and its store takes writes, without a break since; undefined: it is not well now. */
  healthySinceMs: number | undefined;
  /** Why not; empty: it is. */
  problem: string;
  /** Oldest first; what is older than is kept counts as well. */
  outages: readonly Outage[];
  /** Oldest first; absent: none is known. */
  leaps?: readonly ClockLeap[];
}

export interface ExpiredCertificate {
  name: string;
  dueMs: number;
  endMs: number;
  /** Absent: it is not known. */
  issuedAtMs?: number;
}

/** What is known of one node of the cluster. */
export interface ReplacementFacts {
  name: string;
  role: RoleName;
  labels: Readonly<Record<string, string>>;
  joined: boolean;
  phase: NodePhase;
  /** For people: why the phase is what it is. */
  phaseMessage: string;
  /** The certificates (identity included) that have expired, by what is in place; empty: none. */
  expired: readonly ExpiredCertificate[];
  /** What the node itself, or the coordinator's refusal, says of failed renewals; empty: nothing was heard of it. */
  failure: string;
  /** Exempt by an admin; `untilMs` absent: until it is ended. */
  cordon: { by: string; reason: string; untilMs?: number } | undefined;
  /** A repair window is open for it. */
  repairing: boolean;
  /** Entries that would refuse a new node of the same name too ("entry 1 of OBJECT"); empty: none. */
  refusedInFuture: string;
  /** Those of them that would refuse a new node of any name, such as one of a group; absent or empty: none. */
  refusedByAnyName?: string;
  /** Of the replacement that is under way for it, or that it is the new node of. */
  replacing: { id: string; step: string } | undefined;
}

/** Replacements of the cluster that bear on the limits. */
export interface ReplacementHistory {
  /** Nodes of those under way (old and new names). */
  running: readonly { id: string; node: string; startedAtMs: number; backingOffUntilMs?: number }[];
  /** Begin of each replacement within the last hour, those under way included. */
  startedAtMs: readonly number[];
}

export interface ReplacementQuestion {
  cluster: string;
  policy: ReplacementPolicy;
  /** The policy's provisioner is configured at this coordinator. */
  provisionerKnown: boolean;
  /** It makes the new machine under the old one's name; absent: it does, the stricter of the two. */
  sameName?: boolean;
  pause: { by: string; reason: string; scope: 'cluster' | 'all' } | undefined;
  availability: AvailabilityFacts;
  nodes: readonly ReplacementFacts[];
  history: ReplacementHistory;
  nowMs: number;
}

/** What holds a worker back; the order is that in which they are told. */
export const holdReasons = [
  /** The policy names no provisioner. */
  'NoProvisioner',
  'ProvisionerUnknown',
  'Off',
  'Paused',
  /** The coordinator itself is not well, or has only just become so. */
  'CoordinatorUnhealthy',
  /** Too little of the time in which it could have renewed was the coordinator there. */
  'CoordinatorWasAway',
  'TooManyUnhealthy',
  'Cordoned',
  'MaintenanceWindow',
  'Repairing',
  'RevocationMatchesSuccessor',
  'WithinGrace',
  /** Before the limits: a replacement that backs off holds one of the places too, and tells more. */
  'BackingOff',
  'OneAtATime',
  'RateLimited',
  'DryRun',
] as const;
export type HoldReason = (typeof holdReasons)[number];

/**
 * `NotDue`: its certificates have not expired, or nothing has failed. `Held`: due, but for the reason. `Due`: is replaced now. `Replacing`: under way. `Never`: a control-plane node,
 * which is repaired instead.
 */
export type VerdictKind = 'NotDue' | 'Held' | 'Due' | 'Replacing' | 'Never';

export interface Verdict {
  node: string;
  kind: VerdictKind;
  /**
   * CamelCase; a HoldReason for `Held`; empty for a node with which nothing is wrong. `NotDue`: NotJoined, NotExpired; `Due`: CertificatesExpired; `Replacing`: UnderWay, BackingOff,
   * Paused; `Never`: NeedsRepair.
   */
  reason: string;
  /** For a person: what it waits for and what to do. */
  message: string;
  /** When the verdict may change by time alone; absent: not by time. */
  againAtMs?: number;
}

export interface Decision {
  /** One for each node, in the order of the question. */
  verdicts: Verdict[];
  /** Whom to begin with now, in this order: within every limit. */
  start: string[];
  workers: number;
  unhealthy: number;
  maxUnhealthy: number;
  /** What holds back the whole cluster; undefined: nothing. */
  held: { reason: HoldReason; message: string } | undefined;
}

export const replacementSteps = ['Cordon', 'Drain', 'Remove', 'Create', 'Join', 'Verify', 'Done'] as const;
export type ReplacementStepName = (typeof replacementSteps)[number];

export interface ReplacementStepRecord {
  /** `Allocate`, `Discard` and `Uncordon` stand beside the saga's own. */
  step: ReplacementStepName | 'Allocate' | 'Discard' | 'Uncordon';
  attempt: number;
  idempotencyKey: string;
  startedAtMs: number;
  finishedAtMs?: number;
  result: '' | 'Done' | 'Failed' | 'Skipped';
  message: string;
}

/** A replacement: a saga whose every step is recorded before and after it is done (invariant 14). */
export interface ReplacementRecord {
  cluster: string;
  /** `rp-` and ten characters of [a-z0-9]. */
  id: string;
  node: string;
  /** Known from `allocate` on; empty before. */
  newNode: string;
  /** The driver's id of the new machine; empty: by name. */
  machine: string;
  provisioner: string;
  state: 'Running' | 'BackingOff' | 'Succeeded' | 'Cancelled';
  step: ReplacementStepName;
  attempt: number;
  reason: string;
  message: string;
  /** The old node as it was, for the provisioner and the new node. */
  facts: { labels: Record<string, string>; registeredAddresses: string[]; dnsNames: string[] };
  /** Ids of the bootstrap tokens that were made for the present attempt. */
  tokenIds: string[];
  createdAtMs: number;
  finishedAtMs?: number;
  /** While BackingOff, or while a failed step waits. */
  nextAttemptAtMs?: number;
  /** Failures in a row of the present step. */
  failures: number;
  /** Begin of `Create` of this attempt: joinTimeout counts from it. */
  attemptStartedAtMs?: number;
  /** The last 64. */
  steps: ReplacementStepRecord[];
  /** When the old node's identity was withdrawn: from then on there is no way back. */
  withdrawnAtMs?: number;
  /** Why the machine of the present attempt is given up; absent: it is not. */
  discarding?: string;
  /** It is being brought to its end without a new node. */
  cancel?: { by: string; atMs: number; reason: string };
}

/** A node that was removed: whoever comes with one of its identities is refused and told of. */
export interface RemovedNodeRecord {
  cluster: string;
  name: string;
  role: RoleName;
  removedAtMs: number;
  /** The replacement, or the admin. */
  by: string;
  identitySerials: string[];
  /** Times that it has come back, and when it did last. */
  returned: number;
  lastReturnedAtMs?: number;
}

export interface ReplacementPauseRecord {
  /** Empty: all clusters. */
  cluster: string;
  atMs: number;
  by: string;
  reason: string;
}
