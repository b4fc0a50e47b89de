import { type RenewRevocation, type RevocationEntry, revocationValue, valueFields } from '@evercert/shared/manifest';
import type { RevocationEntryRecord, RevocationRecord } from '../state/records.ts';

/** An object as the document that would make it so. */
export function revocationDocument({ apiVersion, name, namespace, description, entries }: RevocationRecord): RenewRevocation {
  return {
    kind: 'RenewRevocation',
    apiVersion,
    metadata: { name, ...(namespace !== '' && { namespace }) },
    spec: { description, revocations: entries.map(entryDocument) },
  };
}

function entryDocument({ kind, value, notBeforeMs, description, reason, includeSuccessors }: RevocationEntryRecord): RevocationEntry {
  const base = { description, reason, ...(notBeforeMs !== undefined && { notBeforeMs }) };
  if (kind === 'SerialNumber') return { ...base, kind, serialNumber: value, includeSuccessors: includeSuccessors ?? true };
  return { ...base, kind, [valueFields[kind]]: value } as RevocationEntry;
}

/** An entry as it is stored. One that was there before, the same in what it matches, keeps the time when it came, and the successors that there were then. */
export function entryRecord(entry: RevocationEntry, earlier: readonly RevocationEntryRecord[], nowMs: number): RevocationEntryRecord {
  const { kind, notBeforeMs, description, reason } = entry;
  const value = revocationValue(entry);
  const includeSuccessors = kind === 'SerialNumber' ? entry.includeSuccessors : undefined;
  const known = earlier.find(
    (one) => one.kind === kind && one.value === value && one.notBeforeMs === notBeforeMs && one.includeSuccessors === includeSuccessors,
  );
  return {
    kind,
    value,
    ...(notBeforeMs !== undefined && { notBeforeMs }),
    description,
    reason,
    ...(includeSuccessors !== undefined && { includeSuccessors }),
    successorSerials: includeSuccessors ? (known?.successorSerials ?? []) : [],
    addedAtMs: known?.addedAtMs ?? nowMs,
  };
}
