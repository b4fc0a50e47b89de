import { EvercertError } from '@evercert/shared/errors';
import type {
  Compare,
  KeyValue,
  Operation,
  RangeOptions,
  RangeResult,
  SnapshotPage,
  Store,
  TransactionResult,
  WatchEvent,
  WatchOptions,
} from '../store/index.ts';
import type { FencedStore } from './types.ts';

export interface FenceOptions {
  store: Store;
  fence: Compare;
  /** By what this process knows: nothing is sent otherwise. */
  holds: () => boolean;
  /** Called when the store says that it does not. */
  lost: () => void;
  leaderAddress: () => string | undefined;
}

/** The store as a leader writes to it. What it reads is anybody's; what it writes compares the leader's key in the same transaction. */
export class StoreOfLeader implements FencedStore {
  readonly fence: Compare;
  readonly #options: FenceOptions;

  constructor(options: FenceOptions) {
    this.#options = options;
    this.fence = options.fence;
  }

  get shared(): boolean {
    return this.#options.store.shared;
  }

  get(key: string): Promise<KeyValue | undefined> {
    return this.#options.store.get(key);
  }

  range(options: RangeOptions): Promise<RangeResult> {
    return this.#options.store.range(options);
  }

  async transact(compares: Compare[], operations: Operation[]): Promise<TransactionResult> {
    const { store, lost, leaderAddress } = this.#options;
    this.#check();
    const result = await store.transact([...compares, this.fence], operations);
    if (result.succeeded) return result;
    // Revisions are never used twice: the one that is there now, or was then, tells which comparison has failed.
    const leader = await store.get(this.fence.key);
    if (leader?.modRevision === this.fence.modRevision) return result;
    lost();
    throw notLeader(leaderAddress());
  }

  watch(options: WatchOptions): AsyncIterable<WatchEvent[]> {
    return this.#options.store.watch(options);
  }

  async grantLease(ttlSeconds: number): Promise<string> {
    this.#check();
    return this.#options.store.grantLease(ttlSeconds);
  }

  async keepLeaseAlive(lease: string): Promise<void> {
    this.#check();
    return this.#options.store.keepLeaseAlive(lease);
  }

  async revokeLease(lease: string): Promise<void> {
    this.#check();
    return this.#options.store.revokeLease(lease);
  }

  snapshot(options: { prefix: string; signal: AbortSignal }): AsyncIterable<SnapshotPage> {
    return this.#options.store.snapshot(options);
  }

  /** The store under it is whose who opened it. */
  async close(): Promise<void> {}

  #check(): void {
    if (!this.#options.holds()) throw notLeader(this.#options.leaderAddress());
  }
}

/** Says where the leader is, where that is known: `metadata.leader`, `HOST:PORT`. */
export function notLeader(leader: string | undefined): EvercertError {
  const where = leader === undefined ? 'there is none for now: try again in a few seconds' : `that is ${leader}: ask there`;
  return new EvercertError('NotLeader', `this coordinator does not run the controllers; ${where}`, {
    retryAfterMs: 2000,
    ...(leader !== undefined && { metadata: { leader } }),
  });
}
