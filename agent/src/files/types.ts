/**
 * The agent's files. Two places: the state folder (the agent's own, mode 0700) and the paths that the manifests declare (under rootDir).
 *
 * Life of a pair, every step durable before the next, each named by a fault point:
 *   1. `ensurePendingKey`: the next key is on disk before any request is made for it, so that a crash or a lost reply never issues twice (invariant 6).
 *   2. `savePendingChain`: the coordinator's answer.
 *   3. `install`: check key, chain, anchors, names; write a new version folder; fsync files and folder; switch by one rename; then the old pending slot is cleared.
 * A crash at any instruction leaves a matching pair at the declared paths (invariant 2); `recover` at start completes or rolls back.
 */
import type { KeyObject } from 'node:crypto';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import type { KnownKeyAlgorithm } from '@evercert/shared/x509';

export interface PendingPair {
  privateKey: KeyObject;
  keyAlgorithm: KnownKeyAlgorithm;
  /** DER, leaf first; absent until the coordinator has answered. */
  chain?: Buffer[];
  /** Spec that the request was made for. */
  specHash: string;
}

export interface PairMeta {
  specHash: string;
  serial: string;
  /** The coordinator's recorded issue time. */
  issuedAtMs: number;
  notBeforeMs: number;
  notAfterMs: number;
  installedAtMs: number;
  /** Set while the pair is used as it was found: its files are not ours yet. Its first renewal, or whoever damages them, ends that. */
  adopted?: AdoptedFiles;
}

/** How a pair lies that was there before the agent. */
export interface AdoptedFiles {
  /** The coordinator's word on when it is renewed, milliseconds. */
  renewAtMs: number;
  /** Declared paths at which its certificate or its key was found. */
  paths: string[];
  /** All that was declared then: where other files are declared now, they are to be written. */
  declared: string[];
}

/** A pair at the declared paths that was not installed by the agent. */
export interface FoundPair {
  chain: Buffer[];
  privateKey: KeyObject;
  /** Declared paths at which its certificate or its key lies. */
  paths: string[];
}

export interface InstalledPair extends PairMeta {
  name: string;
  chain: Buffer[];
  privateKey: KeyObject;
}

/** What is wrong with one file, by its path. */
export interface FileFault {
  path: string;
  reason: 'Missing' | 'Truncated' | 'Foreign' | 'WrongMode' | 'WrongOwner' | 'NotAFile' | 'SymlinkOutside' | 'Unreadable' | 'ParentMissing';
  message: string;
}

export interface CertificateFiles {
  /** Completes or rolls back what a crash interrupted. Idempotent; called once at start and before anything else. Returns what it did, one line each. */
  recover(): Promise<string[]>;
  /** The key for the next request: the one that waits already (same algorithm and spec), or a new one made off the event loop. Durable when it resolves. */
  ensurePendingKey(spec: ResolvedCertificate): Promise<PendingPair>;
  savePendingChain(name: string, chain: Buffer[], issuedAtMs: number): Promise<void>;
  discardPending(name: string): Promise<void>;
  pending(name: string): Promise<PendingPair | undefined>;
  /** Installs the pending pair at the spec's paths. The old pair stays in use until the new one is durable. Errors: PairMismatch, InvalidCertificate, StaleSpec (requested for another specification), InvalidManifest, FailedPrecondition (nothing waits; no such owner; no PKCS#12 password), FileConflict, PathNotAllowed, DiskFull, FileSystem. */
  install(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<InstalledPair>;
  /**
   * A pair that lies at the declared paths, in whatever form: certificate and key match, the chain leads to an anchor, and it has not ended. What it says is not looked at. Reads only.
   * `why` tells what is wrong with what lies there; nothing lies there without it.
   */
  findInPlace(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<{ found: FoundPair } | { why?: string }>;
  /** Makes a pair that lies at the declared paths the installed one: the agent keeps a copy, and touches no file. Until its first renewal its files stay in the form in which they were found. */
  adopt(spec: ResolvedCertificate, found: FoundPair, terms: { adoptedAtMs: number; renewAtMs: number }): Promise<InstalledPair>;
  /** The pair in use, from the state folder's own copy, checked; undefined when there is none or it is damaged beyond repair. */
  installed(name: string): Promise<InstalledPair | undefined>;
  /** Compares every declared path with what should be there. Reads only. */
  inspect(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]>;
  /** Puts the declared paths right from the installed pair; needs no coordinator. Returns the faults that were mended; throws FileConflict for what it will not touch (a folder in the way), NotFound when there is no installed pair, and otherwise as `install` does. */
  restore(spec: ResolvedCertificate, trustAnchors: Buffer[]): Promise<FileFault[]>;
  /** Takes away the declared files and the state of a certificate that is no longer declared. */
  remove(name: string): Promise<void>;
  /** Names that have state here. */
  names(): Promise<string[]>;
}

/** Plain files that are the same for all readers: trust bundles, shared key pairs. */
export interface PlainFileSpec {
  path: string;
  mode: number;
  owner?: string;
  group?: string;
  content: Buffer;
}

export interface PlainFiles {
  /** Atomic: temporary file, fsync, mode and owner, rename, fsync of the folder. Writes nothing when all is right already; returns whether it wrote. */
  write(files: PlainFileSpec[]): Promise<boolean>;
  inspect(file: PlainFileSpec): Promise<FileFault[]>;
  /** What a reader of the path gets, with its attributes; undefined: nothing, or no regular file within the allowed folders. */
  read(path: string): Promise<{ content: Buffer; mode: number; uid: number; gid: number } | undefined>;
  remove(path: string): Promise<void>;
}
