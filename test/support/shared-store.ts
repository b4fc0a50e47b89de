import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';

/** A store that several coordinators of one test have open, each through a line of its own that can be cut. */
export class SharedStore {
  readonly store: Store;
  /** Transactions that were made through any of the lines. */
  transactions = 0;

  private constructor(store: Store) {
    this.store = store;
  }

  static async open(clock: Clock): Promise<SharedStore> {
    return new SharedStore(await openSqliteStore({ file: ':memory:', clock, logger: silentLogger }));
  }

  line(): Line {
    return new Line(this);
  }

  close(): Promise<void> {
    return this.store.close();
  }
}

/** The store as one coordinator reaches it. */
export class Line implements Store {
  readonly shared = true;
  /** Nothing goes through; watches stand still. */
  cut = false;
  readonly #hanging: ((error: EvercertError) => void)[] = [];
  #hangs = false;
  readonly #to: SharedStore;

  constructor(to: SharedStore) {
    this.#to = to;
  }

  /** Calls do not come back, as to a machine that has vanished, until it is set to false: then they fail. */
  set hanging(hangs: boolean) {
    this.#hangs = hangs;
    if (!hangs) for (const fail of this.#hanging.splice(0)) fail(new EvercertError('DeadlineExceeded', 'no answer'));
  }

  readonly get: Store['get'] = (key) => this.#through(() => this.#to.store.get(key));
  readonly range: Store['range'] = (options) => this.#through(() => this.#to.store.range(options));
  readonly grantLease: Store['grantLease'] = (ttl) => this.#through(() => this.#to.store.grantLease(ttl));
  readonly keepLeaseAlive: Store['keepLeaseAlive'] = (lease) => this.#through(() => this.#to.store.keepLeaseAlive(lease));
  readonly revokeLease: Store['revokeLease'] = (lease) => this.#through(() => this.#to.store.revokeLease(lease));
  readonly snapshot: Store['snapshot'] = (options) => this.#to.store.snapshot(options);
  readonly transact: Store['transact'] = (compares, operations) =>
    this.#through(() => {
      this.#to.transactions += 1;
      return this.#to.store.transact(compares, operations);
    });

  async *watch(options: Parameters<Store['watch']>[0]): ReturnType<Store['watch']> {
    for await (const batch of this.#to.store.watch(options)) {
      if (this.cut) throw new EvercertError('Unavailable', 'the line is cut');
      yield batch;
    }
  }

  async close(): Promise<void> {}

  #through<T>(call: () => Promise<T>): Promise<T> {
    if (this.#hangs) return new Promise((_, reject) => this.#hanging.push(reject));
    return this.cut ? Promise.reject(new EvercertError('Unavailable', 'the line is cut')) : call();
  }
}
