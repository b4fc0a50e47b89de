import { hash as sha } from 'node:crypto';
import { canonicalJson } from './canonical.ts';
import type { AuditCheckpoint, AuditEntryLine, AuditEvent } from './types.ts';

/** The chain's value before the first entry of a log. */
export function genesis(log: string): string {
  return sha('sha256', `evercert audit log v1\n${log}`);
}

/** The chain's value behind a link: SHA-256 over the value before it, as 32 bytes, and the link's canonical JSON. */
export function link(previous: string, canonical: string): string {
  return sha('sha256', Buffer.concat([Buffer.from(previous, 'hex'), Buffer.from(canonical)]));
}

/** An entry behind `previous`: its line with the line feed, and its hash. The event, which is nearly all of it, is written once. */
export function entryText(
  previous: string,
  { sequence, revision }: { sequence: number; revision: number },
  event: AuditEvent,
): { text: string; hash: string } {
  const [told, place] = [`{"event":${canonicalJson(event)},`, `"revision":${revision},"sequence":${sequence},"type":"entry"}`];
  const hash = link(previous, told + place);
  return { text: `${told}"hash":"${hash}",${place}\n`, hash };
}

/** What an entry's hash must be. */
export function entryHash(previous: string, { hash: _hash, ...body }: AuditEntryLine): string {
  return link(previous, canonicalJson(body));
}

/** The chain's value behind a checkpoint. */
export function afterCheckpoint(previous: string, checkpoint: AuditCheckpoint): string {
  return link(previous, canonicalJson(checkpoint));
}
