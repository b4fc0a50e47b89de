import type { Compare, Store } from '../store/index.ts';

/** Whether this coordinator runs the controllers. One of several does, elected by a lease of the store; with a store of its own, a coordinator always does. */
export interface Leadership {
  /** Of this process; new at each start. */
  readonly id: string;
  /** True from the election until shortly before the lease could have run out by the monotonic clock: two coordinators never both say so. */
  isLeader(): boolean;
  /** Address of the leader; undefined: there is none for now. */
  leaderAddress(): string | undefined;
  /**
   * Runs `controllers` while this coordinator leads. `start` is called after each election and awaited; `stop` when the leadership is lost or given up, and awaited before it is given up.
   * A start that fails gives the leadership up.
   */
  run(controllers: Controllers): void;
  /** Gives the leadership up and the membership with it. Idempotent. */
  stop(): Promise<void>;
}

export interface Controllers {
  /** @param fenced writes only while this very election holds: a leader that was replaced without knowing it changes nothing. */
  start(fenced: FencedStore): Promise<void>;
  stop(): Promise<void>;
}

/** A store whose every transaction compares the leader's key too. NotLeader: the comparison failed for that reason. */
export interface FencedStore extends Store {
  readonly fence: Compare;
}
