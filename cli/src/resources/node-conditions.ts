import type { CertificateStatus, NodeStatus } from '@evercert/proto';
import type { DescribedTable } from '../output/description.ts';
import { orNone } from '../output/table.ts';
import { age } from '../output/time.ts';

/** The conditions as the coordinator derives them, each with the time since its last change. */
export function conditionTable(status: NodeStatus | undefined, nowMs: number): DescribedTable {
  return {
    headers: ['TYPE', 'STATUS', 'SINCE', 'REASON', 'MESSAGE'],
    rows: (status?.conditions ?? []).map((one) => [
      one.type,
      one.status,
      age(one.lastTransitionTime, nowMs),
      orNone(one.reason),
      orNone(one.message),
    ]),
  };
}

/** Revoked, or expired while it was. */
export function isRevoked({ state, lastErrorCode }: CertificateStatus): boolean {
  return state === 'Revoked' || lastErrorCode === 'Revoked';
}
