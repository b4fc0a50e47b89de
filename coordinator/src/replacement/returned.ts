import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';
import { renewalSource } from '../events/renewal-log.ts';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord } from '../state/records.ts';
import type { Store } from '../store/index.ts';
import type { RemovedNodeRecord } from './types.ts';

/** A machine that comes back again and again is written down, and told of, once in so long. */
const quietMs = 60_000;
/** Nodes whose minute is over are forgotten when there are so many. */
const maxKnown = 2000;

export interface Visit {
  cluster: string;
  /** Of the identity that was shown. */
  serial: string;
  /** `address:port` of the connection. */
  peer: string;
}

/** Knows the nodes that were removed by the identities that they had. Who comes with one of them is refused elsewhere; here it is recorded and told. */
export class RemovedNodes {
  readonly informer: Informer<RemovedNodeRecord>;
  readonly #options: { store: Store; clock: Clock; events: EventRecorder; logger: Logger };
  /** Visits since the last one that was told, by cluster and node. */
  readonly #quiet = new Map<string, { sinceMs: number; visits: number }>();

  constructor(options: { store: Store; clock: Clock; events: EventRecorder; logger: Logger }) {
    this.#options = options;
    this.informer = new Informer(options.store, layout.removedNodes, options.logger);
  }

  start(): Promise<void> {
    return this.informer.start();
  }

  stop(): Promise<void> {
    return this.informer.stop();
  }

  /** The removed node that had this identity; undefined: none had. */
  find(cluster: string, serial: string): RemovedNodeRecord | undefined {
    return this.informer.get(layout.removedNode(cluster, serial))?.record;
  }

  /** A node of this name was removed, and what it had may not have expired yet. */
  knows(cluster: string, name: string): boolean {
    return this.informer.list(layout.removedNodesOf(cluster)).some((record) => record.name === name);
  }

  /** One has come back: told at most once a minute for each node. Nothing happens for an identity of no removed node. */
  cameBack({ cluster, serial, peer }: Visit): void {
    const { clock, events, logger } = this.#options;
    const record = this.find(cluster, serial);
    if (!record) return;
    const key = `${cluster}/${record.name}`;
    const nowMs = clock.monotonicMs();
    const known = this.#quiet.get(key);
    if (known && nowMs - known.sinceMs < quietMs) {
      known.visits += 1;
      return;
    }
    if (this.#quiet.size >= maxKnown)
      for (const [each, { sinceMs }] of this.#quiet) if (nowMs - sinceMs >= quietMs) this.#quiet.delete(each);
    this.#quiet.set(key, { sinceMs: nowMs, visits: 0 });
    this.#count(record, serial, 1 + (known?.visits ?? 0)).catch((error: unknown) => {
      logger.warn('cannot record that a removed node came back', { cluster, node: record.name, error: String(error) });
    });
    const from = peer === '' ? '' : ` from ${peer}`;
    events.record({
      cluster,
      node: record.name,
      actor: `node/${cluster}/${record.name}`,
      reason: 'RemovedNodeReturned',
      source: renewalSource(record.role),
      warning: true,
      serial,
      errorCode: 'Unauthenticated',
      message: `refused the machine that was node ${record.name} until it was removed at ${new Date(record.removedAtMs).toISOString()} by ${record.by}: it called${from} with its old identity; see that it is switched off, or wipe it and let it join anew`,
    });
  }

  /** A count that loses against another write is not made: the next visit is counted again. */
  async #count(record: RemovedNodeRecord, serial: string, visits: number): Promise<void> {
    const key = layout.removedNode(record.cluster, serial);
    const modRevision = this.informer.get(key)?.modRevision ?? 0;
    const after: RemovedNodeRecord = { ...record, returned: record.returned + visits, lastReturnedAtMs: this.#options.clock.nowMs() };
    const { succeeded, revision } = await this.#options.store.transact(
      [{ key, modRevision }],
      [{ type: 'put', key, value: encodeRecord(after) }],
    );
    if (succeeded) this.informer.accept(key, after, revision);
  }
}
