import type { AppliedObject, RevocationMatch } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { manifestLimits, type RenewRevocation, toYaml } from '@evercert/shared/manifest';
import type { DesiredStates } from '../desired/desired-states.ts';
import { revocationDetails } from '../events/details.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { entryRecord, revocationDocument } from '../revocation/documents.ts';
import { effectsOf, effectsOfDeletion } from '../revocation/effects.ts';
import type { Revocations } from '../revocation/index.ts';
import { findSuccessors } from '../revocation/successors.ts';
import type { Cached } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { encodeRecord, type RevocationEpochRecord, type RevocationRecord } from '../state/records.ts';
import type { Compare, Operation, Store } from '../store/index.ts';

/** A longer document is kept in its canonical form alone. */
const maxOriginalLength = 128 * 1024;
/** Tries to record successors that came while an object was being written. */
const maxAttempts = 5;

export interface RevocationChangesOptions {
  store: Store;
  model: Model;
  desired: DesiredStates;
  revocations: Revocations;
  events: EventRecorder;
  clock: Clock;
  /** Whether an object is kept at an API server that this coordinator follows: it is changed and deleted there. */
  keptElsewhere: (record: RevocationRecord) => boolean;
}

/** Of objects that come from an API server. */
export const kubernetesSource = 'kubernetes';

/** Where an object comes from. */
export interface RevocationOrigin {
  source: string;
  /** Of the object at the API server. */
  uid?: string;
}

/** One object as an apply would have it. */
export interface RevocationChange {
  object: AppliedObject;
  record: RevocationRecord;
  /** Revision of what is there; 0: nothing. */
  modRevision: number;
  /** Entries that the cluster gets more by it; less than 0: it loses some. */
  added: number;
}

/** RenewRevocation objects as they are applied and deleted, and what that does. */
export class RevocationChanges {
  readonly #options: RevocationChangesOptions;

  constructor(options: RevocationChangesOptions) {
    this.#options = options;
  }

  /**
   * What a document makes of its object, beside the changes before it; nothing is written. InvalidManifest: the cluster would have too many entries. FailedPrecondition: the object of this name is
   * kept elsewhere.
   */
  async of(
    cluster: string,
    document: RenewRevocation,
    {
      original,
      origin: { source, uid },
      before: pending,
    }: { original: string | undefined; origin: RevocationOrigin; before: readonly RevocationChange[] },
  ): Promise<RevocationChange> {
    const { revocations, clock } = this.#options;
    const { name, namespace = '' } = document.metadata;
    const cached = revocations.objects.get(layout.revocation(cluster, name));
    const earlier = cached?.record;
    if (earlier && source !== kubernetesSource) this.#refuseElsewhere(earlier, 'changed');
    const nowMs = clock.nowMs();
    const entries = document.spec.revocations.map((entry) => entryRecord(entry, earlier?.entries ?? [], nowMs));
    const added = entries.length - (earlier?.entries.length ?? 0);
    checkCount(pending.reduce((sum, change) => sum + change.added, revocations.entries(cluster) + added));
    const draft: RevocationRecord = {
      cluster,
      name,
      namespace,
      apiVersion: document.apiVersion,
      description: document.spec.description,
      entries,
      generation: (earlier?.generation ?? 0) + 1,
      createdAtMs: earlier?.createdAtMs ?? nowMs,
      updatedAtMs: nowMs,
      source,
      ...(uid !== undefined && { uid }),
      yaml: '',
    };
    const [before, after] = [earlier ? toYaml(revocationDocument(earlier)) : '', toYaml(revocationDocument(draft))];
    const yaml = original !== undefined && original.length <= maxOriginalLength ? original : after;
    const action = before === '' ? 'created' : before === after && earlier?.uid === uid ? 'unchanged' : 'configured';
    const object = { kind: 'RenewRevocation', name, action, before, after };
    const record = action === 'unchanged' && earlier ? earlier : { ...(await this.#withSuccessors(draft)), yaml };
    return { object, record, added, modRevision: cached?.modRevision ?? 0 };
  }

  /** What it takes to write changes of one cluster, in one transaction with others. */
  write(
    cluster: string,
    changes: readonly RevocationChange[],
  ): { compares: Compare[]; operations: Operation[]; accept: (revision: number) => void } {
    const { revocations } = this.#options;
    const changed = changes.filter(({ object }) => object.action !== 'unchanged');
    if (changed.length === 0) return { compares: [], operations: [], accept: () => {} };
    const puts = changed.map(({ record, modRevision }) => ({ key: layout.revocation(cluster, record.name), record, modRevision }));
    const epoch = this.#epoch(cluster);
    return {
      compares: puts.map(({ key, modRevision }) => ({ key, modRevision })),
      operations: [...puts.map(({ key, record }): Operation => ({ type: 'put', key, value: encodeRecord(record) })), epoch.operation],
      accept: (revision) => {
        for (const { key, record } of puts) revocations.objects.accept(key, record, revision);
        epoch.accept(revision);
      },
    };
  }

  /** What these objects match, as they would be. */
  effects(cluster: string, changes: readonly RevocationChange[]): Promise<RevocationMatch[]> {
    return effectsOf(
      this.#sources(),
      cluster,
      changes.map(({ record }) => record),
    );
  }

  /**
   * After the commit: a renewal that was decided just before it may have brought a successor that nobody saw. None can come any more, since each issue compares the
   * revocations' epoch.
   */
  async completeSuccessors(cluster: string, changes: readonly RevocationChange[]): Promise<void> {
    const { revocations, store, events } = this.#options;
    for (const { record } of changes) {
      const key = layout.revocation(cluster, record.name);
      for (let attempt = 0; ; attempt++) {
        const cached = revocations.objects.get(key);
        if (!cached || cached.record.generation !== record.generation) break;
        const completed = await this.#withSuccessors(cached.record);
        if (sameSuccessors(completed, cached.record)) break;
        const epoch = this.#epoch(cluster);
        const put: Operation = { type: 'put', key, value: encodeRecord(completed) };
        const event = events.operation({
          cluster,
          actor: 'coordinator',
          reason: 'RenewRevocationExtended',
          message: `RenewRevocation ${record.name} takes in certificates that were renewed while it was applied`,
          details: revocationDetails(completed),
        });
        const { succeeded, revision } = await store.transact([{ key, modRevision: cached.modRevision }], [put, epoch.operation, event]);
        if (succeeded) {
          revocations.objects.accept(key, completed, revision);
          epoch.accept(revision);
        } else if (attempt === maxAttempts) {
          throw new EvercertError('Conflict', `RenewRevocation ${record.name} keeps changing under this request: apply it again`);
        }
      }
    }
  }

  /** Puts one object in force, as an apply of it alone would. Returns what became of it. Errors: InvalidManifest, Conflict. */
  async put(cluster: string, document: RenewRevocation, origin: RevocationOrigin, actor: string): Promise<RevocationChange> {
    const { store, events } = this.#options;
    const change = await this.of(cluster, document, { original: undefined, origin, before: [] });
    const { action, name } = change.object;
    if (action === 'unchanged') return change;
    const { compares, operations, accept } = this.write(cluster, [change]);
    const message = `${action} RenewRevocation ${name}`;
    const details = revocationDetails(change.record);
    const event = events.operation({ cluster, actor, reason: 'RenewRevocationApplied', message, details });
    const { succeeded, revision } = await store.transact(compares, [...operations, event]);
    if (!succeeded) throw new EvercertError('Conflict', `RenewRevocation ${name} changed at the same time: try again`);
    accept(revision);
    await this.completeSuccessors(cluster, [change]);
    return change;
  }

  /** Deletes an object; with dryRun only tells what it releases. Errors: NotFound, Conflict, FailedPrecondition (it is kept elsewhere). */
  async remove(cluster: string, name: string, dryRun: boolean, actor: string): Promise<RevocationMatch[]> {
    const cached = this.#options.revocations.objects.get(layout.revocation(cluster, name));
    if (!cached) throw revocationNotFound(cluster, name);
    this.#refuseElsewhere(cached.record, 'deleted');
    const released = await effectsOfDeletion(this.#sources(), cached.record);
    if (!dryRun) await this.lift(cached, actor);
    return released;
  }

  /** Deletes an object as it was read. Conflict: it is another by now. */
  async lift({ record, modRevision }: Cached<RevocationRecord>, actor: string): Promise<void> {
    const { revocations, store, events } = this.#options;
    const { cluster, name, entries } = record;
    const key = layout.revocation(cluster, name);
    const epoch = this.#epoch(cluster);
    const message = `deleted RenewRevocation ${name} (${entries.length} entries)`;
    const { succeeded, revision } = await store.transact(
      [{ key, modRevision }],
      [
        { type: 'delete', key },
        epoch.operation,
        events.operation({ cluster, actor, reason: 'RenewRevocationDeleted', message, details: revocationDetails(record) }),
      ],
    );
    if (!succeeded) throw new EvercertError('Conflict', `RenewRevocation ${name} changed under this request: try again`);
    revocations.objects.drop(key, revision);
    epoch.accept(revision);
  }

  #refuseElsewhere(record: RevocationRecord, done: 'changed' | 'deleted'): void {
    if (!this.#options.keptElsewhere(record)) return;
    const { cluster, name, namespace, apiVersion } = record;
    const there = `kubectl -n ${namespace} ${done === 'deleted' ? 'delete' : 'edit'} renewrevocations.${apiVersion.split('/')[0]} ${name}`;
    throw new EvercertError(
      'FailedPrecondition',
      `RenewRevocation ${name} comes from the API server of cluster ${cluster}: it is ${done} there ('${there}'); where that is gone for good, see docs/kubernetes.md, 'When the API server is gone'`,
      { metadata: { cluster, revocation: name, source: record.source } },
    );
  }

  /** Adds the successors that there are by now to those that were recorded. */
  async #withSuccessors(record: RevocationRecord): Promise<RevocationRecord> {
    const found = await findSuccessors(this.#options, record.cluster, record.entries.filter(isNew(record)));
    const byEntry = new Map(record.entries.filter(isNew(record)).map((entry, index) => [entry, found[index] ?? []]));
    const entries = record.entries.map((entry) => {
      const successors = byEntry.get(entry);
      return successors ? { ...entry, successorSerials: [...new Set([...successors, ...entry.successorSerials])] } : entry;
    });
    return { ...record, entries };
  }

  #epoch(cluster: string): { operation: Operation; accept: (revision: number) => void } {
    const { revocations, clock } = this.#options;
    const key = layout.revocationEpoch(cluster);
    const record: RevocationEpochRecord = { changedAtMs: clock.nowMs() };
    return {
      operation: { type: 'put', key, value: encodeRecord(record) },
      accept: (revision) => revocations.epochs.accept(key, record, revision),
    };
  }

  #sources(): Parameters<typeof effectsOf>[0] {
    const { model, desired, revocations, clock } = this.#options;
    return { model, desired, revocations, nowMs: () => clock.nowMs() };
  }
}

/** Successors count up to the moment at which their entry came, not up to a later update of the object. */
function isNew(record: RevocationRecord): (entry: { addedAtMs: number }) => boolean {
  return ({ addedAtMs }) => addedAtMs === record.updatedAtMs;
}

function sameSuccessors(a: RevocationRecord, b: RevocationRecord): boolean {
  return a.entries.every(({ successorSerials }, index) => successorSerials.length === b.entries[index]?.successorSerials.length);
}

function checkCount(count: number): void {
  const most = manifestLimits.revocationEntriesOfCluster;
  if (count <= most) return;
  throw new EvercertError(
    'InvalidManifest',
    `the cluster would have ${count} revocation entries, expected at most ${most}: delete objects whose certificates have all expired`,
  );
}

export function revocationNotFound(cluster: string, name: string): EvercertError {
  return new EvercertError('NotFound', `revocations "${name}" not found in cluster ${cluster}`, {
    metadata: { cluster, revocation: name },
  });
}
