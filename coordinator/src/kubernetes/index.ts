export { type BridgeContext, type BridgeFeature, type BridgesOptions, KubernetesBridges, type RunningFeature } from './bridges.ts';
export { type BridgeConfig, type BridgesConfig, bridgesSchema } from './config.ts';
export {
  BridgeStatus,
  type BridgeView,
  Controller,
  type KubernetesApi,
  type KubernetesObject,
  openKubernetesApi,
  type WatchEvent,
  type WatchRequest,
  WorkQueue,
  type WorkResult,
} from './core/index.ts';
export {
  type ApprovalQuestion,
  backdateMs,
  type CertificateSigningRequest,
  certificateName,
  deletableAtMs,
  judge,
  lifetimeMs,
  namesFault,
  permissionsFor,
  type RequestedCertificate,
  type Requester,
  type Signer,
  type SignersFeatureOptions,
  signerOf,
  signersFeature,
  standingFault,
  violationOf,
} from './signers/index.ts';
