import { StatusReport } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord, type NodeStatusRecord } from '../state/records.ts';
import { type Operation, type Store, storeLimits } from '../store/index.ts';

export interface NodeStatusView {
  /** By the wall clock, for people. */
  lastSeenAtMs: number;
  /** By the monotonic clock, for decisions: it sees no clock steps. After a restart: the start. */
  lastSeenMonotonicMs: number;
  /** A report has come since this coordinator started; false: it is from before. */
  fresh: boolean;
  agentVersion: string;
  report: StatusReport | undefined;
}

/** Reports are written at most this often, many nodes in one transaction. */
const flushEveryMs = 1000;
/** Changes to write in one transaction; by their bytes too, lest one long report keep those of other nodes from being written. */
const flushBatch = { changes: 100, bytes: storeLimits.transactionBytes / 2 };

/** What was last heard of each node. Heartbeats stay in memory; reports are written behind, so that a restart knows them. */
export class NodeStatuses {
  /** From then on nodes have their time to be heard. */
  readonly startedMonotonicMs: number;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #statuses = new Map<string, NodeStatusView & { cluster: string; name: string }>();
  readonly #dirty = new Set<string>();
  readonly #listeners = new Set<(cluster: string, name: string) => void>();
  #flushing = false;
  #stopped = false;

  constructor(options: { store: Store; clock: Clock; logger: Logger }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.startedMonotonicMs = options.clock.monotonicMs();
  }

  /** Reads what was known. The coordinator's own absence counts for no node: each has its whole time to be heard again. */
  async start(): Promise<void> {
    const { entries } = await this.#store.range({ prefix: layout.nodeStatuses });
    for (const { key, value } of entries) {
      const { cluster, name, agentVersion, lastSeenAtMs, report } = decodeRecord<NodeStatusRecord>(key, value);
      const decoded = StatusReport.decode(Buffer.from(report, 'base64'));
      const lastSeenMonotonicMs = this.startedMonotonicMs;
      this.#statuses.set(key, { cluster, name, agentVersion, report: decoded, lastSeenAtMs, lastSeenMonotonicMs, fresh: false });
    }
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#flush();
  }

  get(cluster: string, name: string): NodeStatusView | undefined {
    return this.#statuses.get(layout.nodeStatus(cluster, name));
  }

  /** Since the last sign of life, by the monotonic clock; undefined: there was none. */
  silentMs(cluster: string, name: string): number | undefined {
    const status = this.get(cluster, name);
    return status && this.#clock.monotonicMs() - status.lastSeenMonotonicMs;
  }

  /** For so long this coordinator itself heard nobody (it was stopped, or its machine asleep): that counts for no node. */
  excuse(absentMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    for (const status of this.#statuses.values()) status.lastSeenMonotonicMs = Math.min(nowMs, status.lastSeenMonotonicMs + absentMs);
  }

  subscribe(listener: (cluster: string, name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  seen(cluster: string, name: string, agentVersion?: string): void {
    this.#change(cluster, name, agentVersion === undefined ? {} : { agentVersion });
  }

  reported(cluster: string, name: string, report: StatusReport): void {
    const key = this.#change(cluster, name, { report, fresh: true });
    this.#dirty.add(key);
    for (const listener of this.#listeners) listener(cluster, name);
  }

  forget(cluster: string, name: string): void {
    this.#statuses.delete(layout.nodeStatus(cluster, name));
    this.#dirty.delete(layout.nodeStatus(cluster, name));
  }

  #change(cluster: string, name: string, change: Partial<NodeStatusView>): string {
    const key = layout.nodeStatus(cluster, name);
    const before = this.#statuses.get(key) ?? { cluster, name, agentVersion: '', report: undefined, fresh: false };
    this.#statuses.set(key, {
      ...before,
      ...change,
      lastSeenAtMs: this.#clock.nowMs(),
      lastSeenMonotonicMs: this.#clock.monotonicMs(),
    });
    return key;
  }

  #schedule(): void {
    this.#clock.after(flushEveryMs, () => {
      if (this.#stopped) return;
      void this.#flush().finally(() => this.#schedule());
    });
  }

  async #flush(): Promise<void> {
    if (this.#flushing) return;
    this.#flushing = true;
    try {
      while (this.#dirty.size > 0) await this.#store.transact([], this.#nextBatch());
    } catch (error) {
      // Not lost: the next report, 30 s later at most, brings it again.
      this.#logger.warn("cannot write the nodes' reports", { error: String(error) });
    } finally {
      this.#flushing = false;
    }
  }

  /** Takes changes out of those that wait, one at least. */
  #nextBatch(): Operation[] {
    const batch: Operation[] = [];
    let bytes = 0;
    for (const key of this.#dirty) {
      const put = this.#put(key);
      bytes += put?.value.byteLength ?? 0;
      if (batch.length > 0 && (batch.length >= flushBatch.changes || bytes > flushBatch.bytes)) break;
      this.#dirty.delete(key);
      if (put) batch.push(put);
    }
    return batch;
  }

  #put(key: string): Extract<Operation, { type: 'put' }> | undefined {
    const status = this.#statuses.get(key);
    if (!status?.report) return undefined;
    const { cluster, name, agentVersion, lastSeenAtMs } = status;
    const report = Buffer.from(StatusReport.encode(status.report).finish()).toString('base64');
    return { type: 'put', key, value: encodeRecord<NodeStatusRecord>({ cluster, name, agentVersion, lastSeenAtMs, report }) };
  }
}
