import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { revocationDetails } from './events/details.ts';
import { type EventRecorder, eventId } from './events/recorder.ts';
import { isRequestName } from './kubernetes/signers/certificate-names.ts';
import { removalSource } from './replacement/removal-revocation.ts';
import type { RemovedNodeRecord, ReplacementRecord } from './replacement/types.ts';
import { layout } from './state/layout.ts';
import {
  type CertificateRecord,
  type CurrentRecord,
  decodeRecord,
  encodeRecord,
  type RefusedRecoveryRecord,
  type RevocationEntryRecord,
  type RevocationEpochRecord,
  type RevocationRecord,
} from './state/records.ts';
import type { KeyValue, Operation, Store } from './store/index.ts';

export interface RetentionOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  certificatesMs: number;
  eventsMs: number;
  events: Pick<EventRecorder, 'operation'>;
  /** Whether an event stands in the audit log: before, it is not forgotten. */
  isSealed: (entry: KeyValue) => boolean;
}

/** Two deletions for each certificate have to fit into one transaction of the store. */
const chunk = 50;
/** Passes between runs, and the pause between two chunks: tidying must not be felt by anybody. */
const everyMs = 10 * 60_000;
const pauseMs = 20;
/** Ended replacements count against the limit of an hour. */
const leastReplacementsMs = 3600_000;
/** Longer than any repair. */
const refusalsMs = 3600_000;

/** Forgets certificates that ended, events that happened, and nodes that were removed and replaced, long enough ago. */
export class Retention {
  readonly #options: RetentionOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#loop();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** One pass over everything. Returns how many records went. */
  async pass(): Promise<number> {
    const { clock, certificatesMs, eventsMs, isSealed } = this.#options;
    const certificatesBefore = clock.nowMs() - certificatesMs;
    const certificates = await this.#sweep(layout.certificates, (entry) => forgetCertificate(entry, certificatesBefore));
    // Names that manifests declare are few, and stay; every request may bring another.
    await this.#sweep(layout.allCurrents, ({ key, value }) => {
      const ended = isRequestName(key) && decodeRecord<CurrentRecord>(key, value).notAfterMs < certificatesBefore;
      return ended ? [{ type: 'delete', key }] : [];
    });
    const oldest = eventId(clock.nowMs() - eventsMs, '');
    const events = await this.#sweep(layout.events, (entry) => {
      const id = entry.key.slice(entry.key.lastIndexOf('/') + 1);
      return /^\d{13}-/.test(id) && id < oldest && isSealed(entry) ? [{ type: 'delete', key: entry.key }] : [];
    });
    const replacementsBefore = clock.nowMs() - Math.max(certificatesMs, leastReplacementsMs);
    const replacements = await this.#sweep(layout.replacements, (entry) => forgetReplacement(entry, replacementsBefore));
    const removed = await this.#sweep(layout.removedNodes, (entry) => forgetRemovedNode(entry, certificatesBefore));
    const refusedBefore = clock.nowMs() - refusalsMs;
    const refused = await this.#sweep(layout.refusedRecoveries, ({ key, value }) =>
      decodeRecord<RefusedRecoveryRecord>(key, value).atMs < refusedBefore ? [{ type: 'delete', key }] : [],
    );
    return certificates + events + replacements + removed + refused + (await this.#sweepRevocations());
  }

  /** Objects that removals have made, once the last certificate that they name is forgotten. What an admin has applied since is an admin's. */
  async #sweepRevocations(): Promise<number> {
    const { store, clock, events } = this.#options;
    let gone = 0;
    const { entries } = await store.range({ prefix: layout.revocations });
    for (const { key, value, modRevision } of entries) {
      const record = decodeRecord<RevocationRecord>(key, value);
      const { cluster, name, source, entries: named } = record;
      if (source !== removalSource || (await this.#isAnyKept(cluster, named))) continue;
      const epoch: Operation = {
        type: 'put',
        key: layout.revocationEpoch(cluster),
        value: encodeRecord<RevocationEpochRecord>({ changedAtMs: clock.nowMs() }),
      };
      const event = events.operation({
        cluster,
        actor: 'coordinator',
        reason: 'RenewRevocationDeleted',
        message: `deleted RenewRevocation ${name}: the certificates that it names have ended`,
        details: revocationDetails(record),
      });
      const { succeeded } = await store.transact([{ key, modRevision }], [{ type: 'delete', key }, epoch, event]);
      if (succeeded) gone += 1;
      await clock.sleep(pauseMs, this.#stop.signal);
    }
    return gone;
  }

  async #isAnyKept(cluster: string, entries: readonly RevocationEntryRecord[]): Promise<boolean> {
    for (const { value } of entries) if (await this.#options.store.get(layout.certificate(cluster, value))) return true;
    return false;
  }

  async #loop(): Promise<void> {
    const { clock, logger } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        await clock.sleep(everyMs, this.#stop.signal);
        const gone = await this.pass();
        if (gone > 0) logger.info('forgot old certificates, events and removed nodes', { records: gone });
      } catch (error) {
        if (error instanceof EvercertError && error.code === 'Cancelled') return;
        logger.warn('cannot tidy the store; trying again later', { error: String(error) });
      }
    }
  }

  async #sweep(prefix: string, judge: (entry: KeyValue) => Operation[]): Promise<number> {
    const { store, clock } = this.#options;
    let gone = 0;
    for (let after = ''; ; ) {
      const { entries, more } = await store.range({ prefix, limit: chunk, ...(after && { after }) });
      const doomed = entries.filter((entry) => judge(entry).length > 0);
      if (doomed.length > 0) {
        // What has changed since it was read is looked at in the next pass.
        const unchanged = doomed.map(({ key, modRevision }) => ({ key, modRevision }));
        if ((await store.transact(unchanged, doomed.flatMap(judge))).succeeded) gone += doomed.length;
      }
      if (!more) return gone;
      after = entries.at(-1)?.key ?? '';
      await clock.sleep(pauseMs, this.#stop.signal);
    }
  }
}

function forgetReplacement({ key, value }: KeyValue, beforeMs: number): Operation[] {
  const { finishedAtMs } = decodeRecord<ReplacementRecord>(key, value);
  return finishedAtMs !== undefined && finishedAtMs < beforeMs ? [{ type: 'delete', key }] : [];
}

function forgetRemovedNode({ key, value }: KeyValue, beforeMs: number): Operation[] {
  const { removedAtMs, lastReturnedAtMs = 0 } = decodeRecord<RemovedNodeRecord>(key, value);
  return Math.max(removedAtMs, lastReturnedAtMs) < beforeMs ? [{ type: 'delete', key }] : [];
}

function forgetCertificate({ key, value }: KeyValue, beforeMs: number): Operation[] {
  const { notAfterMs, spkiSha256 } = decodeRecord<CertificateRecord>(key, value);
  if (notAfterMs >= beforeMs) return [];
  return [
    { type: 'delete', key },
    { type: 'delete', key: layout.publicKey(spkiSha256) },
  ];
}
