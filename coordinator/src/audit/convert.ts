import type { AuditEvent } from '@evercert/shared/audit';
import type { EventRecord } from '../state/records.ts';

/** An event as the log has it: without what is empty. */
export function auditEvent(record: EventRecord): AuditEvent {
  const { id, timeMs, cluster, node, actor, reason, type, certificate, serial, message, errorCode, source, method, details } = record;
  return {
    id,
    time: new Date(timeMs).toISOString(),
    actor,
    reason,
    type,
    ...(cluster && { cluster }),
    ...(node && { node }),
    ...(certificate && { certificate }),
    ...(serial && { serial }),
    ...(message && { message }),
    ...(errorCode && { errorCode }),
    ...(source && { source }),
    ...(method && { method }),
    ...(details && Object.keys(details).length > 0 && { details }),
  };
}
