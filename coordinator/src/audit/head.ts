import { genesis } from '@evercert/shared/audit';
import { layout } from '../state/layout.ts';
import { decodeRecord, encodeRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';
import { throughRevision } from './position.ts';
import type { AuditHeadRecord, AuditRelinkRecord, AuditStoreRecord } from './records.ts';

export interface OpenedHead {
  record: AuditHeadRecord;
  modRevision: number;
  /** The store is another than the one in which the log was sealed so far. */
  moved: { store: string; relink: AuditRelinkRecord | undefined } | undefined;
}

/** Reads where the log stands; where there is none yet, begins one. `newId`: 32 hexadecimal digits, never the same. */
export async function openHead(store: Store, { nowMs, newId }: { nowMs: number; newId: () => string }): Promise<OpenedHead> {
  const identity = await storeIdentity(store, newId);
  const entry = await store.get(layout.auditHead);
  if (entry === undefined) return { record: newHead(identity, { nowMs, log: newId() }), modRevision: 0, moved: undefined };
  const record = decodeRecord<AuditHeadRecord>(entry.key, entry.value);
  const note = await store.get(layout.auditRelink);
  const relink = note && decodeRecord<AuditRelinkRecord>(note.key, note.value);
  const moved = record.store !== identity || record.relisting || relink ? { store: identity, relink } : undefined;
  return { record, modRevision: entry.modRevision, moved };
}

/** A copy of the store has the same record of itself, but made at another revision. */
async function storeIdentity(store: Store, newId: () => string): Promise<string> {
  const key = layout.auditStore;
  let entry = await store.get(key);
  if (entry === undefined) {
    // One that another coordinator made meanwhile is as good.
    await store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value: encodeRecord<AuditStoreRecord>({ id: newId() }) }]);
    entry = await store.get(key);
  }
  if (entry === undefined) throw new Error('the record of the store is written and not there');
  return `${decodeRecord<AuditStoreRecord>(key, entry.value).id}@${entry.createRevision}`;
}

function newHead(store: string, { nowMs, log }: { nowMs: number; log: string }): AuditHeadRecord {
  return {
    log,
    sequence: 0,
    hash: genesis(log),
    block: 0,
    position: throughRevision(-1),
    store,
    checkpointSequence: 0,
    checkpointAtMs: nowMs,
    oldest: 1,
    bytes: 0,
  };
}

/**
 * For whoever fills a store with another's records (a restore, a migration): these belong into its last transaction. The log then tells of it, takes in what it lacks, and goes on.
 */
export function relinkOperations(relink: AuditRelinkRecord): Operation[] {
  return [
    { type: 'delete', key: layout.auditStore },
    { type: 'put', key: layout.auditRelink, value: encodeRecord(relink) },
  ];
}
