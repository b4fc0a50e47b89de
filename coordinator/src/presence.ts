import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { version } from '@evercert/shared/version';
import type { CoordinatorConfig } from './config.ts';
import { CoordinatorLease, Coordinators, StoreLeadership } from './leadership/index.ts';
import { Sessions } from './nodes/sessions.ts';
import type { Store } from './store/index.ts';

export interface PresenceOptions {
  config: Pick<CoordinatorConfig, 'leadership' | 'unreachableAfter'>;
  store: Store;
  clock: Clock;
  logger: Logger;
  random: () => number;
  /** Id of this process among coordinators; new at each start. */
  coordinatorId: string;
  /** `HOST:PORT` for agents and admins; known once the server listens. */
  address: () => string;
}

export type Presence = Awaited<ReturnType<typeof startPresence>>;

/** A stream on which nothing was heard for half of the time after which its node is Unreachable is told to the leader, which knows no heartbeats of other coordinators. */
const quietShare = 0.5;

/** What coordinators know of each other: who serves, who leads, whose stream is where. Nobody is told of this one before `join`. */
export async function startPresence({ config, store, clock, logger, random, coordinatorId: id, address }: PresenceOptions) {
  const ttlMs = config.leadership.leaseTtl * 1000;
  const lease = new CoordinatorLease({ store, clock, logger, ttlMs });
  await lease.start();
  const quietAfterMs = config.unreachableAfter * 1000 * quietShare;
  const sessions = new Sessions({ store, lease, id, clock, logger, quietAfterMs });
  await sessions.start();
  const coordinators = new Coordinators({ store, lease, clock, logger, random, nodesAt: (of) => sessions.nodesAt(of) });
  await coordinators.start();
  const leadership = new StoreLeadership({ store, lease, id, address, clock, logger, pollMs: ttlMs / 2 });
  await leadership.start();
  return {
    coordinatorId: id,
    lease,
    sessions,
    coordinators,
    leadership,
    /** Unavailable: the store is not reached, so that nothing can be done here; another coordinator may have more luck. */
    checkStore(): void {
      if (lease.isHeld()) return;
      const why = lease.problem()?.why ?? 'its lease has run out';
      throw new EvercertError('Unavailable', `this coordinator does not reach its store (${why}): try another`, { retryAfterMs: 2000 });
    },
    /** From now on agents and admins are told of this coordinator. */
    join: (): Promise<void> => coordinators.join({ id, address: address(), version, startedAtMs: clock.nowMs() }),
    /** All that hangs on this coordinator's lease is gone when it resolves. */
    async stop(): Promise<void> {
      await leadership.stop();
      await coordinators.leave();
      await sessions.stop();
      await coordinators.stop();
      await lease.end();
    },
  };
}
