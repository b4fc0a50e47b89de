/** What the store holds, as JSON. Each record carries `v`, the version of its form; a reader of a newer version converts older ones here. */

import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
import type { ClusterPolicy, Manifest, RevocationApiVersion, RevocationKind, RoleName } from '@evercert/shared/manifest';
import type { RevocationReason } from '@evercert/shared/revocation';
import type { KnownKeyAlgorithm, Usage } from '@evercert/shared/x509';
import type { RenewalSource } from '../events/renewal-log.ts';
import type { NodeHealthState } from '../nodes/health/types.ts';

export interface ClusterRecord {
  name: string;
  uid: string;
  createdAtMs: number;
  policy: ClusterPolicy;
}

export interface AuthorityRecord {
  /** `_control` for the control CA. */
  cluster: string;
  name: string;
  /** Id of the signing key in the key provider. Empty: the key is not here, and what the CA issued is only watched. */
  keyId: string;
  /** Empty: one that is not known here, of a CA that is only watched. */
  keyAlgorithm: KnownKeyAlgorithm | '';
  serial: string;
  /** DER, base64. */
  certificate: string;
  notBeforeMs: number;
  notAfterMs: number;
  /** All that nodes must trust, DER, base64; holds two during a rotation. */
  bundle: string[];
  bundleVersion: number;
  /** Certificates between this one and its root, nearest first, DER, base64; they are delivered behind every leaf. Absent: this is the root. */
  chain?: string[];
  /** The root above them, DER, base64: what nodes trust. Absent: this is the root. */
  root?: string;
  /** Of the generation's own beginning: the same key, signed by the generation before, DER, base64. Who trusts only that one follows it here. */
  cross?: string;
  /** The CA's first generation, where there were several: certificates whose records name no issuer are its own. */
  first?: boolean;
  /** The next generation of a rotation: trusted by nodes before it signs anything. */
  next?: AuthorityGeneration;
  /** Generations before this one, the newest first: never lost, so that what they issued can be told, revoked and recovered. */
  earlier?: EarlierGeneration[];
}

/** One key of a CA with its certificate. */
export type AuthorityGeneration = Pick<
  AuthorityRecord,
  'keyId' | 'keyAlgorithm' | 'serial' | 'certificate' | 'notBeforeMs' | 'notAfterMs' | 'chain' | 'root' | 'cross' | 'first'
>;

export interface EarlierGeneration extends AuthorityGeneration {
  /** When it stopped signing leaves. */
  replacedAtMs: number;
  /** When the last leaf that it signed ends; its key signs CRLs until then. */
  lastLeafNotAfterMs: number;
  /** When nodes stopped trusting it; absent: they still do. */
  retiredAtMs?: number;
  /** Its key may be in strange hands: nothing is believed by its signature alone. */
  compromised?: boolean;
  /** Its key is destroyed. */
  keyDestroyedAtMs?: number;
}

/** The key of a generation that has no certificate yet. */
export interface AuthorityRequest {
  keyId: string;
  keyAlgorithm: KnownKeyAlgorithm;
  /** PKCS#10, PEM. */
  pem: string;
}

/** How far a rotation has come (invariant 18). An abort goes back by the stages in its own name. */
export type RotationStage =
  | 'Preparing'
  | 'AwaitingCertificate'
  | 'Spreading'
  | 'Activating'
  | 'Reissuing'
  | 'Retiring'
  | 'Completed'
  | 'AbortReissuing'
  | 'AbortRetiring'
  | 'Aborted';

/** The rotation of one CA; its steps are recorded as they are begun and done, so that it resumes after a crash and does none twice. */
export interface RotationRecord {
  id: string;
  cluster: string;
  authority: string;
  stage: RotationStage;
  stageSinceMs: number;
  startedAtMs: number;
  endedAtMs?: number;
  /** The actor, as events tell it. */
  by: string;
  reason: 'scheduled' | 'compromise' | 'requested';
  note: string;
  keyAlgorithm: KnownKeyAlgorithm;
  /** The new generation is an intermediate, signed elsewhere. */
  intermediate?: boolean;
  /** Of an intermediate: its key, and the request for its certificate. */
  request?: AuthorityRequest;
  oldSerial: string;
  newSerial: string;
  /** Of the new generation. */
  newKeyId?: string;
  /** Version of the bundle that nodes have to acknowledge at this stage. */
  bundleVersion: number;
  pausedAtMs?: number;
  pausedBy?: string;
  /** Nodes that are not through are left behind then; absent: waited for, for as long as they are alive. */
  deadlineMs?: number;
  /** CAs whose rotations are to begin when this one has completed, of the same request: `CLUSTER/NAME`. */
  following?: string[];
  /** As it was asked for, for those that follow: their algorithm where it changes, and how long after its begin the deadline of each lies. */
  asked?: { keyAlgorithm?: KnownKeyAlgorithm; deadlineAfterMs?: number };
  /** Its new CA has signed leaves: from its activation on. */
  activatedAtMs?: number;
  lastError?: string;
}

/** Keeps two rotations of one CA from running at a time. */
export interface RotatingRecord {
  /** Of the rotation. */
  id: string;
}

/** A warning of a CA's end is told once. */
export interface AuthorityEndingRecord {
  told: AuthorityEnding;
}

/** How near a CA's end is. */
export type AuthorityEnding = 'WithinYear' | 'WithinHalfYear' | 'Ended';

/** A coordinator that serves. */
export interface CoordinatorRecord {
  id: string;
  /** `HOST:PORT` for agents and admins. */
  address: string;
  version: string;
  startedAtMs: number;
}

/** The elected coordinator. */
export interface LeaderRecord {
  id: string;
  address: string;
  electedAtMs: number;
}

/** A node's open stream. */
export interface SessionRecord {
  cluster: string;
  node: string;
  coordinator: string;
  sinceMs: number;
  /** The stream is open, but for so long nothing had been heard on it when this was written. Absent: its agent is heard. */
  silentForMs?: number;
}

export interface ManifestRecord {
  cluster: string;
  manifest: Manifest;
  generation: number;
  updatedAtMs: number;
}

export interface KeyPairRecord {
  cluster: string;
  name: string;
  keyId: string;
  version: string;
  publicKeyPem: string;
}

export interface NodeRecord {
  cluster: string;
  name: string;
  role: RoleName;
  labels: Record<string, string>;
  /** By an admin: in a Node manifest or with a token. */
  registeredAddresses: string[];
  /** Brought by the node, from an allowed range. */
  claimedAddresses: string[];
  dnsNames: string[];
  createdAtMs: number;
  /** Serials of the identities that are accepted, newest first. Empty: registered, but it has not joined. */
  identitySerials: string[];
  /** SHA-256 of each of them, DER, lower-case hexadecimal, by serial; records of earlier releases lack it. */
  identityFingerprints?: Record<string, string>;
  identityNotAfterMs: number;
  /** Certificates issued before this time are to be renewed now; by name, `*` for all. */
  renewIfIssuedBeforeMs: Record<string, number>;
  /** Exempt from replacement; absent: it is not. */
  cordon?: CordonRecord;
  /** Of the replacement that is under way for this node, or that this node is the new one of; absent: none. */
  replacement?: { id: string };
}

export interface CordonRecord {
  atMs: number;
  /** The actor, as events tell it. */
  by: string;
  reason: string;
  /** Ends by itself then; absent: when it is ended. */
  untilMs?: number;
}

/** A node's health as it was last derived; written when it changes. */
export interface NodeHealthRecord extends NodeHealthState {
  cluster: string;
  name: string;
}

/** What was last heard of a node; everything but `lastSeenAtMs` is written when it changes. */
export interface NodeStatusRecord {
  cluster: string;
  name: string;
  lastSeenAtMs: number;
  agentVersion: string;
  /** StatusReport of evercert.v1, protobuf, base64. */
  report: string;
}

export interface TokenRecord {
  id: string;
  /** SHA-256 of salt and secret, hexadecimal; the secret itself is not kept. */
  secretHash: string;
  salt: string;
  cluster: string;
  role: RoleName;
  nodeName: string;
  createdAtMs: number;
  expiresAtMs: number;
  /** 0: unlimited. */
  maxUses: number;
  uses: number;
  description: string;
  labels: Record<string, string>;
  addresses: string[];
  dnsNames: string[];
  /** Of the replacement that it was made for. */
  replacementId?: string;
  /** It is a bootstrap token of the cluster's API server, too, as a Secret there; with the groups of its user, beside system:bootstrappers. */
  kubernetes?: { groups: string[] };
}

export interface CertificateRecord {
  cluster: string;
  node: string;
  name: string;
  issuer: string;
  /** Serial of the CA's certificate, by whose key it is signed; absent: of the CA's first generation. */
  issuerSerial?: string;
  serial: string;
  commonName: string;
  organizations: string[];
  dnsNames: string[];
  ipAddresses: string[];
  uris: string[];
  usages: Usage[];
  keyAlgorithm: KnownKeyAlgorithm;
  spkiSha256: string;
  specHash: string;
  /** The coordinator's clock at issue; notBefore is backdated from it. Of a certificate that was taken over, its notBefore: nobody knows better when it was issued. */
  issuedAtMs: number;
  notBeforeMs: number;
  notAfterMs: number;
  reason: string;
  /** DER, base64. */
  certificate: string;
  /** When it was taken over, which is the time from which its life is reckoned; absent: it was issued here. */
  adoptedAtMs?: number;
  /** For an identity that a token brought: the token's id. */
  tokenId?: string;
}

export interface PublicKeyRecord {
  cluster: string;
  node: string;
  name: string;
  serial: string;
}

export interface CurrentRecord {
  serial: string;
  /** The CA, and the serial of its certificate by whose key it is signed; records of earlier releases lack both: the CA that the manifest names, its first generation. */
  issuer?: string;
  issuerSerial?: string;
  /** SHA-256 of the DER, hexadecimal; records of earlier releases lack it. */
  fingerprint?: string;
  specHash: string;
  issuedAtMs: number;
  notAfterMs: number;
  adoptedAtMs?: number;
  /** What the certificate says, for revocations; records of earlier releases lack it. */
  commonName?: string;
  organizations?: string[];
  dnsNames?: string[];
  ipAddresses?: string[];
  uris?: string[];
}

/** A RenewRevocation object of a cluster. */
export interface RevocationRecord {
  cluster: string;
  name: string;
  namespace: string;
  apiVersion: RevocationApiVersion;
  description: string;
  entries: RevocationEntryRecord[];
  /** Grows by one at each change. */
  generation: number;
  createdAtMs: number;
  updatedAtMs: number;
  /** Where it came from: `evercert apply`, `evercert revoke`, `replacement` or `kubernetes`. */
  source: string;
  /** Of the object at the API server, where it came from there: another of the same name is another. */
  uid?: string;
  /** As it was applied; canonical YAML where that was too long to keep. */
  yaml: string;
}

export interface RevocationEntryRecord {
  kind: RevocationKind;
  /** In canonical form: hexadecimal, the group, a lower-case name (a leading dot means a suffix), an address. */
  value: string;
  notBeforeMs?: number;
  description: string;
  reason: RevocationReason;
  /** Of a serial number: whether successors were asked for, and which there were when the entry came. */
  includeSuccessors?: boolean;
  successorSerials: string[];
  /** When the entry first came, through all updates of the object: the time of revocation of what it matched then. */
  addedAtMs: number;
}

/** Only its revision counts. */
export interface RevocationEpochRecord {
  changedAtMs: number;
}

export interface EventRecord {
  id: string;
  timeMs: number;
  cluster: string;
  node: string;
  actor: string;
  reason: string;
  type: 'Normal' | 'Warning';
  certificate: string;
  serial: string;
  message: string;
  errorCode: string;
  /** Of what belongs to a node's renewal log. */
  source?: RenewalSource;
  /** Of the call that it tells of: `/evercert.v1.AdminService/Apply`. */
  method?: string;
  /** Facts of the kind of event, for the audit log; never a secret. */
  details?: Record<string, string>;
}

/** The latest wall-clock time that the coordinator has seen. */
export interface ClockMarkRecord {
  latestMs: number;
}

/** A node that may come back on an expired identity, for a time. */
export interface RepairWindowRecord {
  cluster: string;
  node: string;
  openedAtMs: number;
  expiresAtMs: number;
  /** The actor, as events tell it. */
  by: string;
  reason: string;
}

/** Why a node that proved who it is was not let back. */
export interface RefusedRecoveryRecord {
  cluster: string;
  node: string;
  atMs: number;
  /** Id of the coordinator that was asked. */
  coordinator: string;
  serial: string;
  code: ErrorCode;
  message: string;
}

/** The one node of a cluster on which a control-plane component restarts now. */
export interface RestartLeaseRecord {
  cluster: string;
  node: string;
  component: string;
  acquiredAtMs: number;
  /** For people and hints; the store's lease ends it. */
  expiresAtMs: number;
}

/** That this store was restored from a backup: what happened between the two times is not in it, but for what was brought back. */
export interface RestoredRecord {
  /** Of the restore. */
  id: string;
  backupId: string;
  /** The backup's time, and the store's revision in it. */
  backupAtMs: number;
  backupRevision: number;
  atMs: number;
  /** Identities and certificates from between the two times are learned until then; absent: they are not. */
  learnUntilMs?: number;
  /** Up to when the audit log told what had happened; absent: none was given. */
  coveredUntilMs?: number;
}

/** The newest CRL of a CA; its bytes are kept in parts. */
export interface RevocationListRecord {
  cluster: string;
  issuer: string;
  /** CRL number (RFC 5280 section 5.2.3); never used twice. */
  number: number;
  /** Serial of the CA's certificate, which a rotation changes. */
  authoritySerial: string;
  /** The coordinator's clock when it was made; thisUpdate is backdated from it. */
  issuedAtMs: number;
  nextUpdateMs: number;
  partsId: string;
  /** Of the DER, hexadecimal. */
  sha256: string;
}

const version = 1;

export function encodeRecord<T extends object>(record: T): Buffer {
  return Buffer.from(JSON.stringify({ v: version, ...record }));
}

/** DataLoss: the value is not a record, or one of a newer version. */
export function decodeRecord<T extends object>(key: string, value: Uint8Array): T {
  let parsed: { v?: unknown };
  try {
    parsed = JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString());
  } catch (error) {
    throw new EvercertError('DataLoss', `the store's record ${key} is damaged: restore it from a backup`, { cause: error });
  }
  if (parsed.v !== version) {
    throw new EvercertError(
      'DataLoss',
      `the store's record ${key} has version ${String(parsed.v)}, this coordinator reads version ${version}: upgrade the coordinator`,
    );
  }
  return parsed as T;
}
