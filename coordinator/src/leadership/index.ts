export { ControllerList, type NamedController, type RunningController } from './controllers.ts';
export { Coordinators, type CoordinatorsOptions } from './coordinators.ts';
export { type FenceOptions, notLeader, StoreOfLeader } from './fenced-store.ts';
export { StoreLeadership, type StoreLeadershipOptions } from './leadership.ts';
export { CoordinatorLease, type CoordinatorLeaseOptions } from './lease.ts';
export type { Controllers, FencedStore, Leadership } from './types.ts';
