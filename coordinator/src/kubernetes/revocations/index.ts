import type { BridgeFeature } from '../bridges.ts';
import { RevocationControllers, type RevocationControllersOptions } from './revocation-controllers.ts';

export { MatchCounts } from './match-counts.ts';
export { collectionPath, type ObjectSource, type RevocationObject, type RevocationStatus, readObject } from './objects.ts';
export { type Counts, type Standing, sameJudgement, sameStatus, statusOf } from './status.ts';

/** Takes RenewRevocation objects from a cluster's API server, where `revocations` is switched on. */
export function revocationsFeature(options: Omit<RevocationControllersOptions, 'context'>): BridgeFeature {
  return (context) => {
    if (!context.config.revocations) return [];
    const controllers = new RevocationControllers({ ...options, context });
    controllers.start();
    return [controllers];
  };
}
