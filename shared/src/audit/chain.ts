import { createHash } from 'node:crypto';
import { canonicalJson } from './canonical.ts';
import type { AuditCheckpoint, AuditEntryLine, AuditEvent } from './types.ts';

/** The chain's value before the first entry of a log. */
export function genesis(log: string): string {
  return createHash('sha256').update(`evercert audit log v1\n${log}`).digest('hex');
}

/** The chain's value behind a link: SHA-256 over the value before it, as 32 bytes, and the link's canonical JSON. */
export function link(previous: string, canonical: string): string {
  return createHash('sha256').update(Buffer.from(previous, 'hex')).update(canonical).digest('hex');
}

/** An entry behind `previous`. */
export function entryLine(previous: string, place: { sequence: number; revision: number }, event: AuditEvent): AuditEntryLine {
  const body = { type: 'entry' as const, ...place, event };
  return { ...body, hash: link(previous, canonicalJson(body)) };
}

/** What an entry's hash must be. */
export function entryHash(previous: string, { hash: _hash, ...body }: AuditEntryLine): string {
  return link(previous, canonicalJson(body));
}

/** The chain's value behind a checkpoint. */
export function afterCheckpoint(previous: string, checkpoint: AuditCheckpoint): string {
  return link(previous, canonicalJson(checkpoint));
}
