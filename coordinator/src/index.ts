/** The coordinator as a library, for tests and benchmarks; people start `evercert-coordinator`. */
export { type CoordinatorConfig, configSchema } from './config.ts';
export { type CoordinatorParts, type RunningCoordinator, startCoordinator } from './coordinator.ts';
export { TokenAdmin } from './enrollment/token-admin.ts';
export { checkRedemption, checkSecret, hashSecret, newToken, parseToken } from './enrollment/tokens.ts';
export { EventRecorder } from './events/recorder.ts';
export { Admission } from './issuance/admission.ts';
export { coreDumpWarning, guardMemory, refuseRevealingOptions } from './memory-guard.ts';
export { type AddressQuestion, decideAddresses } from './nodes/addresses.ts';
export { activeCordon, type CordonOrder, NodeCordons } from './nodes/cordons.ts';
export {
  type CertificateFacts,
  type ConditionType,
  conditionTypes,
  type HealthFacts,
  NodeHealth,
  type NodeHealthOptions,
  type NodeHealthState,
  type NodePhase,
  nextDue,
  nextState,
  nodePhases,
  type PartFacts,
  type ReportedCertificate,
  sameState,
  transitionsOf,
} from './nodes/health/index.ts';
export { NodeRegistry } from './nodes/registry.ts';
export { quorumObjection, RestartLeases, type RestartLeasesOptions } from './nodes/restart-lease.ts';
export { Sessions, type SessionsOptions } from './nodes/sessions.ts';
export { NodeStatuses } from './nodes/statuses.ts';
export { Retention } from './retention.ts';
export { authorization, authorize } from './rpc/authorization.ts';
export type { Caller } from './rpc/callers.ts';
export { networkOf, Strangers } from './rpc/strangers.ts';
export { AdminCredential } from './server/admin-credential.ts';
export { type OwnCertificates, startOwnCertificates } from './server/own-certificates.ts';
export { layout } from './state/layout.ts';
export { Model } from './state/model.ts';
export {
  type CertificateRecord,
  type ClusterRecord,
  decodeRecord,
  type EventRecord,
  encodeRecord,
  type NodeRecord,
  type RevocationRecord,
  type TokenRecord,
} from './state/records.ts';
