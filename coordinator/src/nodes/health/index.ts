export { type Due, nextDue } from './due.ts';
export { findingsOf } from './findings.ts';
export { FollowedHealth, type FollowedHealthOptions } from './followed-health.ts';
export { NodeHealth, type NodeHealthOptions } from './node-health.ts';
export { phaseOf } from './phase.ts';
export { nextState, sameState, type Transition, transitionsOf } from './transition.ts';
export * from './types.ts';
