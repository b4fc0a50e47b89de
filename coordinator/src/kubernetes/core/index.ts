export {
  type ConnectOptions,
  connect,
  type KubernetesApi,
  type KubernetesRequest,
  openKubernetesApi,
  type WatchRequest,
} from './client.ts';
export { Controller, type ControllerOptions } from './controller.ts';
export { isGone, unlessMissing } from './errors.ts';
export { type KubernetesObject, keyOf, type List, type ObjectMeta, type OwnerReference, type WatchEvent } from './objects.ts';
export { type BridgeState, BridgeStatus, type BridgeView } from './status.ts';
export { WorkQueue, type WorkResult } from './work-queue.ts';
