import { type AuditEntryLine, parseLine } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';
import type { BlockHead } from './blocks.ts';

/** Empty fields match everything. */
export interface AuditFilter {
  cluster: string;
  node: string;
  /** Of a certificate that the event is of, or that its details tell of. */
  serial: string;
  actor: string;
  reason: string;
  sinceMs: number | undefined;
  /** Not included. */
  untilMs: number | undefined;
}

/** Whether a block may hold entries that match, by what is told of it. */
export function mayHold({ entries, minMs, maxMs }: BlockHead, { sinceMs, untilMs }: AuditFilter): boolean {
  return entries > 0 && (sinceMs === undefined || maxMs >= sinceMs) && (untilMs === undefined || minMs < untilMs);
}

/** Entries among lines that match, in their order. A line is parsed only when the words that are looked for stand in it. */
export function matchingEntries(lines: string, filter: AuditFilter): AuditEntryLine[] {
  const words = [filter.cluster, filter.node, filter.serial, filter.actor, filter.reason]
    .filter((word) => word !== '')
    .map((word) => JSON.stringify(word).slice(1, -1));
  const found: AuditEntryLine[] = [];
  for (const text of lines.split('\n')) {
    if (text === '' || !words.every((word) => text.includes(word))) continue;
    const line = parseLine(text);
    if (typeof line === 'string')
      throw new EvercertError('DataLoss', `the audit log in the store is damaged (${line}): run 'evercert audit verify'`);
    if (line.type === 'entry' && matches(line, filter)) found.push(line);
  }
  return found;
}

function matches({ event }: AuditEntryLine, { cluster, node, serial, actor, reason, sinceMs, untilMs }: AuditFilter): boolean {
  const details = event.details ?? {};
  const timeMs = Date.parse(event.time);
  return (
    (cluster === '' || event.cluster === cluster || details['cluster'] === cluster) &&
    (node === '' || event.node === node || details['node'] === node) &&
    (serial === '' || event.serial === serial || tellsOf(details, serial)) &&
    (actor === '' || event.actor === actor) &&
    (reason === '' || event.reason === reason) &&
    (sinceMs === undefined || timeMs >= sinceMs) &&
    (untilMs === undefined || timeMs < untilMs)
  );
}

/** A CA's serial stands in every issue: that is no reason to be found by it. */
function tellsOf(details: Record<string, string>, serial: string): boolean {
  return Object.entries(details).some(([key, value]) => key !== 'issuerSerial' && value.includes(serial));
}
