export { type BridgeContext, type BridgeFeature, type BridgesOptions, KubernetesBridges, type RunningFeature } from './bridges.ts';
export { type BridgeConfig, type BridgesConfig, bridgesSchema } from './config.ts';
export type { BridgeView } from './core/index.ts';
