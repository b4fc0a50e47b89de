import type { RecoveryServiceServer } from '@evercert/proto';
import type { Recovery } from '../recovery/recovery.ts';
import type { Guard } from './guard.ts';
import { networkOf } from './strangers.ts';

export interface RecoveryServiceOptions {
  guard: Guard;
  recovery: Recovery;
  controlAnchors: () => Buffer[];
}

/** For nodes that have nothing but an expired identity. */
export function recoveryService({ guard, recovery, controlAnchors }: RecoveryServiceOptions): RecoveryServiceServer {
  return {
    beginRecovery: guard.unary(async (_request, { peer }) => ({ nonce: recovery.begin(networkOf(peer)) })),
    recover: guard.unary(async (request, { peer }) => {
      const { certificate, issuedAtMs } = await recovery.recover(request, peer);
      return { chain: [Buffer.from(certificate, 'base64')], trustAnchors: controlAnchors(), issuedAt: new Date(issuedAtMs) };
    }),
  };
}
