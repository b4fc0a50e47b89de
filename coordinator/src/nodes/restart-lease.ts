import type { Clock } from '@evercert/shared/clock';
import { describeError, EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord, type RestartLeaseRecord } from '../state/records.ts';
import type { KeyValue, Store } from '../store/index.ts';

export interface RestartLeasesOptions {
  store: Store;
  clock: Clock;
  logger: Logger;
  events: EventRecorder;
  /** Why this component of this node must not go down now, whoever holds the lease; undefined: it may. */
  objection: (cluster: string, node: string, component: string) => string | undefined;
}

export interface RestartRequest {
  cluster: string;
  node: string;
  component: string;
  durationMs: number;
}

/** A restart that takes longer has failed. */
const longestMs = 10 * 60_000;
const shortestMs = 1000;
/** After a restart that did not succeed, the other nodes keep theirs up for so long. */
const settleMs = 60_000;
/** Who waits asks again between these. */
const hintBounds = { minMs: 1000, maxMs: 15_000 };
/** Several agents may ask in the same moment. */
const tries = 3;

/**
 * At most one control-plane node of a cluster restarts a component at a time. The lease hangs on one of the store, which ends it on the store's own clock, also across a restart of
 * the coordinator: a node that vanishes in the middle of a restart holds the others up for no longer than it said.
 */
export class RestartLeases {
  readonly #options: RestartLeasesOptions;

  constructor(options: RestartLeasesOptions) {
    this.#options = options;
  }

  /**
   * Gives the lease to the node, or extends the one that it has; durable when it resolves. Conflict, with a hint when to ask again: another node has it, or the component must not
   * go down now. InvalidArgument: the component's name or the duration.
   */
  async acquire(request: RestartRequest): Promise<{ expiresAtMs: number }> {
    check(request);
    const { cluster, node, component } = request;
    const objection = this.#options.objection(cluster, node, component);
    if (objection !== undefined) throw this.#refused(request, objection, hintBounds.maxMs);
    for (let attempt = 1; attempt <= tries; attempt += 1) {
      const found = await this.#find(cluster);
      if (found && found.record.node !== node) {
        const { record } = found;
        throw this.#refused(request, `${record.node} restarts ${record.component}`, record.expiresAtMs - this.#options.clock.nowMs());
      }
      const expiresAtMs = await this.#take(request, found);
      if (expiresAtMs !== undefined) return { expiresAtMs };
    }
    throw this.#refused(request, 'several nodes asked in the same moment', hintBounds.minMs);
  }

  /** The restart is over. `serving`: the component is well again; if it is not, the other nodes wait for a while. A lease that ran out meanwhile, or is another node's, is no error. */
  async release({ cluster, node, serving }: { cluster: string; node: string; serving: boolean }): Promise<void> {
    const { store, clock, events } = this.#options;
    const found = await this.#find(cluster);
    if (found?.record.node !== node) return;
    const { entry, record } = found;
    const { component } = record;
    const compares = [{ key: entry.key, modRevision: entry.modRevision }];
    if (serving) {
      const event = events.operation(eventOf(cluster, node, 'RestartLeaseReleased', `${node} has restarted ${component}`));
      // Where it has changed meanwhile, it was this node's again, and a later call releases it.
      const { succeeded } = await store.transact(compares, [{ type: 'delete', key: entry.key }, event]);
      if (succeeded) await this.#endLease(entry.lease);
      return;
    }
    const lease = await store.grantLease(settleMs / 1000);
    const settling: RestartLeaseRecord = { ...record, expiresAtMs: clock.nowMs() + settleMs };
    const message = `${component} on ${node} does not serve after its restart; the other nodes wait for ${settleMs / 1000} s`;
    const { succeeded } = await store.transact(compares, [
      { type: 'put', key: entry.key, value: encodeRecord(settling), lease },
      events.operation({ ...eventOf(cluster, node, 'RestartFailed', message), warning: true }),
    ]);
    await this.#endLease(succeeded ? entry.lease : lease);
  }

  /** When the lease ends; undefined: somebody was faster. */
  async #take({ cluster, node, component, durationMs }: RestartRequest, held: Held | undefined): Promise<number | undefined> {
    const { store, clock, events } = this.#options;
    const nowMs = clock.nowMs();
    const lease = await store.grantLease(Math.ceil(durationMs / 1000));
    const again = held?.record.component === component;
    const acquiredAtMs = again ? held.record.acquiredAtMs : nowMs;
    const record: RestartLeaseRecord = { cluster, node, component, acquiredAtMs, expiresAtMs: nowMs + durationMs };
    const message = `${node} restarts ${component}; the other control-plane nodes wait`;
    const key = layout.restartLease(cluster);
    const { succeeded } = await store.transact(
      [{ key, modRevision: held?.entry.modRevision ?? 0 }],
      [
        { type: 'put', key, value: encodeRecord(record), lease },
        ...(again ? [] : [events.operation(eventOf(cluster, node, 'RestartLeaseAcquired', message))]),
      ],
    );
    await this.#endLease(succeeded ? held?.entry.lease : lease);
    return succeeded ? record.expiresAtMs : undefined;
  }

  async #find(cluster: string): Promise<Held | undefined> {
    const entry = await this.#options.store.get(layout.restartLease(cluster));
    return entry && { entry, record: decodeRecord<RestartLeaseRecord>(entry.key, entry.value) };
  }

  /** The store's lease that nothing hangs on any more; it would end by itself. */
  async #endLease(lease: string | undefined): Promise<void> {
    if (lease === undefined) return;
    await this.#options.store.revokeLease(lease).catch((error: unknown) => {
      this.#options.logger.debug('a lease that is not needed any more ends by itself', { error: describeError(error) });
    });
  }

  #refused({ cluster, node, component }: RestartRequest, why: string, waitMs: number): EvercertError {
    const actor = `node/${cluster}/${node}`;
    const message = `${node} is to wait with the restart of ${component}: ${why}`;
    this.#options.events.recordOncePerMinute(actor, ['RestartDeferred', component], eventOf(cluster, node, 'RestartDeferred', message));
    const retryAfterMs = Math.min(hintBounds.maxMs, Math.max(hintBounds.minMs, waitMs));
    return new EvercertError('Conflict', `the restart of ${component} is to wait: ${why}`, { retryAfterMs });
  }
}

interface Held {
  entry: KeyValue;
  record: RestartLeaseRecord;
}

function check({ component, durationMs }: RestartRequest): void {
  if (!/^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/.test(component))
    throw new EvercertError('InvalidArgument', 'component: expected 1 to 63 of a-z, 0-9, "." and "-"');
  if (!(durationMs >= shortestMs && durationMs <= longestMs))
    throw new EvercertError('InvalidArgument', `duration: expected ${shortestMs / 1000} s to ${longestMs / 60_000} min`);
}

function eventOf(cluster: string, node: string, reason: string, message: string): NewEvent {
  return { cluster, node, actor: `node/${cluster}/${node}`, reason, message };
}

/**
 * Why a member of etcd must not go down: others are down already, and quorum would be lost. Where all others are well, or there are none, nothing better can be waited for.
 * `members` and `healthy` are names of nodes.
 */
export function quorumObjection(node: string, { members, healthy, needed }: { members: string[]; healthy: string[]; needed: number }) {
  const others = members.filter((name) => name !== node);
  const well = others.filter((name) => healthy.includes(name));
  if (well.length === others.length || well.length >= needed) return undefined;
  const down = others.filter((name) => !healthy.includes(name)).join(', ');
  return `etcd would lose its quorum: ${down} ${others.length - well.length === 1 ? 'is' : 'are'} not well`;
}
