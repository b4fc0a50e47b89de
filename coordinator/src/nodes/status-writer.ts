import { createHash } from 'node:crypto';
import { StatusReport } from '@evercert/proto';
import type { Clock, Timer } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { encodeRecord, type NodeStatusRecord } from '../state/records.ts';
import { type Operation, type Store, storeLimits } from '../store/index.ts';

/** What is written of a node. */
export type WrittenStatus = Omit<NodeStatusRecord, 'report'> & { report: StatusReport };

export interface StatusWriterOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  /** What was last heard of a node; without a report there is nothing to write. */
  latest: (key: string) => (Omit<NodeStatusRecord, 'report'> & { report: StatusReport | undefined }) | undefined;
  /** Called once it is durable. */
  written: (key: string, record: WrittenStatus, revision: number) => void;
}

/** Reports are written at most this often, many nodes in one transaction. */
const flushEveryMs = 1000;
/** Changes to write in one transaction; by their bytes too, lest one long report keep those of other nodes from being written. */
const flushBatch = { changes: 100, bytes: storeLimits.transactionBytes / 2 };
/** A report that says what the last one said is written again after so long, for the time at which it was heard. */
const sameAfterMs = 60_000;

/** Writes reports behind: those that say something new at once, the others now and then. */
export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #dirty = new Set<string>();
  /** On their way to the store. */
  readonly #underWay = new Set<string>();
  /** What was written of each node last. */
  readonly #written = new Map<string, { sha256: string; atMs: number }>();
  #timer: Timer | undefined;
  #flushing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(flushEveryMs, () => {
      this.#flushing = this.#flush().finally(() => {
        this.#flushing = undefined;
        if (!this.#stopped) this.start();
      });
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#flushing;
    await this.#flush();
  }

  /** @param anew also when it says what was written last. */
  markDirty(key: string, { anew = false } = {}): void {
    this.#dirty.add(key);
    if (anew) this.#written.delete(key);
  }

  /** The node is gone, or another coordinator writes its reports. */
  forget(key: string): void {
    this.#dirty.delete(key);
    this.#underWay.delete(key);
    this.#written.delete(key);
  }

  async #flush(): Promise<void> {
    const { store, logger, written } = this.#options;
    try {
      while (this.#dirty.size > 0) {
        const batch = this.#nextBatch();
        if (batch.length === 0) continue;
        for (const { key } of batch) this.#underWay.add(key);
        const { revision } = await store.transact(
          [],
          batch.map(({ key, value }): Operation => ({ type: 'put', key, value })),
        );
        for (const { key, record, sha256 } of batch) {
          this.#written.set(key, { sha256, atMs: this.#options.clock.monotonicMs() });
          written(key, record, revision);
        }
        this.#underWay.clear();
      }
    } catch (error) {
      // News that comes late is a node that seems to have renewed nothing: with short lives, one that is replaced for it.
      if (toEvercertError(error).retryable) for (const key of this.#underWay) this.#dirty.add(key);
      this.#underWay.clear();
      logger.warn("cannot write the nodes' reports", { error: String(error) });
    }
  }

  /** Takes changes out of those that wait, one at least; those that are not news are dropped. */
  #nextBatch(): { key: string; value: Buffer; record: WrittenStatus; sha256: string }[] {
    const batch = [];
    let bytes = 0;
    for (const key of this.#dirty) {
      const put = this.#put(key);
      bytes += put?.value.byteLength ?? 0;
      if (batch.length > 0 && (batch.length >= flushBatch.changes || bytes > flushBatch.bytes)) break;
      this.#dirty.delete(key);
      if (put) batch.push({ key, ...put });
    }
    return batch;
  }

  #put(key: string): { value: Buffer; record: WrittenStatus; sha256: string } | undefined {
    const status = this.#options.latest(key);
    if (!status?.report) return undefined;
    const { cluster, name, agentVersion, lastSeenAtMs, report } = status;
    const encoded = Buffer.from(StatusReport.encode(report).finish());
    const sha256 = createHash('sha256').update(agentVersion).update('\0').update(encoded).digest('base64');
    const before = this.#written.get(key);
    if (before?.sha256 === sha256 && this.#options.clock.monotonicMs() - before.atMs < sameAfterMs) return undefined;
    const record = { cluster, name, agentVersion, lastSeenAtMs };
    return {
      value: encodeRecord<NodeStatusRecord>({ ...record, report: encoded.toString('base64') }),
      record: { ...record, report },
      sha256,
    };
  }
}
