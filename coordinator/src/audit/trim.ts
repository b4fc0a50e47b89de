import { layout } from '../state/layout.ts';
import { encodeRecord } from '../state/records.ts';
import type { KeyValue, Operation, Store } from '../store/index.ts';
import { decodeBlockHead } from './blocks.ts';
import type { AuditHeadRecord } from './records.ts';

const atOnce = 32;

interface Keep {
  keep: { ageMs: number; bytes: number };
  nowMs: number;
}

export interface TrimmedHead {
  head: AuditHeadRecord;
  modRevision: number;
  dropped: number;
}

/**
 * Drops the oldest blocks that are older than they are kept, or beyond the bytes that all may have; the last block stays. What is dropped in one transaction is no longer told in the
 * log's head. Another coordinator that sealed meanwhile: nothing is dropped.
 */
export async function trimBlocks(
  store: Store,
  { head, modRevision }: { head: AuditHeadRecord; modRevision: number },
  keep: Keep,
): Promise<TrimmedHead> {
  let trimmed: TrimmedHead = { head, modRevision, dropped: 0 };
  for (;;) {
    const { entries } = await store.range({ prefix: layout.auditBlocks, limit: atOnce + 1 });
    const { count, bytes } = doomedOf(entries, trimmed.head.bytes, keep);
    const doomed = entries.slice(0, count);
    const next = entries[doomed.length];
    if (doomed.length === 0 || next === undefined) return trimmed;
    const after = { ...trimmed.head, bytes, oldest: decodeBlockHead(next).first };
    const operations = [
      ...doomed.map(({ key }): Operation => ({ type: 'delete', key })),
      { type: 'put' as const, key: layout.auditHead, value: encodeRecord(after) },
    ];
    const { succeeded, revision } = await store.transact([{ key: layout.auditHead, modRevision: trimmed.modRevision }], operations);
    if (!succeeded) return trimmed;
    trimmed = { head: after, modRevision: revision, dropped: trimmed.dropped + doomed.length };
  }
}

/** How many of the oldest go, and the bytes of those that stay. */
function doomedOf(entries: readonly KeyValue[], allBytes: number, { keep, nowMs }: Keep): { count: number; bytes: number } {
  let [count, bytes] = [0, allBytes];
  for (const entry of entries.slice(0, -1)) {
    if (decodeBlockHead(entry).sealedAtMs >= nowMs - keep.ageMs && bytes <= keep.bytes) break;
    bytes -= entry.value.length;
    count += 1;
  }
  return { count, bytes };
}
