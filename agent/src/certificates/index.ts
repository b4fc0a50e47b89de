export { CertificateInspection } from './inspection.ts';
export { Issuer, type IssuerOptions } from './issuer.ts';
export { CertificateManager, type ManagerOptions } from './manager.ts';
export { nextLook, type Plan, plan, reasonToIssue, renewalAtMs, stateOf, timeLeftMs } from './planner.ts';
export type * from './types.ts';
