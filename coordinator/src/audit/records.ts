/** Where the log stands: written in one transaction with each block. */
export interface AuditHeadRecord {
  /** Id of the log, made with it. */
  log: string;
  /** Of the last entry; 0: there is none. */
  sequence: number;
  /** The chain's value behind the last line. */
  hash: string;
  /** Number of the last block; 0: there is none. */
  block: number;
  /** Events up to this place in the store's order are sealed: those of a revision go by their keys. */
  position: EventPosition;
  /** Id of the store to whose revisions `position` belongs. */
  store: string;
  /** The log goes on in another store, and not all events that it lacks from there are in it yet: they are found by comparing. */
  relisting?: boolean;
  /** The last signed checkpoint; 0: there is none. */
  checkpointSequence: number;
  checkpointAtMs: number;
  /** First sequence number that the store still has; of the next entry while it has none. */
  oldest: number;
  /** All blocks' values together. */
  bytes: number;
}

export interface EventPosition {
  /** At which the event was created. */
  revision: number;
  /** Empty: every event of the revision. */
  key: string;
}

/** The store itself: one that was restored from a backup or filled from another has no record of it, or one that was made at another revision. */
export interface AuditStoreRecord {
  id: string;
}

/** Left by a restore or a migration for the log to tell of. */
export interface AuditRelinkRecord {
  reason: 'StoreRestored' | 'StoreMigrated';
  atMs: number;
  actor: string;
  message: string;
  details: Record<string, string>;
}

/** The key that signs checkpoints. */
export interface AuditSignerRecord {
  keyId: string;
  /** DER, base64. */
  certificate: string;
  serial: string;
  /** Of the control CA's certificate that issued it. */
  issuerSerial: string;
  issuedAtMs: number;
  notAfterMs: number;
}
