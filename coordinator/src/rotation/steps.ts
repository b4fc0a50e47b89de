import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { KeyAlgorithm } from '@evercert/shared/x509';
import type { Authorities } from '../ca/authorities.ts';
import type { NewEvent } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { AuthorityRecord, RotationRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { leavesOf, unseen } from './leaves.ts';
import { newRotation } from './new-rotation.ts';
import type { Outlook } from './outlook.ts';
import { authorityText, type RotationRecords, type RotationStart, type RotationWrite } from './records.ts';
import { activating, ended, otherOf, reissuing, retiring, spreading, type Transition, unusedKeys } from './transitions.ts';

/** Nodes that are named in an event; the others are counted. */
const maxNamed = 20;

export interface StepsOptions {
  records: RotationRecords;
  authorities: Pick<Authorities, 'createNext' | 'createRequest' | 'destroyKeys'>;
  model: Model;
  /** The leader's. */
  store: Store;
  clock: Clock;
  /** `ro-` and ten characters of [a-z0-9]. */
  newId: () => string;
  /** Called at the places where tests end the process. */
  fault: (name: string) => void | Promise<void>;
}

/** Does what a decision allows: each step is recorded with what it changes, in one transaction, so that after a crash it is done again from its begin, or not at all. */
export class RotationSteps {
  readonly #options: StepsOptions;

  constructor(options: StepsOptions) {
    this.#options = options;
  }

  async passed({ stage }: RotationRecord, what: 'begun' | 'acted' | 'done'): Promise<void> {
    await this.#options.fault(`rotation-${stage.replace(/(?<=[a-z])[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}-${what}`);
  }

  /** Makes the step that the rotation is ready for. Returns the record as it is then; the same stage: something came between, or it is not ready after all. */
  async advance(record: RotationRecord, look: Outlook): Promise<RotationRecord> {
    switch (record.stage) {
      case 'Preparing':
        return record.intermediate ? this.#request(record) : this.#prepare(record);
      case 'Spreading':
        return this.#commit(record, (current) =>
          told(activating(current, this.#nowMs()), trustText(look), { warning: !look.decision.through }),
        );
      case 'Activating':
        return this.#commit(record, (current, authority) =>
          told(reissuing(current, authority, this.#nowMs()), 'the new CA signs from here on; certificates by the one before are renewed'),
        );
      case 'Reissuing':
      case 'AbortReissuing':
        return this.#retire(record, look);
      case 'Retiring':
        return this.#commit(record, (current) => this.#complete(current));
      case 'AbortRetiring':
        return this.#endAbort(record);
      case 'AwaitingCertificate':
      case 'Completed':
      case 'Aborted':
        return record;
    }
  }

  /** Keeps a failure with the rotation, for people. */
  async noteFailure(record: RotationRecord, message: string): Promise<void> {
    const { records, store } = this.#options;
    await records.update(
      record,
      (current) =>
        current.lastError === message || current.stage !== record.stage
          ? undefined
          : { record: { ...current, lastError: message }, events: [] },
      store,
    );
  }

  async #prepare(record: RotationRecord): Promise<RotationRecord> {
    const { authorities } = this.#options;
    const authority = await this.#authority(record);
    const next = await authorities.createNext(authority, record.keyAlgorithm as KeyAlgorithm);
    const after = await this.#commit(record, (current, now) =>
      told(
        spreading(current, now, next, this.#nowMs()),
        `the new CA (serial ${next.serial}) is made; nodes are to trust it beside the present one`,
      ),
    );
    // Aborted, or paused, meanwhile: nobody has this key.
    if (after.newKeyId !== next.keyId) await authorities.destroyKeys([next.keyId]);
    return after;
  }

  async #request(record: RotationRecord): Promise<RotationRecord> {
    const { authorities } = this.#options;
    const request = await authorities.createRequest(await this.#authority(record), record.keyAlgorithm as KeyAlgorithm);
    const after = await this.#commit(record, (current) => {
      const waiting: Transition = { record: { ...current, stage: 'AwaitingCertificate', stageSinceMs: this.#nowMs(), request } };
      return told(waiting, 'the request of the new CA is made; the root that is kept offline is to sign it');
    });
    if (after.request?.keyId !== request.keyId) await authorities.destroyKeys([request.keyId]);
    return after;
  }

  async #retire(record: RotationRecord, { question, decision }: Outlook): Promise<RotationRecord> {
    const { store, model, clock } = this.#options;
    const authority = await this.#authority(record);
    const other = otherOf(record);
    const leaves = await leavesOf({ store, model, clock }, authority, other);
    const overdue = !decision.through;
    const left = overdue ? [] : unseen(leaves, question.nodes, question.target);
    if (left.length > 0) return record;
    const cutOff = decision.nodes
      .filter((node) => node.cutOff)
      .map(({ cluster, node }) => (cluster === record.cluster ? node : `${cluster}/${node}`));
    const others = leaves.inUse.filter(({ node }) => node === '').map(({ name }) => name);
    return this.#commit(record, (current, now) => {
      const transition = retiring(current, now, { nowMs: this.#nowMs(), lastLeafMs: leaves.lastEndMs });
      return told(transition, `nodes are to distrust the CA of serial ${other}; ${cutOffText([...cutOff, ...others])}`, {
        warning: cutOff.length > 0,
      });
    });
  }

  async #complete(record: RotationRecord): Promise<RotationWrite> {
    const { next, events } = await this.#following(record);
    const done = ended(record, this.#nowMs());
    const { following: _begun, ...rest } = done.record;
    const write = told({ record: rest }, `nodes trust the CA of serial ${record.newSerial} alone`);
    return { ...write, ...(next && { next }), events: [...write.events, ...events] };
  }

  /** The first of those that follow that can be rotated; those before it are told of, and left out. */
  async #following(record: RotationRecord): Promise<{ next?: RotationStart; events: NewEvent[] }> {
    const { records, newId, store } = this.#options;
    const { following = [], by, reason, note, intermediate, asked = {} } = record;
    const events: NewEvent[] = [];
    for (const [index, place] of following.entries()) {
      const [cluster = '', name = ''] = place.split('/');
      const authority = await records.authority(cluster, name);
      const busy = await store.get(layout.rotatingNow(cluster, name));
      if (!authority || authority.record.keyId === '' || busy) {
        const why = busy ? 'another rotation of it is under way' : 'its key is not here';
        events.push(
          event({ ...record, cluster, authority: name }, 'RotationSkipped', `${name} is not rotated after ${record.id}: ${why}`, true),
        );
        continue;
      }
      const order = { by, reason, note, intermediate: intermediate ?? false, asked, following: following.slice(index + 1) };
      const next = newRotation(authority.record, { ...order, id: newId(), nowMs: this.#nowMs() });
      events.push(event(next, 'RotationStarted', `rotation ${next.id} of ${authorityText(next)} begins, after ${record.id}`));
      return { next: { record: next, authorityRevision: authority.modRevision }, events };
    }
    return { events };
  }

  async #endAbort(record: RotationRecord): Promise<RotationRecord> {
    const authority = await this.#authority(record);
    await this.#options.authorities.destroyKeys(unusedKeys(record, authority));
    return this.#commit(record, (current) =>
      told(ended(current, this.#nowMs()), `nodes trust the CA of serial ${record.oldSerial} alone, as before`),
    );
  }

  async #authority({ cluster, authority: name }: RotationRecord): Promise<AuthorityRecord> {
    const found = await this.#options.records.authority(cluster, name);
    if (!found) throw new EvercertError('NotFound', `${name} of cluster ${cluster} is gone`);
    return found.record;
  }

  /** Only from the stage that was decided on, and not while it is paused. */
  async #commit(
    record: RotationRecord,
    make: (current: RotationRecord, authority: AuthorityRecord) => RotationWrite | Promise<RotationWrite>,
  ): Promise<RotationRecord> {
    const { records, store } = this.#options;
    await this.passed(record, 'acted');
    const after = await records.update(
      record,
      (current, authority) => (current.stage !== record.stage || current.pausedAtMs !== undefined ? undefined : make(current, authority)),
      store,
    );
    if (after.stage !== record.stage) await this.passed(record, 'done');
    return after;
  }

  #nowMs(): number {
    return this.#options.clock.nowMs();
  }
}

/** A transition with the event that tells of it. */
function told(transition: Transition, message: string, { warning = false }: { warning?: boolean } = {}): RotationWrite {
  const { record } = transition;
  return {
    ...transition,
    events: [
      event(record, `Rotation${record.stage}`, `rotation ${record.id} of ${authorityText(record)} is ${record.stage}: ${message}`, warning),
    ],
  };
}

export function event(
  record: RotationRecord,
  reason: string,
  message: string,
  warning = false,
  actor = `coordinator/rotation/${record.id}`,
): NewEvent {
  const ofCluster = record.cluster === layout.controlScope ? {} : { cluster: record.cluster };
  const { id, authority, stage, oldSerial, newSerial, bundleVersion } = record;
  return {
    ...ofCluster,
    actor,
    reason,
    message,
    details: { rotationId: id, authority, stage, oldSerial, newSerial, bundleVersion, rotationReason: record.reason },
    ...(warning && { warning }),
    ...(record.newSerial !== '' && { serial: record.newSerial }),
  };
}

function trustText({ decision }: Outlook): string {
  if (decision.through) return 'every node trusts the new CA beside the present one';
  const behind = decision.nodes.filter(({ state }) => state === 'Waiting' || state === 'Behind').map(({ node }) => node);
  return `the deadline has passed, and these nodes do not trust the new CA yet: ${named(behind)}`;
}

function cutOffText(names: readonly string[]): string {
  return names.length === 0 ? 'nobody is cut off by it' : `cut off until they are repaired: ${named(names)}`;
}

function named(names: readonly string[]): string {
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : '';
  return names.slice(0, maxNamed).join(', ') + more;
}
