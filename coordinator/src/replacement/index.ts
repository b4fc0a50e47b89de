export { Availability, type AvailabilityOptions, type AvailabilityRecord } from './availability.ts';
export { decide, reconsider } from './decision.ts';
export { availableMs, evidenceOf } from './evidence.ts';
export { expiredOf, type ReplacementSources, replacementFactsOf } from './facts.ts';
export { countWorkers, maxUnhealthyOf, nextByRate } from './limits.ts';
export { tidyOutages } from './outages.ts';
export * from './types.ts';
export { openWindow } from './windows.ts';
