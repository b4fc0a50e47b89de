import type { CertificateInfo } from '@evercert/shared/x509';

/** Bounds of one check. */
export const checkLimits = { depth: 8, fileBytes: 1024 * 1024, files: 10_000, folders: 10_000, certificates: 10_000 } as const;

/** A file that the walk met; `path` is relative to the checked folder, or absolute outside of it. */
export interface WalkedFile {
  path: string;
  realPath: string;
  /** Permission bits of the file itself, not of a symlink to it. */
  mode: number;
  size: number;
}

/** Stable codes of what can be wrong. */
export type ProblemCode =
  | 'Expired'
  | 'NotYetValid'
  | 'NoChain'
  | 'KeyMissing'
  | 'KeyMismatched'
  | 'KeyReadableByOthers'
  | 'Unreadable'
  | 'Malformed'
  | 'TooLarge'
  | 'NotAFile'
  | 'BrokenLink'
  | 'MissingReference'
  | 'LimitReached';

export interface Problem {
  code: ProblemCode;
  message: string;
}

export interface PathProblem extends Problem {
  path: string;
}

export interface FoundCertificate {
  path: string;
  /** Certificate and key that belong together by their very place: one PEM file, one user of a kubeconfig. */
  slot: string;
  info: CertificateInfo;
  /** DER of the certificates that follow it in its file. */
  following: Buffer[];
  /** False: only as a part of chains (what follows a leaf in its file). */
  listed: boolean;
  /** Embedded in a kubeconfig as the CA of the server: listed only where no file has the same certificate. */
  embeddedCa: boolean;
}

export interface FoundKey {
  path: string;
  slot: string;
  mode: number;
  /** SHA-256 of its SubjectPublicKeyInfo; absent for an encrypted key, which cannot be compared. */
  spkiSha256: string | undefined;
}

export interface FoundPublicKey {
  path: string;
  spkiSha256: string;
}

/** A kubeconfig's references to files, as they stand in it. */
export interface PairReference {
  kubeconfig: WalkedFile;
  certificate: string;
  key: string | undefined;
}

/** What one file holds. */
export interface Contents {
  certificates: FoundCertificate[];
  keys: FoundKey[];
  publicKeys: FoundPublicKey[];
  references: PairReference[];
  problems: PathProblem[];
}

export function emptyContents(): Contents {
  return { certificates: [], keys: [], publicKeys: [], references: [], problems: [] };
}

/** All that a folder holds, as data. */
export interface Inventory {
  certificates: FoundCertificate[];
  keys: FoundKey[];
  publicKeys: FoundPublicKey[];
  /** Which key file goes with which certificate file, by kubeconfigs; paths as in the other lists. */
  pairs: ReadonlyMap<string, string>;
  /** Files that a newer one has taken the place of (kubelet's dated files), by path, with the newer one's path. */
  superseded: ReadonlyMap<string, string>;
  problems: PathProblem[];
}

export type CheckStatus = 'well' | 'soon' | 'broken' | 'superseded';

export interface CertificateReport {
  path: string;
  role: 'leaf' | 'ca';
  subject: string;
  issuer: string;
  serial: string;
  dnsNames: string[];
  ipAddresses: string[];
  keyAlgorithm: string;
  notBefore: Date;
  notAfter: Date;
  lifetimeSeconds: number;
  /** Below zero: seconds since the end. */
  remainingSeconds: number;
  chain: { status: 'verified' | 'root' | 'broken'; anchor?: { subject: string; serial: string; path: string; key: 'here' | 'elsewhere' } };
  key: { status: 'matching' | 'mismatched' | 'missing' | 'encrypted' | 'elsewhere'; path?: string; mode?: string };
  status: CheckStatus;
  problems: Problem[];
}

export interface CheckReport {
  status: Exclude<CheckStatus, 'superseded'>;
  counts: Record<CheckStatus | 'certificates', number>;
  certificates: CertificateReport[];
  /** What is wrong with files and does not belong to one certificate. */
  problems: PathProblem[];
  /** Files that kubeadm keeps on a control-plane node, which this folder is one of, and that are not in it. No fault: some are left out with reason. */
  absent: string[];
}
