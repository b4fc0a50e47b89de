import type { AdminServiceServer } from '@evercert/proto';
import type { Coordinators, StoreLeadership } from '../leadership/index.ts';
import type { Sessions } from '../nodes/sessions.ts';
import type { Guard } from './guard.ts';

export interface CoordinatorServiceOptions {
  guard: Guard;
  coordinators: Pick<Coordinators, 'list'>;
  leadership: Pick<StoreLeadership, 'leaderId'>;
  sessions: Pick<Sessions, 'nodesAt'>;
}

/** The part of the admin API that is about the coordinators themselves. */
export function coordinatorMethods(options: CoordinatorServiceOptions): Pick<AdminServiceServer, 'listCoordinators'> {
  const { guard, coordinators, leadership, sessions } = options;
  return {
    listCoordinators: guard.unary(async () => ({
      coordinators: coordinators.list().map(({ id, address, version, startedAtMs }) => ({
        id,
        address,
        version,
        startedAt: new Date(startedAtMs),
        leader: id === leadership.leaderId(),
        nodes: sessions.nodesAt(id),
      })),
    })),
  };
}
