import type { KeyObject } from 'node:crypto';
import type { KeyAlgorithm, KnownKeyAlgorithm } from '@evercert/shared/x509';

/** Signs with one private key that stays inside its provider. */
export interface Signer {
  readonly keyAlgorithm: KnownKeyAlgorithm;
  readonly publicKey: KeyObject;
  /**
   * Signature over the data: ECDSA (DER) with SHA-384 or SHA-256 by curve, RSA PKCS#1 v1.5 with SHA-256. Does not block the event loop.
   * NotFound: the key was destroyed meanwhile. Unavailable: the token is away for now.
   */
  sign(data: Uint8Array): Promise<Buffer>;
}

/** Where keys can be: in encrypted files, encrypted in the store, on a PKCS#11 token. */
export const keyProviderKinds = ['file', 'store', 'pkcs11'] as const;
export type KeyProviderKind = (typeof keyProviderKinds)[number];

/**
 * Holds the private keys of CAs; nothing else sees them (invariant 17). Ids are lower-case paths of `[a-z0-9.-]` segments, as `demo/cluster-ca/1`.
 * Unavailable, from each of these: the token or the store is away for now.
 */
export interface KeyProvider {
  /** Makes a key, durable before it resolves. AlreadyExists: the id is taken. */
  generate(id: string, algorithm: KeyAlgorithm): Promise<Signer>;
  /** Takes over a key that was made elsewhere, durable before it resolves. AlreadyExists: the id is taken. InvalidArgument: not a private key, or of no known algorithm. */
  import(id: string, privateKey: KeyObject): Promise<Signer>;
  /** Opens a key once and keeps it. NotFound: no such id. */
  signer(id: string): Promise<Signer>;
  /** PKCS#8 PEM of a key whose id starts with `shared/`: those are made to be handed to nodes. PermissionDenied for all others. */
  exportShared(id: string): Promise<string>;
  /** Idempotent. */
  delete(id: string): Promise<void>;
  /** Ids of all keys, in order. */
  list(): Promise<string[]>;
  /** Where a key is. NotFound: no such id. */
  kindOf(id: string): Promise<KeyProviderKind>;
  /** Lets go of what it has open. Idempotent; whoever opened the provider closes it, before the store. */
  close(): Promise<void>;
}

/** What the module's own parts ask of each other, and nobody else: one place where keys are. */
export interface KeyHolder extends KeyProvider {
  readonly kind: KeyProviderKind;
  has(id: string): Promise<boolean>;
  /** The private key itself, to be moved to another place. NotFound. FailedPrecondition: keys never leave this place. */
  takeOut(id: string): Promise<KeyObject>;
  /** Lets go of what is open of a key, so that the next use reads what is durable. */
  forget(id: string): void;
}
