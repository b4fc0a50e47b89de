import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';
import { Informer } from '../state/informer.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord, type RefusedRecoveryRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';

export interface RefusedRecovery {
  /** Known once the certificate's chain and the signature have been checked; before, anybody can write what he likes. */
  node: { cluster: string; name: string } | undefined;
  serial: string | undefined;
  /** `address:port` of the connection. */
  peer: string;
  error: EvercertError;
  /** By the monotonic clock. */
  atMs: number;
}

export interface RefusalsOptions {
  clock: Clock;
  logger: Logger;
  events: EventRecorder;
  /** Where coordinators that share a store tell each other of refusals. Absent: there is one coordinator. */
  shared?: { store: Store; coordinator: string };
}

/** The same refusal of the same node (or, of strangers, from the same address) is one event in so long. */
const quietMs = 60_000;
const maxKeys = 2000;
/** A refusal of the same node is told to other coordinators once in so long: a repair waits for longer. */
const shareEveryMs = 2000;
/** Events that strangers can cause in the quiet time, all together. */
const maxStrangers = 100;
/** An older identity than the node's newest: either a restored backup, or a thief. */
export const staleIdentity = 'StaleIdentityUsed';
/** A certificate with the serial number of an identity, and not that identity: the control CA's key is in strange hands. */
export const forgedIdentity = 'ForgedIdentityUsed';

const alarms: ReadonlyMap<string, string> = new Map([
  [staleIdentity, 'an older identity than the node has now was used: a restored backup, or a stolen one'],
  [forgedIdentity, "an identity was used that this coordinator did not issue: the control CA's key is in strange hands"],
]);

/** Tells of every refused recovery, without letting anybody fill the event log. */
export class Refusals {
  readonly #options: RefusalsOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: EventRecorder;
  readonly #informer: Informer<RefusedRecoveryRecord> | undefined;
  readonly #told = new Map<string, { atMs: number; since: number }>();
  readonly #last = new Map<string, RefusedRecovery>();
  readonly #shared = new Map<string, number>();
  #strangers = { sinceMs: 0, count: 0 };

  constructor(options: RefusalsOptions) {
    const { clock, logger, events, shared } = options;
    this.#options = options;
    this.#clock = clock;
    this.#logger = logger;
    this.#events = events;
    this.#informer = shared?.store.shared ? new Informer(shared.store, layout.refusedRecoveries, logger, clock) : undefined;
    this.#informer?.subscribe((change) => {
      if (change.type === 'put' && change.record.coordinator !== shared?.coordinator) this.#heard(change.record);
    });
  }

  /** Begins to hear of those that ask other coordinators. */
  async start(): Promise<void> {
    await this.#informer?.start();
  }

  async stop(): Promise<void> {
    await this.#informer?.stop();
  }

  /** The last refusal of a node that proved who it is. */
  last(cluster: string, node: string): RefusedRecovery | undefined {
    return this.#last.get(`${cluster}/${node}`);
  }

  /** The node is back. */
  forget(cluster: string, node: string): void {
    this.#last.delete(`${cluster}/${node}`);
    const key = layout.refusedRecovery(cluster, node);
    if (this.#informer?.get(key)) this.#write([{ type: 'delete', key }]);
  }

  /** Nodes that asked in vain lately: what the hint to wait depends on. */
  waiting(withinMs: number): number {
    const since = this.#clock.monotonicMs() - withinMs;
    return [...this.#last.values()].filter(({ atMs }) => atMs >= since).length;
  }

  tell(refused: Omit<RefusedRecovery, 'atMs'>): void {
    const { node, peer, error, serial } = refused;
    const atMs = this.#clock.monotonicMs();
    const who = node ? `${node.cluster}/${node.name}` : undefined;
    if (who !== undefined) keep(this.#last, who, { ...refused, atMs });
    if (node && !error.retryable) this.#share({ ...refused, node }, atMs);
    const alarm = alarms.get(error.metadata['reason'] ?? '');
    const fields = {
      ...(who !== undefined && { node: who }),
      ...(serial !== undefined && { serial }),
      peer,
      code: error.code,
      error: error.message,
    };
    if (alarm) this.#logger.error(`ALARM: ${alarm}`, fields);
    const { first, more } = this.#count(`${who ?? hostOf(peer)} ${error.code} ${error.metadata['reason'] ?? ''}`, atMs);
    if (!first || (who === undefined && !this.#admitStranger(atMs))) {
      this.#logger.warn('A recovery was refused', fields);
      return;
    }
    const again = more > 0 ? ` (and ${more} times more before)` : '';
    this.#events.record({
      ...(node && { cluster: node.cluster, node: node.name }),
      actor: node ? `node/${who}` : 'anonymous',
      reason: alarm ? (error.metadata['reason'] ?? '') : 'RecoveryRefused',
      warning: true,
      errorCode: error.code,
      ...(serial !== undefined && { serial }),
      message: `refused to recover ${node ? `node ${node.name}` : 'a node'}, asked from ${peer}: ${error.message}${again}`,
    });
  }

  /** What a repair at another coordinator has to know; once in a while for each node. */
  #share(
    { node, serial = '', error }: Omit<RefusedRecovery, 'atMs' | 'node'> & { node: { cluster: string; name: string } },
    atMs: number,
  ): void {
    const { shared } = this.#options;
    const key = layout.refusedRecovery(node.cluster, node.name);
    const toldMs = this.#shared.get(key);
    if (!this.#informer || !shared || (toldMs !== undefined && atMs - toldMs < shareEveryMs)) return;
    keep(this.#shared, key, atMs);
    const { code, message } = error;
    const record = {
      cluster: node.cluster,
      node: node.name,
      atMs: this.#clock.nowMs(),
      coordinator: shared.coordinator,
      serial,
      code,
      message,
    };
    this.#write([{ type: 'put', key, value: encodeRecord<RefusedRecoveryRecord>(record) }]);
  }

  #heard({ cluster, node, serial, code, message }: RefusedRecoveryRecord): void {
    const error = new EvercertError(code, message);
    keep(this.#last, `${cluster}/${node}`, { node: { cluster, name: node }, serial, peer: '', error, atMs: this.#clock.monotonicMs() });
  }

  #write(operations: Operation[]): void {
    this.#options.shared?.store.transact([], operations).catch((error: unknown) => {
      this.#logger.warn('cannot tell the other coordinators of a refused recovery', { error: String(error) });
    });
  }

  #count(key: string, atMs: number): { first: boolean; more: number } {
    const known = this.#told.get(key);
    if (known && atMs - known.atMs < quietMs) {
      known.since += 1;
      return { first: false, more: 0 };
    }
    keep(this.#told, key, { atMs, since: 0 });
    return { first: true, more: known?.since ?? 0 };
  }

  #admitStranger(atMs: number): boolean {
    if (atMs - this.#strangers.sinceMs >= quietMs) this.#strangers = { sinceMs: atMs, count: 0 };
    this.#strangers.count += 1;
    return this.#strangers.count <= maxStrangers;
  }
}

/** Puts a value last; the map keeps the newest only. */
function keep<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  if (map.size >= maxKeys) map.delete(map.keys().next().value ?? '');
  map.set(key, value);
}

function hostOf(peer: string): string {
  return peer.slice(0, Math.max(0, peer.lastIndexOf(':')));
}
