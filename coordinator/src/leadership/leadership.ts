import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord, type LeaderRecord } from '../state/records.ts';
import type { Compare, KeyValue, Operation, Store } from '../store/index.ts';
import { StoreOfLeader } from './fenced-store.ts';
import type { CoordinatorLease } from './lease.ts';
import type { Controllers, Leadership } from './types.ts';

export interface StoreLeadershipOptions {
  store: Store;
  lease: CoordinatorLease;
  /** Of this process; new at each start. */
  id: string;
  /** `HOST:PORT` of this coordinator. */
  address: () => string;
  clock: Clock;
  logger: Logger;
  /** Whoever waits looks again after so long, also when nothing was heard. */
  pollMs: number;
}

/** After controllers that failed to start, another coordinator has so long to do better. */
const restMs = 5000;
const retryMs = 500;

interface Term {
  fence: Compare;
  /** The coordinator's lease that the leader's key hangs on. */
  lease: string | undefined;
  lost: AbortController;
}

/**
 * The election: whoever puts the leader's key while there is none, leads, for as long as the key is there and the lease under it is held. A coordinator that cannot reach the store stops leading
 * before the store lets another begin; what it had sent before fails by the comparison of the key.
 */
export class StoreLeadership implements Leadership {
  readonly id: string;
  readonly #options: StoreLeadershipOptions;
  readonly #leader: Informer<LeaderRecord>;
  readonly #stopping = new AbortController();
  readonly #wakers = new Set<() => void>();
  readonly #stops: (() => void)[] = [];
  #term: Term | undefined;
  #campaign: Promise<void> | undefined;

  constructor(options: StoreLeadershipOptions) {
    this.#options = options;
    this.id = options.id;
    this.#leader = new Informer(options.store, layout.leader, options.logger, options.clock);
  }

  /** Begins to follow who leads. */
  async start(): Promise<void> {
    await this.#leader.start();
    const wake = (): void => this.#wake();
    this.#stops.push(this.#leader.subscribe(wake), this.#options.lease.subscribe(wake));
    this.#stopping.signal.addEventListener('abort', wake, { once: true });
  }

  isLeader(): boolean {
    return this.#term !== undefined && this.#holds(this.#term);
  }

  leaderAddress(): string | undefined {
    return this.isLeader() ? this.#options.address() : this.#leader.get(layout.leader)?.record.address;
  }

  /** Id of the coordinator that leads; undefined: there is none for now. */
  leaderId(): string | undefined {
    return this.isLeader() ? this.id : this.#leader.get(layout.leader)?.record.id;
  }

  run(controllers: Controllers): void {
    this.#campaign ??= this.#run(controllers);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#campaign;
    for (const stop of this.#stops.splice(0)) stop();
    await this.#leader.stop();
  }

  async #run(controllers: Controllers): Promise<void> {
    const { logger } = this.#options;
    for (;;) {
      const term = await this.#elect();
      if (!term) return;
      logger.info('this coordinator runs the controllers now', { coordinator: this.id });
      const failed = await this.#serve(term, controllers);
      await this.#giveUp(term);
      if (failed) await this.#rest(restMs);
    }
  }

  /** Resolves once elected; undefined: it is to stop. */
  async #elect(): Promise<Term | undefined> {
    const { lease, logger, pollMs } = this.#options;
    while (!this.#stopping.signal.aborted) {
      try {
        const term = lease.isHeld() ? await this.#stand() : undefined;
        if (term) return term;
        await this.#pause(pollMs);
      } catch (error) {
        logger.warn('cannot stand for election just now; trying again', { error: describeError(error) });
        await this.#rest(retryMs);
      }
    }
    return undefined;
  }

  /** Undefined: another leads, or was quicker. */
  async #stand(): Promise<Term | undefined> {
    const { store, lease, clock, address } = this.#options;
    const entry = await store.get(layout.leader);
    // A key on no lease was written where a coordinator had its store for itself, and was brought here with everything else.
    if (entry && store.shared && entry.lease !== undefined && !this.#isMine(entry)) return undefined;
    const { id } = lease;
    const record: LeaderRecord = { id: this.id, address: address(), electedAtMs: clock.nowMs() };
    const put: Operation = { type: 'put', key: layout.leader, value: encodeRecord(record), ...(id !== undefined && { lease: id }) };
    const { succeeded, revision } = await store.transact([{ key: layout.leader, modRevision: entry?.modRevision ?? 0 }], [put]);
    if (!succeeded) return undefined;
    this.#leader.accept(layout.leader, record, revision);
    return { fence: { key: layout.leader, modRevision: revision }, lease: id, lost: new AbortController() };
  }

  /** Of an election whose answer was lost, or that was lost by a pause and could not be given up. */
  #isMine({ key, value }: KeyValue): boolean {
    try {
      return decodeRecord<LeaderRecord>(key, value).id === this.id;
    } catch (error) {
      this.#options.logger.debug('a coordinator of another version leads', { error: describeError(error) });
      return false;
    }
  }

  /** Until it is lost, or is to stop. True: the controllers could not start. */
  async #serve(term: Term, controllers: Controllers): Promise<boolean> {
    const { store, logger } = this.#options;
    this.#term = term;
    const fenced = new StoreOfLeader({
      store,
      fence: term.fence,
      holds: () => this.#holds(term),
      lost: () => this.#lose(term),
      leaderAddress: () => this.leaderAddress(),
    });
    try {
      await controllers.start(fenced);
    } catch (error) {
      logger.error('the controllers cannot start; another coordinator may try', { error: describeError(error) });
      this.#term = undefined;
      return true;
    }
    while (this.#holds(term) && !this.#stopping.signal.aborted) await this.#pause(this.#options.pollMs);
    if (!this.#stopping.signal.aborted) logger.warn('this coordinator does not run the controllers any more', { coordinator: this.id });
    try {
      await controllers.stop();
    } catch (error) {
      logger.error('the controllers did not stop as they should', { error: describeError(error) });
    }
    this.#term = undefined;
    return false;
  }

  #holds(term: Term): boolean {
    const { lease } = this.#options;
    if (term.lost.signal.aborted) return false;
    const known = this.#leader.get(layout.leader)?.modRevision;
    // A key that is gone, or another's, is not this term's; an older one is only not heard of yet.
    const current = known !== undefined && known <= term.fence.modRevision;
    if (current && lease.id === term.lease && lease.isHeld()) return true;
    // Once lost is lost: a lease that is held again later would revive what has been told to stop.
    this.#lose(term);
    return false;
  }

  #lose(term: Term): void {
    term.lost.abort();
    this.#wake();
  }

  /** Others need not wait for the lease's end. */
  async #giveUp(term: Term): Promise<void> {
    const { store, logger } = this.#options;
    try {
      await store.transact([term.fence], [{ type: 'delete', key: layout.leader }]);
    } catch (error) {
      logger.debug('the leadership ends with the lease', { error: describeError(error) });
    }
  }

  /** Ends early when the leader's key or the lease changes, or it is to stop. */
  async #pause(ms: number): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.clock.after(ms, () => wake());
      const wake = (): void => {
        timer.cancel();
        this.#wakers.delete(wake);
        resolve();
      };
      this.#wakers.add(wake);
    });
  }

  /** Ends early only when it is to stop. */
  async #rest(ms: number): Promise<void> {
    const { clock } = this.#options;
    await clock.sleep(ms, this.#stopping.signal).catch((error: unknown) => {
      if (!this.#stopping.signal.aborted) throw error;
    });
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }
}
