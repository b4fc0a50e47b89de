import type { RecoveryServiceServer } from '@evercert/proto';
import type { ControlCa } from '../ca/control-ca.ts';
import type { NodeIdentities } from '../enrollment/identities.ts';
import type { Recovery } from '../recovery/recovery.ts';
import type { Guard } from './guard.ts';
import { networkOf } from './strangers.ts';

export interface RecoveryServiceOptions {
  guard: Guard;
  recovery: Recovery;
  identities: NodeIdentities;
  controlCa: ControlCa;
}

/** For nodes that have nothing but an expired identity. */
export function recoveryService({ guard, recovery, identities, controlCa }: RecoveryServiceOptions): RecoveryServiceServer {
  return {
    beginRecovery: guard.unary(async (_request, { peer }) => ({ nonce: recovery.begin(networkOf(peer)) })),
    recover: guard.unary(async (request, { peer }) => {
      const record = await recovery.recover(request, peer);
      return { chain: identities.chainOf(record), trustAnchors: controlCa.anchors(), issuedAt: new Date(record.issuedAtMs) };
    }),
  };
}
