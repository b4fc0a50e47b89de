import { EvercertError } from '@evercert/shared/errors';
import type { ActionJournal, JournalEntry } from './journal.ts';
import type { MachineKeeper, MachineOrder, MachineView } from './types.ts';

export interface MachineHostOptions {
  /** The one cluster whose machines these are. */
  cluster: string;
  keeper: MachineKeeper;
  journal: ActionJournal;
}

interface Action {
  cluster: string;
  idempotencyKey: string;
}

/** Actions that wait for their turn; a caller with more of them has gone wild. */
const maxWaiting = 32;
const retryAfterMs = 1000;

/**
 * Makes and removes machines, each action once for its idempotency key. A key stands for the machine that there was when it first came: it never removes one that was made later under the same name.
 */
export class MachineHost {
  readonly #cluster: string;
  readonly #keeper: MachineKeeper;
  readonly #journal: ActionJournal;
  /** Generation of each machine that is there now. */
  readonly #generations = new Map<string, number>();
  #lastGeneration: number;
  #turn: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #closed = false;

  constructor({ cluster, keeper, journal }: MachineHostOptions) {
    this.#cluster = cluster;
    this.#keeper = keeper;
    this.#journal = journal;
    this.#lastGeneration = journal.lastGeneration;
    for (const { name } of keeper.list()) this.#generations.set(name, this.#nextGeneration());
  }

  list(): MachineView[] {
    return this.#keeper.list();
  }

  /** Errors: AlreadyExists (another machine of the name is there), FailedPrecondition (another cluster; the key was used for something else), Overloaded, Unavailable (it ends). */
  create(action: Action & MachineOrder): Promise<string> {
    const { name } = action;
    return this.#once('create', name, action, (begun) => {
      const present = this.#generations.get(name);
      // Made under this key, and only the journal could not be written then.
      if (begun && present === begun.generation) return { generation: present, act: async () => `the machine ${name} is there` };
      if (present !== undefined)
        throw new EvercertError('AlreadyExists', `there is a machine ${name}: it is to be removed before another of its name is made`);
      const generation = this.#nextGeneration();
      return {
        generation,
        act: async () => {
          const message = await this.#keeper.create(action);
          this.#generations.set(name, generation);
          return message;
        },
      };
    });
  }

  /** A machine that is not there is no error. Errors: as for `create`, and FailedPrecondition for a control-plane node. */
  remove(action: Action & { name: string }): Promise<string> {
    const { name } = action;
    return this.#once('remove', name, action, (begun) => {
      const machine = this.#keeper.list().find((each) => each.name === name);
      if (machine?.role === 'control-plane')
        throw new EvercertError('FailedPrecondition', `${name} is a control-plane node, which is never removed: repair it`);
      const generation = begun?.generation ?? this.#generations.get(name) ?? 0;
      return {
        generation,
        act: async () => {
          if (!machine || this.#generations.get(name) !== generation) return `the machine ${name} is not there any more`;
          const message = await this.#keeper.remove(name);
          this.#generations.delete(name);
          return message;
        },
      };
    });
  }

  /** Refuses all from now on; resolves when what is under way has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
  }

  async #once(
    kind: JournalEntry['action'],
    machine: string,
    { cluster, idempotencyKey: key }: Action,
    prepare: (begun: JournalEntry | undefined) => { generation: number; act: () => Promise<string> },
  ): Promise<string> {
    if (cluster !== this.#cluster)
      throw new EvercertError('FailedPrecondition', `this host has the machines of cluster ${this.#cluster}, none of ${cluster}`);
    return await this.#inTurn(async () => {
      const earlier = this.#journal.get(key);
      if (earlier && (earlier.action !== kind || earlier.machine !== machine))
        throw new EvercertError(
          'FailedPrecondition',
          `the idempotency key ${key} was used before, to ${earlier.action} ${earlier.machine}`,
        );
      if (earlier?.state === 'done') return earlier.message;
      const { generation, act } = prepare(earlier);
      const entry: JournalEntry = { key, action: kind, machine, generation, state: 'begun', message: '' };
      await this.#journal.put(entry);
      const message = await act();
      await this.#journal.put({ ...entry, state: 'done', message });
      return message;
    });
  }

  /** One action after the other. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new EvercertError('Unavailable', 'the local cluster ends: no machine is made or removed any more');
    if (this.#waiting >= maxWaiting)
      throw new EvercertError('Overloaded', `${maxWaiting} actions on machines wait already: try again later`, { retryAfterMs });
    this.#waiting += 1;
    const before = this.#turn;
    const mine = (async () => {
      await before;
      if (this.#closed) throw new EvercertError('Unavailable', 'the local cluster ends: no machine is made or removed any more');
      return await work();
    })();
    // Whoever comes next waits for the end of this one, however it ends.
    this.#turn = mine.then(
      () => undefined,
      () => undefined,
    );
    return await mine.finally(() => {
      this.#waiting -= 1;
    });
  }

  #nextGeneration(): number {
    this.#lastGeneration += 1;
    return this.#lastGeneration;
  }
}
