import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { type AuthorityRecord, decodeRecord, encodeRecord, type RotatingRecord, type RotationRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';

/** A change that loses against another is decided again, so many times. */
const maxAttempts = 8;

/** The state of a rotation and its CA, to be written together. */
export interface RotationWrite {
  record: RotationRecord;
  /** Absent: the CA stays as it is; that it still is so is compared all the same. */
  authority?: AuthorityRecord;
  /** The rotation that begins as this one ends. */
  next?: RotationStart;
  events: NewEvent[];
}

export interface RotationStart {
  record: RotationRecord;
  authorityRevision: number;
}

export type Decide = (record: RotationRecord, authority: AuthorityRecord) => RotationWrite | undefined | Promise<RotationWrite | undefined>;

export interface RotationRecordsOptions {
  store: Store;
  /** Puts a CA that was written into memory at once. */
  accept: (authority: AuthorityRecord, revision: number) => void;
  events: EventRecorder;
  logger: Logger;
}

/** The records of all rotations, in memory and in the store. Each change is one transaction that compares the rotation's record and its CA's. */
export class RotationRecords {
  readonly informer: Informer<RotationRecord>;
  readonly #options: RotationRecordsOptions;

  constructor(options: RotationRecordsOptions) {
    this.#options = options;
    this.informer = new Informer(options.store, layout.rotations, options.logger);
  }

  start(): Promise<void> {
    return this.informer.start();
  }

  stop(): Promise<void> {
    return this.informer.stop();
  }

  /** Newest first; empty cluster: those of all. */
  list(cluster: string): RotationRecord[] {
    const found = this.informer.list(cluster === '' ? layout.rotations : layout.rotationsOf(cluster));
    return found.sort((a, b) => b.startedAtMs - a.startedAtMs || (a.id < b.id ? 1 : -1));
  }

  running(cluster = ''): RotationRecord[] {
    return this.list(cluster).filter((record) => !hasEnded(record));
  }

  runningOf(cluster: string, authority: string): RotationRecord | undefined {
    return this.running(cluster).find((record) => record.authority === authority);
  }

  /** NotFound: there is no such rotation. */
  find(id: string): RotationRecord {
    const found = this.informer.list().find((record) => record.id === id);
    if (!found) throw rotationNotFound(id);
    return found;
  }

  /** A CA as the store has it now; undefined when there is none. */
  async authority(cluster: string, name: string): Promise<{ record: AuthorityRecord; modRevision: number } | undefined> {
    const key = authorityKey(cluster, name);
    const entry = await this.#options.store.get(key);
    return entry && { record: decodeRecord<AuthorityRecord>(key, entry.value), modRevision: entry.modRevision };
  }

  /** FailedPrecondition: another rotation of the CA is under way. Conflict: the CA has changed since it was read. */
  async begin(start: RotationStart, events: NewEvent[]): Promise<void> {
    const { compares, operations } = this.#startOf(start);
    const { succeeded, revision } = await this.#options.store.transact(compares, [...operations, ...this.#told(events)]);
    if (succeeded) {
      this.informer.accept(keyOf(start.record), start.record, revision);
      return;
    }
    const { cluster, authority } = start.record;
    const other = await this.#options.store.get(layout.rotatingNow(cluster, authority));
    if (other) throw underWay(authority, decodeRecord<RotatingRecord>(other.key, other.value).id);
    throw new EvercertError('Conflict', `${authority} changed under this request: try again`, { retryAfterMs: 100 });
  }

  /**
   * Changes a rotation as the store has it now, with its CA, and is asked again when another change came between. Undefined from `decide`: it stays as it is. Errors: NotFound, Conflict,
   * StoreFailure; with a leader's store NotLeader.
   *
   * @param store absent: that of all coordinators.
   */
  async update(
    { cluster, id }: Pick<RotationRecord, 'cluster' | 'id'>,
    decide: Decide,
    store: Store = this.#options.store,
  ): Promise<RotationRecord> {
    const key = layout.rotation(cluster, id);
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const entry = await store.get(key);
      if (!entry) throw rotationNotFound(id);
      const before = decodeRecord<RotationRecord>(key, entry.value);
      const authority = await this.authority(cluster, before.authority);
      if (!authority)
        throw new EvercertError('NotFound', `${before.authority} of ${cluster} is gone: its rotation ${id} has nothing to do any more`);
      const write = await decide(before, authority.record);
      if (!write) return before;
      const ofAuthority = authorityKey(cluster, before.authority);
      const next = write.next && this.#startOf(write.next);
      const { succeeded, revision } = await store.transact(
        [{ key, modRevision: entry.modRevision }, { key: ofAuthority, modRevision: authority.modRevision }, ...(next?.compares ?? [])],
        [
          { type: 'put', key, value: encodeRecord(write.record) },
          ...(write.authority ? [{ type: 'put' as const, key: ofAuthority, value: encodeRecord(write.authority) }] : []),
          ...(hasEnded(write.record) ? [{ type: 'delete' as const, key: layout.rotatingNow(cluster, before.authority) }] : []),
          ...(next?.operations ?? []),
          ...this.#told(write.events),
        ],
      );
      if (!succeeded) continue;
      this.#accept(write, revision);
      return write.record;
    }
    throw new EvercertError('Conflict', `rotation ${id}, or its CA, keeps changing under it: try again`, { retryAfterMs: 1000 });
  }

  #accept({ record, authority, next }: RotationWrite, revision: number): void {
    if (authority) this.#options.accept(authority, revision);
    this.informer.accept(keyOf(record), record, revision);
    if (next) this.informer.accept(keyOf(next.record), next.record, revision);
  }

  #startOf({ record, authorityRevision }: RotationStart): { compares: Compare[]; operations: Operation[] } {
    const { cluster, authority, id } = record;
    const lock = layout.rotatingNow(cluster, authority);
    return {
      compares: [
        { key: keyOf(record), modRevision: 0 },
        { key: lock, modRevision: 0 },
        { key: authorityKey(cluster, authority), modRevision: authorityRevision },
      ],
      operations: [
        { type: 'put', key: keyOf(record), value: encodeRecord(record) },
        { type: 'put', key: lock, value: encodeRecord<RotatingRecord>({ id }) },
      ],
    };
  }

  #told(events: readonly NewEvent[]): Operation[] {
    return events.map((event) => this.#options.events.operation(event));
  }
}

export function hasEnded({ stage }: Pick<RotationRecord, 'stage'>): boolean {
  return stage === 'Completed' || stage === 'Aborted';
}

export function authorityKey(cluster: string, name: string): string {
  return cluster === layout.controlScope ? layout.controlCa : layout.authority(cluster, name);
}

/** For people: the control CA belongs to no cluster. */
export function authorityText({ cluster, authority }: Pick<RotationRecord, 'cluster' | 'authority'>): string {
  return cluster === layout.controlScope ? authority : `${authority} of cluster ${cluster}`;
}

export function underWay(authority: string, id: string): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `rotation ${id} of ${authority} is under way already: 'evercert ca status' shows it, 'evercert ca abort' ends it`,
    { metadata: { rotation: id } },
  );
}

function rotationNotFound(id: string): EvercertError {
  return new EvercertError('NotFound', `rotations "${id.slice(0, 40)}" not found: 'evercert ca status' lists them`, {
    metadata: { rotation: id.slice(0, 40) },
  });
}

function keyOf({ cluster, id }: Pick<RotationRecord, 'cluster' | 'id'>): string {
  return layout.rotation(cluster, id);
}
