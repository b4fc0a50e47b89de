import { StatusReport } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { type Change, Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { decodeRecord, type NodeStatusRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { Sessions } from './sessions.ts';
import { StatusWriter } from './status-writer.ts';

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

export interface NodeStatusesOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  /** Where the streams of nodes are. Absent: all are here. */
  sessions?: Pick<Sessions, 'isHere' | 'elsewhere' | 'subscribe'>;
}

/** A record with its report decoded. */
type Known = Omit<NodeStatusRecord, 'report'> & { report: StatusReport };

/**
 * What was last heard of each node. Heartbeats stay in memory at the coordinator that has the stream; reports are written behind by it, so that the others know them and a restart does. A node
 * whose stream is at another coordinator is alive for as long as that one says so.
 */
export class NodeStatuses {
  /** From then on nodes have their time to be heard. */
  readonly startedMonotonicMs: number;
  readonly #clock: Clock;
  readonly #sessions: NodeStatusesOptions['sessions'];
  readonly #informer: Informer<Known>;
  readonly #writer: StatusWriter;
  readonly #statuses = new Map<string, NodeStatusView & { cluster: string; name: string }>();
  readonly #listeners = new Set<(cluster: string, name: string) => void>();
  readonly #stops: (() => void)[] = [];
  #started = false;

  constructor({ store, clock, logger, sessions }: NodeStatusesOptions) {
    this.#clock = clock;
    this.#sessions = sessions;
    this.#informer = new Informer(store, layout.nodeStatuses, logger, clock, decodeKnown);
    const written = (key: string, record: Known, revision: number): void => this.#informer.accept(key, record, revision);
    this.#writer = new StatusWriter({ store, clock, logger, latest: (key) => this.#statuses.get(key), written });
    this.startedMonotonicMs = clock.monotonicMs();
  }

  /** Reads what was known, and follows it. The coordinator's own absence counts for no node: each has its whole time to be heard again. */
  async start(): Promise<void> {
    this.#stops.push(this.#informer.subscribe((change) => this.#followed(change)));
    await this.#informer.start();
    this.#started = true;
    const sessions = this.#sessions;
    if (sessions) {
      // Whose stream is elsewhere was followed there: what is known of it is as new as can be.
      for (const status of this.#statuses.values()) status.fresh = sessions.elsewhere(status.cluster, status.name) !== undefined;
      this.#stops.push(sessions.subscribe((cluster, name, ended) => this.#sessionChanged(cluster, name, ended)));
    }
    this.#writer.start();
  }

  async stop(): Promise<void> {
    await this.#writer.stop();
    for (const stop of this.#stops.splice(0)) stop();
    await this.#informer.stop();
  }

  get(cluster: string, name: string): NodeStatusView | undefined {
    const status = this.#statuses.get(layout.nodeStatus(cluster, name));
    const elsewhere = this.#sessions?.elsewhere(cluster, name);
    return status && elsewhere && elsewhere.record.silentForMs === undefined ? { ...status, lastSeenAtMs: this.#clock.nowMs() } : status;
  }

  /** Since the last sign of life, by the monotonic clock; undefined: there was none. */
  silentMs(cluster: string, name: string): number | undefined {
    const elsewhere = this.#sessions?.elsewhere(cluster, name);
    if (!elsewhere) return this.heardHereMs(cluster, name);
    const { silentForMs } = elsewhere.record;
    return silentForMs === undefined ? 0 : silentForMs + this.#clock.monotonicMs() - elsewhere.heardMonotonicMs;
  }

  /** The same, without what other coordinators say now. */
  heardHereMs(cluster: string, name: string): number | undefined {
    const status = this.#statuses.get(layout.nodeStatus(cluster, name));
    return status && this.#clock.monotonicMs() - status.lastSeenMonotonicMs;
  }

  /** For so long this coordinator itself heard nobody (it was stopped, or its machine asleep): that counts for no node. */
  excuse(absentMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    for (const status of this.#statuses.values()) status.lastSeenMonotonicMs = Math.min(nowMs, status.lastSeenMonotonicMs + absentMs);
  }

  /** Calls back after each report, and when a stream at another coordinator began or ended. Returns a function that ends it. */
  subscribe(listener: (cluster: string, name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  seen(cluster: string, name: string, agentVersion?: string): void {
    this.#change(cluster, name, agentVersion === undefined ? {} : { agentVersion });
  }

  reported(cluster: string, name: string, report: StatusReport): void {
    const key = this.#change(cluster, name, { report, fresh: true });
    this.#writer.markDirty(key);
    this.#notify(cluster, name);
  }

  forget(cluster: string, name: string): void {
    const key = layout.nodeStatus(cluster, name);
    this.#statuses.delete(key);
    this.#writer.forget(key);
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

  /** What was written by this coordinator or another. */
  #followed(change: Change<Known>): void {
    const { key } = change;
    const { cluster, name } = change.type === 'put' ? change.record : change.previous;
    const known = this.#statuses.get(key);
    if (change.type === 'delete') {
      this.forget(cluster, name);
      return;
    }
    const { report, lastSeenAtMs } = change.record;
    if (known?.report === report) return;
    const here = this.#sessions?.isHere(cluster, name) ?? true;
    if (here && known?.report !== undefined) {
      // The node is here, and another wrote what it had heard before: the newest is to be read in the end.
      this.#writer.markDirty(key, { anew: true });
      return;
    }
    // Read at the start, it is no sign of life: each node has its whole time.
    const lastSeenMonotonicMs = this.#started ? this.#clock.monotonicMs() : this.startedMonotonicMs;
    const agentVersion = (here && known?.agentVersion) || change.record.agentVersion;
    this.#statuses.set(key, { cluster, name, agentVersion, report, lastSeenAtMs, lastSeenMonotonicMs, fresh: this.#started });
    this.#writer.forget(key);
    if (this.#started) this.#notify(cluster, name);
  }

  /** Silence counts from the end of the stream: that a coordinator is gone is no node's fault. */
  #sessionChanged(cluster: string, name: string, ended: boolean): void {
    const status = this.#statuses.get(layout.nodeStatus(cluster, name));
    if (status && ended) {
      status.lastSeenMonotonicMs = this.#clock.monotonicMs();
      status.lastSeenAtMs = this.#clock.nowMs();
    }
    this.#notify(cluster, name);
  }

  #notify(cluster: string, name: string): void {
    for (const listener of this.#listeners) listener(cluster, name);
  }
}

function decodeKnown(key: string, value: Uint8Array): Known {
  const record = decodeRecord<NodeStatusRecord>(key, value);
  return { ...record, report: StatusReport.decode(Buffer.from(record.report, 'base64')) };
}
