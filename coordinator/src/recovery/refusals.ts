import type { Clock } from '@evercert/shared/clock';
import type { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder } from '../events/recorder.ts';

export interface RefusedRecovery {
  /** Known once the certificate's chain and the signature have been checked; before, anybody can write what he likes. */
  node: { cluster: string; name: string } | undefined;
  serial: string | undefined;
  /** `address:port` of the connection. */
  peer: string;
  error: EvercertError;
  atMs: number;
}

/** The same refusal of the same node (or, of strangers, from the same address) is one event in so long. */
const quietMs = 60_000;
const maxKeys = 2000;
/** Events that strangers can cause in the quiet time, all together. */
const maxStrangers = 100;
/** An older identity than the node's newest: either a restored backup, or a thief. */
export const staleIdentity = 'StaleIdentityUsed';

/** Tells of every refused recovery, without letting anybody fill the event log. */
export class Refusals {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #events: EventRecorder;
  readonly #told = new Map<string, { atMs: number; since: number }>();
  readonly #last = new Map<string, RefusedRecovery>();
  #strangers = { sinceMs: 0, count: 0 };

  constructor({ clock, logger, events }: { clock: Clock; logger: Logger; events: EventRecorder }) {
    this.#clock = clock;
    this.#logger = logger;
    this.#events = events;
  }

  /** The last refusal of a node that proved who it is. */
  last(cluster: string, node: string): RefusedRecovery | undefined {
    return this.#last.get(`${cluster}/${node}`);
  }

  /** The node is back. */
  forget(cluster: string, node: string): void {
    this.#last.delete(`${cluster}/${node}`);
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
    const alarm = error.metadata['reason'] === staleIdentity;
    const fields = {
      ...(who !== undefined && { node: who }),
      ...(serial !== undefined && { serial }),
      peer,
      code: error.code,
      error: error.message,
    };
    if (alarm) this.#logger.error('ALARM: an older identity than the node has now was used: a restored backup, or a stolen one', fields);
    const { first, more } = this.#count(`${who ?? hostOf(peer)} ${error.code} ${error.metadata['reason'] ?? ''}`, atMs);
    if (!first || (who === undefined && !this.#admitStranger(atMs))) {
      this.#logger.warn('A recovery was refused', fields);
      return;
    }
    const again = more > 0 ? ` (and ${more} times more before)` : '';
    this.#events.record({
      ...(node && { cluster: node.cluster, node: node.name }),
      actor: node ? `node/${who}` : 'anonymous',
      reason: alarm ? staleIdentity : 'RecoveryRefused',
      warning: true,
      errorCode: error.code,
      ...(serial !== undefined && { serial }),
      message: `refused to recover ${node ? `node ${node.name}` : 'a node'}, asked from ${peer}: ${error.message}${again}`,
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
