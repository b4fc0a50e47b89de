import type { BridgeFeature } from '../bridges.ts';
import { TokenControllers, type TokenControllersOptions } from './controllers.ts';

export { type ClusterInfo, kubeconfigOf, readInfo, sameData, serverOf, signedData } from './cluster-info.ts';
export { ClusterTokens } from './cluster-tokens.ts';
export { detachedJws } from './jws.ts';
export { endOf, ownTokenId, type Secret, type SigningToken, secretOf, signingTokenOf } from './secrets.ts';

/** Looks after bootstrap tokens and cluster-info of a cluster, where `bootstrapTokens` is switched on. */
export function tokensFeature(options: Omit<TokenControllersOptions, 'context'>): BridgeFeature {
  return (context) => {
    if (!context.config.bootstrapTokens) return [];
    const controllers = new TokenControllers({ ...options, context });
    controllers.start();
    return [controllers];
  };
}
