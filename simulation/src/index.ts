/** Clusters in virtual time, for tests; people run `npm run simulate`. */
export { type ClusterOptions, type ClusterResult, realDecisions, simulateCluster } from './cluster.ts';
export type { Decisions } from './coordinator/controller.ts';
export { AbleTimes } from './judge/able.ts';
export { type Violation, type ViolationKind, violationKinds } from './judge/judge.ts';
export { inWindow, mostUnhealthy } from './judge/rules.ts';
export { Random } from './random.ts';
export { type FoundViolation, type RunOptions, type Summary, simulate } from './run.ts';
export { VirtualTime } from './time.ts';
export { calmWeather, usualWeather, type Weather } from './world/weather.ts';
