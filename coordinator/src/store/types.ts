/**
 * The store: a small slice of etcd's data model (https://etcd.io/docs/v3.4/learning/data_model/). All drivers keep these promises, and one contract suite
 * (test/contract/store.ts) runs over each of them.
 *
 * - A transaction is atomic and durable before its promise resolves (invariant 6).
 * - Every successful write transaction raises the store's revision by exactly one; all keys that it writes carry that revision.
 *   A transaction that changes nothing (comparisons only, deletions that hit no key) leaves the revision as it is.
 * - Reads and transactions are linearizable.
 * - One transaction writes a key at most once: a put beside another put or deletion of the same key is InvalidArgument, as etcd has it.
 * - Sizes are bounded, see `storeLimits`; beyond them: InvalidArgument.
 * - A value belongs to the store once it was handed over, and what the store hands out may be shared: neither is changed afterwards.
 * - After `close` everything is refused as Unavailable. Too many transactions that wait: Overloaded.
 */
export interface KeyValue {
  key: string;
  value: Uint8Array;
  /** Revision at which the key was created, after its last deletion. */
  createRevision: number;
  /** Revision of the last write. */
  modRevision: number;
  /** Number of writes since creation; 1 for a new key. */
  version: number;
  /** Lease that the key hangs on; a later put without a lease takes the key off it. */
  lease?: string;
}

export type Compare =
  /** The key's mod revision equals this; 0: the key does not exist. */
  { key: string; modRevision: number };

export type Operation =
  | { type: 'put'; key: string; value: Uint8Array; lease?: string }
  | { type: 'delete'; key: string }
  /** Deletes every key that starts with the prefix. */
  | { type: 'deletePrefix'; prefix: string };

export interface TransactionResult {
  /** False: a comparison failed and nothing was written. */
  succeeded: boolean;
  /** The store's revision after the transaction. */
  revision: number;
}

export interface RangeOptions {
  /** Keys that start with this, in byte order. */
  prefix: string;
  /** Only keys after this one (exclusive), for paging. */
  after?: string;
  /** At most this many; 0 or absent: all. */
  limit?: number;
  /** Descending byte order (then `after` means before). */
  reverse?: boolean;
}

export interface RangeResult {
  entries: KeyValue[];
  /** True: the limit cut the answer. */
  more: boolean;
  /** The store's revision as of the read. */
  revision: number;
}

export interface WatchEvent {
  type: 'put' | 'delete';
  key: string;
  /** Absent on delete. */
  entry?: KeyValue;
  /** Revision of the change. */
  revision: number;
}

export interface WatchOptions {
  prefix: string;
  /** First revision to report; absent: from the next change on. */
  fromRevision?: number;
  signal: AbortSignal;
}

export interface SnapshotPage {
  /** In byte order of the keys, through all pages. */
  entries: KeyValue[];
  /** The store's revision that every page shows. */
  revision: number;
}

export interface Store {
  /** True: other coordinators may have the same store open; who runs the controllers is decided among them. False: it is this process' alone. */
  readonly shared: boolean;
  get(key: string): Promise<KeyValue | undefined>;
  range(options: RangeOptions): Promise<RangeResult>;
  /**
   * Applies the operations if every comparison holds. Errors: StoreFailure (retryable; whether the transaction was applied can be unknown), DiskFull (nothing was applied),
   * NotFound (a lease ran out), InvalidArgument, Overloaded.
   */
  transact(compares: Compare[], operations: Operation[]): Promise<TransactionResult>;
  /**
   * Yields changes in order of revision, several of one revision together. Ends quietly when the signal aborts. Throws FailedPrecondition when `fromRevision` is older than
   * what the store still remembers (compacted): the caller lists again and watches from there. A consumer that falls too far behind gets the same error.
   * The watch begins with this call, not with the first read from it. When the store closes: Unavailable.
   */
  watch(options: WatchOptions): AsyncIterable<WatchEvent[]>;
  /**
   * A lease whose keys are deleted when it runs out. Returns its id. It survives a restart of the store, with what was left of its time; a step of the wall clock does not
   * end it early. InvalidArgument: the time to live is not above 0 and at most a year.
   */
  grantLease(ttlSeconds: number): Promise<string>;
  /** Renews a lease to its whole time to live. NotFound: it ran out. */
  keepLeaseAlive(lease: string): Promise<void>;
  /** Ends a lease and deletes its keys, in one revision. NotFound: it ran out. */
  revokeLease(lease: string): Promise<void>;
  /**
   * Everything under a prefix as it was at one revision, in pages, while writers go on. Keys on leases are told with them. Unavailable, StoreFailure; FailedPrecondition: the
   * revision was compacted while it was read (start again). Ends quietly when the signal aborts.
   */
  snapshot(options: { prefix: string; signal: AbortSignal }): AsyncIterable<SnapshotPage>;
  /** Waits for what is under way, then closes. Idempotent. */
  close(): Promise<void>;
}
