import type { AdminServiceServer, AuditEntry, ExportAuditRequest, ExportAuditResponse } from '@evercert/proto';
import type { AuditEntryLine } from '@evercert/shared/audit';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { AuditLog } from '../audit/index.ts';
import { actorOf } from './callers.ts';
import { drained } from './drained.ts';
import type { CallContext, Guard } from './guard.ts';

export interface AuditServiceOptions {
  guard: Guard;
  audit: AuditLog;
}

type AuditMethods = 'listAuditEntries' | 'exportAudit';

/** The part of the admin API that is about the audit log. */
export function auditMethods({ guard, audit }: AuditServiceOptions): Pick<AdminServiceServer, AuditMethods> {
  return {
    listAuditEntries: guard.unary(async ({ pageSize, pageToken, since, until, ...filter }) => {
      const times = { sinceMs: since?.getTime(), untilMs: until?.getTime() };
      const { items, next } = await audit.reader.list({ ...filter, ...times }, { size: pageSize, token: pageToken });
      return { entries: items.map(entryToProto), nextPageToken: next };
    }),
    exportAudit: guard.endless((call: ServerWritableStream<ExportAuditRequest, ExportAuditResponse>, context) =>
      exportAudit(call, context, audit),
    ),
  };
}

async function exportAudit(
  call: ServerWritableStream<ExportAuditRequest, ExportAuditResponse>,
  { caller, signal }: CallContext,
  audit: AuditLog,
): Promise<void> {
  const { fromSequence: from, follow } = call.request;
  const until = await audit.noteExport(actorOf(caller), from);
  for await (const lines of audit.reader.export({ from, follow, signal, ...(until !== undefined && { until }) })) {
    if (signal.aborted) return;
    if (!call.write({ lines: Buffer.from(lines) })) await drained(call, signal);
  }
}

function entryToProto({ sequence, event, hash }: AuditEntryLine): AuditEntry {
  const { cluster = '', node = '', certificate = '', serial = '', message = '', errorCode = '', source = '' } = event;
  const { id, actor, reason, type, method = '', details = {} } = event;
  const told = { id, time: new Date(event.time), cluster, node, actor, reason, type, certificate, serial, message, errorCode, source };
  return { sequence, event: told, hash, method, details };
}
