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
} from '@evercert/coordinator/store';
import { EvercertError } from '@evercert/shared/errors';

/** A store in memory, for what the real code keeps there; it takes no writes while `works` is false. What the simulation does not need, it refuses. */
export class MemoryStore implements Store {
  readonly shared = false;
  works = true;
  readonly #touched: () => void;
  readonly #entries = new Map<string, KeyValue>();
  #revision = 0;

  /** `touched`: promises hang on what is called here, and want to run before time goes on. */
  constructor(touched: () => void) {
    this.#touched = touched;
  }

  async get(key: string): Promise<KeyValue | undefined> {
    this.#touched();
    return this.#entries.get(key);
  }

  async range({ prefix }: RangeOptions): Promise<RangeResult> {
    this.#touched();
    const entries = [...this.#entries.values()].filter(({ key }) => key.startsWith(prefix)).toSorted((a, b) => (a.key < b.key ? -1 : 1));
    return { entries, more: false, revision: this.#revision };
  }

  async transact(compares: Compare[], operations: Operation[]): Promise<TransactionResult> {
    this.#touched();
    if (!this.works) throw new EvercertError('StoreFailure', 'the store does not take writes: a fault of the simulation');
    const holds = compares.every(({ key, modRevision }) => (this.#entries.get(key)?.modRevision ?? 0) === modRevision);
    if (!holds) return { succeeded: false, revision: this.#revision };
    this.#revision += 1;
    for (const operation of operations) this.#apply(operation);
    return { succeeded: true, revision: this.#revision };
  }

  #apply(operation: Operation): void {
    if (operation.type === 'delete') this.#entries.delete(operation.key);
    else if (operation.type === 'deletePrefix') {
      for (const key of this.#entries.keys()) if (key.startsWith(operation.prefix)) this.#entries.delete(key);
    } else {
      const { key, value } = operation;
      const before = this.#entries.get(key);
      const createRevision = before?.createRevision ?? this.#revision;
      this.#entries.set(key, { key, value, createRevision, modRevision: this.#revision, version: (before?.version ?? 0) + 1 });
    }
  }

  watch(): AsyncIterable<WatchEvent[]> {
    throw refused('watch');
  }

  snapshot(): AsyncIterable<SnapshotPage> {
    throw refused('snapshot');
  }

  async grantLease(): Promise<string> {
    throw refused('grantLease');
  }

  async keepLeaseAlive(): Promise<void> {
    throw refused('keepLeaseAlive');
  }

  async revokeLease(): Promise<void> {
    throw refused('revokeLease');
  }

  async close(): Promise<void> {
    this.works = false;
  }
}

function refused(what: string): EvercertError {
  return new EvercertError('FailedPrecondition', `the store of the simulation has no ${what}: use the real one`);
}
