import type { Clock, Timer } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';
import type { RunningController } from '../leadership/index.ts';
import { type ClockMark, toleratedMs } from '../recovery/clock-mark.ts';
import { Informer } from '../state/informer.ts';
import { layout, partsAfter } from '../state/layout.ts';
import { encodeRecord, type RepairWindowRecord } from '../state/records.ts';
import type { Compare, Store } from '../store/index.ts';

export const defaultWindowMs = 10 * 60_000;
/** A window that is open for longer is a hole in the wall. */
export const longestWindowMs = 24 * 3600_000;

/** How often windows that have run out are looked for; they count no more from the moment that they end. */
const tidyEveryMs = 15_000;

export interface RepairWindowsOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  events: EventRecorder;
  mark: ClockMark;
  /** Of windows that are written elsewhere; absent: its own. */
  informer?: Informer<RepairWindowRecord>;
}

/**
 * Which nodes may come back on an expired identity just now, and are issued certificates although the ones in use are revoked. Opened by an admin, closed when the
 * node is repaired or the time is over; the time is that of the mark, so that a clock that is moved back opens nothing.
 */
export class RepairWindows {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: EventRecorder;
  readonly #mark: ClockMark;
  readonly #informer: Informer<RepairWindowRecord>;

  constructor({ store, clock, logger, events, mark, informer }: RepairWindowsOptions) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
    this.#events = events;
    this.#mark = mark;
    this.#informer = informer ?? new Informer(store, layout.repairWindows, logger);
  }

  start(): Promise<void> {
    return this.#informer.start();
  }

  stop(): Promise<void> {
    return this.#informer.stop();
  }

  /** The same windows, written through another store. */
  through(store: Store, events: EventRecorder): RepairWindows {
    return new RepairWindows({ store, events, clock: this.#clock, logger: this.#logger, mark: this.#mark, informer: this.#informer });
  }

  /** The open window of a node; undefined when there is none, or its time is over. */
  get(cluster: string, node: string): RepairWindowRecord | undefined {
    const window = this.#informer.get(layout.repairWindow(cluster, node))?.record;
    const nowMs = this.#mark.nowMs();
    const open = window && window.openedAtMs <= nowMs && nowMs < window.expiresAtMs && this.#mark.behindMs() <= toleratedMs;
    return open ? window : undefined;
  }

  /** Calls back after a window was opened, changed or closed, also by its time being over. */
  subscribe(listener: (cluster: string, node: string) => void): void {
    this.#informer.subscribe(({ key }) => {
      const [cluster = '', node = ''] = partsAfter(layout.repairWindows, key);
      listener(cluster, node);
    });
  }

  isOpen(cluster: string, node: string): boolean {
    return this.get(cluster, node) !== undefined;
  }

  /** Goes into the transaction of what the window allows: fails when the window was closed or opened anew meanwhile. */
  unchanged(cluster: string, node: string): Compare {
    const key = layout.repairWindow(cluster, node);
    return { key, modRevision: this.#informer.get(key)?.modRevision ?? 0 };
  }

  /** Durable when it resolves. A window that is open already keeps its beginning and gets the later end. */
  async open(cluster: string, node: string, order: { durationMs: number; by: string; reason: string }): Promise<RepairWindowRecord> {
    this.#mark.check();
    const { by, reason } = order;
    const nowMs = this.#mark.nowMs();
    const before = this.get(cluster, node);
    const record: RepairWindowRecord = {
      cluster,
      node,
      openedAtMs: before?.openedAtMs ?? nowMs,
      expiresAtMs: Math.max(before?.expiresAtMs ?? 0, nowMs + Math.min(order.durationMs, longestWindowMs)),
      by,
      reason,
    };
    const key = layout.repairWindow(cluster, node);
    const message = `opened a repair window for ${node} until ${new Date(record.expiresAtMs).toISOString()}: ${reason}`;
    const { revision } = await this.#store.transact(
      [],
      [
        { type: 'put', key, value: encodeRecord(record) },
        this.#mark.raiseOperation(),
        this.#events.operation({ cluster, node, actor: by, reason: 'RepairWindowOpened', message }),
      ],
    );
    this.#informer.accept(key, record, revision);
    return record;
  }

  /** Nothing open is no error; one that was opened anew meanwhile stays. */
  async close(cluster: string, node: string, by: string, why: string): Promise<void> {
    const key = layout.repairWindow(cluster, node);
    const known = this.#informer.get(key);
    if (!known) return;
    const message = `closed the repair window of ${node}: ${why}`;
    const { succeeded, revision } = await this.#store.transact(
      [{ key, modRevision: known.modRevision }],
      [{ type: 'delete', key }, this.#events.operation({ cluster, node, actor: by, reason: 'RepairWindowClosed', message })],
    );
    if (succeeded) this.#informer.drop(key, revision);
  }

  /** Closes what has run out. */
  async closeExpired(): Promise<void> {
    const nowMs = this.#mark.nowMs();
    for (const { cluster, node, expiresAtMs } of this.#informer.list()) {
      if (nowMs >= expiresAtMs) await this.close(cluster, node, 'coordinator', 'its time is over');
    }
  }

  /** Closes them for as long as it is at work. */
  tidying(): RunningController {
    let timer: Timer | undefined;
    let closing: Promise<void> = Promise.resolve();
    const schedule = (): void => {
      timer = this.#clock.after(tidyEveryMs, () => {
        const passed = this.closeExpired()
          .catch((error: unknown) => this.#logger.warn('a repair window that has run out cannot be closed', { error: String(error) }))
          .finally(() => timer && schedule());
        closing = passed;
      });
    };
    return {
      start: schedule,
      stop: async () => {
        timer?.cancel();
        timer = undefined;
        await closing;
      },
    };
  }
}
