import type { KeyObject } from 'node:crypto';
import type { KeyAlgorithm, KnownKeyAlgorithm } from '@evercert/shared/x509';

/** Signs with one private key that stays inside its provider. */
export interface Signer {
  readonly keyAlgorithm: KnownKeyAlgorithm;
  readonly publicKey: KeyObject;
  /** Signature over the data: ECDSA (DER) with SHA-384 or SHA-256 by curve, RSA PKCS#1 v1.5 with SHA-256 or SHA-384. Runs on the thread pool. */
  sign(data: Uint8Array): Promise<Buffer>;
}

/**
 * Holds the private keys of CAs; nothing else sees them (invariant 17). Ids are lower-case paths of `[a-z0-9.-]` segments, as `demo/cluster-ca/1`.
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
  list(): Promise<string[]>;
}
