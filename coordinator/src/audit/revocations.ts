import type { AuditEvent } from '@evercert/shared/audit';
import { revocationOfDetails } from '../events/details.ts';
import type { RevocationRecord } from '../state/records.ts';

/** What an event has changed of a cluster's revocations. */
export type RevocationNews =
  | { type: 'put'; record: RevocationRecord }
  | { type: 'delete'; cluster: string; name: string }
  /** The cluster went, and all that it had. */
  | { type: 'deleteAll'; cluster: string };

const puts: ReadonlySet<string> = new Set(['RenewRevocationApplied', 'RenewRevocationExtended']);

/**
 * Reads revocations out of the audit log: taken in the order of the log, they make what was in force at its end. Undefined: the event has changed none. DataLoss: what it holds cannot be
 * read.
 */
export function revocationNews({ reason, cluster = '', details = {} }: AuditEvent): RevocationNews | undefined {
  if (reason === 'ClusterDeleted') return { type: 'deleteAll', cluster };
  if (reason === 'RenewRevocationDeleted') return { type: 'delete', cluster, name: details['name'] ?? '' };
  const record = puts.has(reason) ? revocationOfDetails(details) : undefined;
  return record && { type: 'put', record };
}
