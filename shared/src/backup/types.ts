/**
 * A backup's form, outside in.
 *
 * The archive: a line `evercert-backup/1`, the length of its header (four bytes, big-endian), the header (JSON), its HMAC-SHA-256, then the payload in chunks. Each chunk is encrypted by AES-256-GCM with a key made
 * from the passphrase by scrypt, as the header's is; its nonce holds the chunk's number and whether it is the last, and the header is authenticated with each of them. What was cut off, changed, put in another order,
 * appended, or is opened with another passphrase, is refused.
 *
 * The payload: frames of a kind (one byte), a length (four bytes, big-endian) and a body. First what the backup is of, then the store's entries in the order of their keys, then the files of keys,
 * at last the manifest, which counts all of them and holds their digests.
 */

/** What a backup is of; stands in the archive's header, so that it can be read without the passphrase, and is authenticated with it. */
export interface BackupAbout {
  /** Version of the payload's form. */
  v: 1;
  /** 32 hexadecimal digits, never the same. */
  id: string;
  /** RFC 3339, UTC. */
  createdAt: string;
  /** Names, in order. */
  clusters: string[];
  /** The store's revision that all of its entries show. */
  storeRevision: number;
  coordinatorVersion: string;
  /** Where the private keys of the CAs are: `file`, `store`, `pkcs11`. */
  keyProviders: string[];
}

export interface BackupEntry {
  key: string;
  value: Uint8Array;
}

/** A file with an encrypted private key, as it is kept. */
export interface BackupKeyFile {
  id: string;
  /** PKCS#8 EncryptedPrivateKeyInfo. */
  pem: string;
}

export interface BackupCount {
  entries: number;
  bytes: number;
  /** SHA-256, hexadecimal. */
  sha256: string;
}

export interface BackupManifest {
  /** By what the entries' keys begin with: `nodes`, `certificates`, …; the files of keys stand under `key files`. */
  parts: Record<string, BackupCount>;
  /** Of all parts. */
  whole: BackupCount;
  /** Keys of CAs that are not contained, for they never leave their token; by id. */
  keysElsewhere: string[];
}

export type BackupItem =
  | { type: 'about'; about: BackupAbout }
  | { type: 'entry'; entry: BackupEntry }
  | { type: 'key'; key: BackupKeyFile }
  | { type: 'manifest'; manifest: BackupManifest };

/** The part of the manifest that counts files of keys; no key of the store begins so. */
export const keyFilesPart = 'key files';

export const backupLimits = {
  headerBytes: 1024 * 1024,
  /** Above any entry of a store, and any file of a key. */
  frameBytes: 16 * 1024 * 1024,
  keyCharacters: 4096,
} as const;
