import type { Clock } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type CoordinatorRecord, encodeRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';
import type { CoordinatorLease } from './lease.ts';

export interface CoordinatorsOptions {
  store: Store;
  lease: CoordinatorLease;
  clock: Clock;
  logger: Logger;
  /** In [0, 1). */
  random: () => number;
  /** Nodes whose streams are at a coordinator, as far as is known here. */
  nodesAt: (coordinator: string) => number;
}

const retryMs = 1000;

/** Which coordinators serve: each has a record on its lease for as long as it wants to be found. */
export class Coordinators {
  readonly informer: Informer<CoordinatorRecord>;
  readonly #options: CoordinatorsOptions;
  #own: CoordinatorRecord | undefined;
  #stopListening: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();
  #left = false;

  constructor(options: CoordinatorsOptions) {
    this.#options = options;
    this.informer = new Informer(options.store, layout.coordinators, options.logger, options.clock);
  }

  start(): Promise<void> {
    return this.informer.start();
  }

  async stop(): Promise<void> {
    this.#stopListening?.();
    await this.#writing;
    await this.informer.stop();
  }

  /** From now on this coordinator is told to agents and admins; again whenever its record is lost. Where the store cannot be reached, it goes on trying. */
  async join(record: CoordinatorRecord): Promise<void> {
    const { lease } = this.#options;
    this.#own = record;
    await this.#forgetEarlier();
    const again = (): void => {
      this.#writing = this.#writing.then(() => this.#write());
    };
    const ends = [
      lease.subscribe(again),
      this.informer.subscribe(({ key, type }) => type === 'delete' && key === keyOf(record) && again()),
    ];
    this.#stopListening = () => {
      for (const end of ends) end();
    };
    again();
    await this.#writing;
  }

  /** Nobody is sent here any more. */
  async leave(): Promise<void> {
    const own = this.#left ? undefined : this.#own;
    this.#left = true;
    this.#stopListening?.();
    await this.#writing;
    if (!own) return;
    await this.#options.store.transact([], [{ type: 'delete', key: keyOf(own) }]).catch((error: unknown) => {
      this.#options.logger.debug('this coordinator is told of until its lease ends', { error: describeError(error) });
    });
  }

  /** All that serve, in the order of their start. */
  list(): CoordinatorRecord[] {
    return this.informer.list().sort((a, b) => a.startedAtMs - b.startedAtMs || (a.id < b.id ? -1 : 1));
  }

  /** `HOST:PORT` of all that serve now, this one included. */
  endpoints(): string[] {
    const own = this.#own && !this.#left ? [this.#own.address] : [];
    return [...new Set([...own, ...this.list().map(({ address }) => address)])];
  }

  /** Of all others: those first that have fewer nodes, in an order by chance among those that have about as many, so that a herd that is sent away does not go to one. */
  others(): string[] {
    const { random, nodesAt } = this.#options;
    const others = this.list().filter(({ id, address }) => id !== this.#own?.id && address !== this.#own?.address);
    const most = Math.max(...others.map(({ id }) => nodesAt(id)));
    // By chance, in proportion to the room that there is: the fullest still gets some.
    const drawn = others.map(({ id, address }) => ({ address, lot: random() ** (1 / (1 + most - nodesAt(id))) }));
    return [...new Set(drawn.sort((a, b) => b.lot - a.lot).map(({ address }) => address))];
  }

  /** What a crash left in a store that nobody else had, also when it was moved here since: nothing hangs on a lease there. */
  async #forgetEarlier(): Promise<void> {
    const { store, logger } = this.#options;
    try {
      const { entries } = await store.range({ prefix: layout.coordinators });
      for (const { key, modRevision } of entries.filter(({ lease }) => lease === undefined)) {
        await store.transact([{ key, modRevision }], [{ type: 'delete', key }]);
      }
    } catch (error) {
      logger.warn('cannot look for coordinators that are gone', { error: describeError(error) });
    }
  }

  async #write(): Promise<void> {
    const { store, lease, clock, logger } = this.#options;
    const own = this.#own;
    if (!own || this.#left || !lease.isHeld()) return;
    const key = keyOf(own);
    const { id } = lease;
    const put: Operation = { type: 'put', key, value: encodeRecord(own), ...(id !== undefined && { lease: id }) };
    try {
      const entry = await store.get(key);
      if (entry && entry.lease === id) return;
      const { revision } = await store.transact([], [put]);
      this.informer.accept(key, own, revision);
    } catch (error) {
      logger.warn('cannot tell others that this coordinator serves; trying again', { error: describeError(error) });
      clock.after(retryMs, () => {
        this.#writing = this.#writing.then(() => this.#write());
      });
    }
  }
}

function keyOf({ id }: CoordinatorRecord): string {
  return layout.coordinator(id);
}
