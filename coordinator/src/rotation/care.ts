import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { type RotationPolicy, rotationPolicyOf } from '@evercert/shared/manifest';
import type { Authorities } from '../ca/authorities.ts';
import { spentGenerations, withKeyDestroyed } from '../ca/generations.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { type AuthorityEndingRecord, type AuthorityRecord, decodeRecord, encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import { beginsByItself, endingOf, isWorse } from './endings.ts';
import { newRotation } from './new-rotation.ts';
import { authorityKey, authorityText, type RotationRecords } from './records.ts';
import { event } from './steps.ts';

export interface AuthorityCareOptions {
  records: RotationRecords;
  authorities: Pick<Authorities, 'destroyKeys'>;
  model: Model;
  events: EventRecorder;
  controlPolicy: RotationPolicy;
  /** The leader's. */
  store: Store;
  clock: Clock;
  logger: Logger;
  newId: () => string;
  /** Between two looks. */
  everyMs: number;
}

/** What ended longer ago is forgotten; the audit log tells of it. */
const endedMs = 400 * 86_400_000;
const maxForgotten = 50;

/** Looks after CAs between their rotations, at the leader: destroys keys that nobody needs any more, tells when an end is near, and begins rotations that begin by themselves. */
export class AuthorityCare {
  readonly #options: AuthorityCareOptions;
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  constructor(options: AuthorityCareOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(0);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  /** One look at every CA. */
  async look(): Promise<void> {
    const { model, logger } = this.#options;
    const places = [
      ...model.authorities.list().map(({ cluster, name }) => ({ cluster, name })),
      { cluster: layout.controlScope, name: 'control-ca' },
    ];
    for (const { cluster, name } of places) {
      if (this.#stopped) return;
      try {
        await this.#lookAt(cluster, name);
      } catch (error) {
        logger.warn('a CA cannot be looked after just now', { cluster, authority: name, error: describeError(error) });
      }
    }
    await this.#forgetEnded().catch((error: unknown) => {
      logger.warn('ended rotations cannot be tidied up just now', { error: describeError(error) });
    });
  }

  async #forgetEnded(): Promise<void> {
    const { records, store, clock } = this.#options;
    const old = records.list('').filter(({ endedAtMs }) => endedAtMs !== undefined && clock.nowMs() - endedAtMs > endedMs);
    if (old.length === 0) return;
    await store.transact(
      [],
      old.slice(0, maxForgotten).map(({ cluster, id }) => ({ type: 'delete', key: layout.rotation(cluster, id) })),
    );
  }

  async #lookAt(cluster: string, name: string): Promise<void> {
    const found = await this.#options.records.authority(cluster, name);
    if (!found) return;
    await this.#destroySpent(found);
    await this.#tellEnding(found.record);
    await this.#begin(found);
  }

  /** First the record, so that nobody asks for the key any more, then the key; a crash between is mended at the next look, for deletion is idempotent. */
  async #destroySpent({ record, modRevision }: { record: AuthorityRecord; modRevision: number }): Promise<void> {
    const { store, authorities, events, clock } = this.#options;
    const { cluster, name } = record;
    const nowMs = clock.nowMs();
    await authorities.destroyKeys(destroyedKeys(record));
    const [spent] = spentGenerations(record, nowMs);
    if (!spent) return;
    const key = authorityKey(cluster, name);
    const after = withKeyDestroyed(record, spent.serial, nowMs);
    const message = `the last certificate by the ${name} of serial ${spent.serial} has ended: its key is destroyed, its certificate is kept`;
    const { succeeded } = await store.transact(
      [{ key, modRevision }],
      [
        { type: 'put', key, value: encodeRecord(after) },
        events.operation({
          ...scopeOf(cluster),
          actor: 'coordinator',
          reason: 'CertificateAuthorityKeyDestroyed',
          serial: spent.serial,
          message,
        }),
      ],
    );
    if (succeeded) await authorities.destroyKeys([spent.keyId]);
  }

  async #tellEnding(authority: AuthorityRecord): Promise<void> {
    const { store, clock, events } = this.#options;
    const { cluster, name, serial, notAfterMs, keyId, root } = authority;
    const ending = endingOf(authority, clock.nowMs());
    if (!ending) return;
    const key = layout.authorityEnding(cluster, name, serial);
    const entry = await store.get(key);
    if (entry && !isWorse(ending, decodeRecord<AuthorityEndingRecord>(key, entry.value).told)) return;
    const what = { cluster, authority: name };
    const when = `${ending === 'Ended' ? 'ended' : 'ends'} ${new Date(notAfterMs).toISOString()}`;
    await store.transact(
      [{ key, modRevision: entry?.modRevision ?? 0 }],
      [
        { type: 'put', key, value: encodeRecord<AuthorityEndingRecord>({ told: ending }) },
        events.operation({
          ...scopeOf(cluster),
          actor: 'coordinator',
          reason: 'CertificateAuthorityEnding',
          warning: true,
          serial,
          message: `${authorityText(what)} ${when}: ${adviceFor(cluster, name, keyId, root)}`,
        }),
      ],
    );
  }

  async #begin({ record: authority, modRevision }: { record: AuthorityRecord; modRevision: number }): Promise<void> {
    const { records, model, controlPolicy, clock, newId } = this.#options;
    const { cluster, name } = authority;
    const policy = cluster === layout.controlScope ? controlPolicy : rotationPolicyOf(model.cluster(cluster)?.policy);
    const nowMs = clock.nowMs();
    const history = records.list(cluster).filter((one) => one.authority === name);
    if (!beginsByItself({ authority, policy, history, busy: records.running(cluster).length > 0, nowMs })) return;
    const order = {
      by: 'coordinator',
      reason: 'scheduled' as const,
      note: '',
      intermediate: false,
      asked: {},
      following: [],
      id: newId(),
      nowMs,
    };
    const record = newRotation(authority, order);
    const message = `rotation ${record.id} of ${authorityText(record)} begins by itself: the CA ends ${new Date(authority.notAfterMs).toISOString()}`;
    await records.begin({ record, authorityRevision: modRevision }, [event(record, 'RotationStarted', message, false, 'coordinator')]);
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#looking = this.look().finally(() => {
        this.#looking = undefined;
        this.#schedule(this.#options.everyMs);
      });
    });
  }
}

/** Deleted again at each look: cheap, and the only trace of a crash between record and key. */
function destroyedKeys({ earlier = [] }: AuthorityRecord): string[] {
  return earlier.flatMap(({ keyId, keyDestroyedAtMs }) => (keyDestroyedAtMs === undefined ? [] : [keyId]));
}

function scopeOf(cluster: string): { cluster?: string } {
  return cluster === layout.controlScope ? {} : { cluster };
}

function adviceFor(cluster: string, name: string, keyId: string, root: string | undefined): string {
  if (keyId === '') return 'its key is not here; whoever holds it has to replace it';
  const place = cluster === layout.controlScope ? '' : ` ${cluster}`;
  return `rotate it with 'evercert ca rotate${place} --ca ${name}${root === undefined ? '' : ' --intermediate'}'`;
}
