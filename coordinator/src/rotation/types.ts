/** What a rotation is decided from, and what is decided. Plain data; times are milliseconds since the epoch. */
import type { RoleName } from '@evercert/shared/manifest';
import type { RotationRecord } from '../state/records.ts';

/** A trust bundle of the CA that is declared for a node. */
export interface BundleFacts {
  name: string;
  path: string;
  /** The agent looks whether its component accepts clients by it. */
  looked: boolean;
  /** A reload is declared for its component. */
  reloads: boolean;
  /** What the agent said last; undefined: it said nothing of it. `reloadOwed` undefined: an agent of an earlier release, which does not say. */
  reported:
    | { version: number; state: string; error: string; served: string; servedMessage: string; reloadOwed: boolean | undefined }
    | undefined;
}

/** The newest certificate of one name that a node has of the CA. */
export interface LeafFacts {
  name: string;
  serial: string;
  /** Of the CA's certificate by whose key it is signed. */
  issuerSerial: string;
  notAfterMs: number;
  /** The time with which a mark for renewal is compared. */
  issuedAtMs: number;
  /** The node's agent renews it when it is asked to; false: it came by a request of its own, or no manifest declares it any more. */
  renewable: boolean;
  /** Its renewal has been asked for. */
  asked: boolean;
  /** By an entry that refuses it, and another in its place. */
  revoked: boolean;
  /** The agent looks whether its component serves it. */
  looked: boolean;
  /** What the agent said last of the one in place; undefined: it said nothing of it. */
  reported: { serial: string; same: boolean; error: string; served: string } | undefined;
  /** One by the target was seen in place at this stage: what follows it in the course of things, and is not in place yet, is by the target too. */
  taken: boolean;
}

/** A node that has something of the CA: a bundle, or certificates. */
export interface RotationNodeFacts {
  cluster: string;
  name: string;
  role: RoleName;
  /** Why it is not waited for; undefined: it is heard, or has not been silent for long. */
  away: string | undefined;
  /** What it was sent last is in effect there, as it says. */
  applied: boolean;
  bundles: readonly BundleFacts[];
  leaves: readonly LeafFacts[];
  /** Of the control CA: pins of what it is to trust, and of what it says it trusts; undefined: an agent of an earlier release, which does not say. */
  pins: { wanted: readonly string[]; trusted: readonly string[] | undefined } | undefined;
  /** Since when the present stage, or its own turn in it, is waited for. */
  sinceMs: number;
}

/** A certificate of the CA that belongs to no node's agent: of people, of machines that asked by a CertificateSigningRequest, or the coordinator's own. */
export interface ForeignLeaf {
  cluster: string;
  name: string;
  issuerSerial: string;
  notAfterMs: number;
  revoked: boolean;
}

export interface RotationQuestion {
  record: RotationRecord;
  /** Serial of the CA's certificate that everything is to come from when the rotation, or its abort, is through. */
  target: string;
  nodes: readonly RotationNodeFacts[];
  foreign: readonly ForeignLeaf[];
  /** What is published of the CA elsewhere; undefined: nothing is. */
  published: { current: boolean; message: string } | undefined;
  /** Control-plane nodes take turns: what they are issued makes components restart. */
  inTurns: boolean;
  maxConcurrent: number;
  behindAfterMs: number;
  settleMs: number;
  /** For how long every node has been through with this stage, as far as this process has seen; 0: they are not. */
  throughForMs: number;
  nowMs: number;
}

export type RotationNodeState = 'Done' | 'Waiting' | 'Behind' | 'Away';

export interface NodeVerdict {
  cluster: string;
  node: string;
  role: RoleName;
  state: RotationNodeState;
  /** For a person: which file, certificate or component is waited for, and what is wrong with it. Empty: nothing. */
  reason: string;
  certificatesLeft: number;
  /** What it has would be refused if all but the target were distrusted now. */
  cutOff: boolean;
}

/** Certificates of a node whose renewal is to be asked for. */
export interface RenewalOrder {
  cluster: string;
  node: string;
  /** By name: certificates issued before this time. */
  marks: Record<string, number>;
}

export interface RotationDecision {
  nodes: NodeVerdict[];
  /** Every node that is waited for is through. */
  through: boolean;
  /** The next step may be made. */
  ready: boolean;
  ask: RenewalOrder[];
  /** For a person; empty: nothing. */
  waitingFor: string;
}

/** A rotation as it is shown. */
export interface RotationView {
  record: RotationRecord;
  nodes: NodeVerdict[];
  waitingFor: string;
}
