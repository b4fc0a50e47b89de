import type { AuditHeadRecord } from '../audit/index.ts';
import { layout } from '../state/layout.ts';
import {
  type AuthorityRecord,
  type ClockMarkRecord,
  decodeRecord,
  encodeRecord,
  type NodeRecord,
  type RevocationEpochRecord,
  type RotationRecord,
} from '../state/records.ts';

/** What a restore has to know of a backup before it writes, and what it changes in it. */
export class RestorePlan {
  readonly #keepTokens: boolean;
  readonly #nowMs: number;
  /** Entries that are put in the place of the backup's, or beside them; undefined: left out. */
  readonly changes = new Map<string, Uint8Array | undefined>();
  readonly nodes = new Map<string, NodeRecord>();
  controlCa: AuthorityRecord | undefined;
  auditHead: AuditHeadRecord | undefined;
  /** For people: what is not taken along. */
  readonly dropped = { tokens: 0, repairWindows: 0, rotationsPaused: 0 };

  constructor({ keepTokens, nowMs }: { keepTokens: boolean; nowMs: number }) {
    this.#keepTokens = keepTokens;
    this.#nowMs = nowMs;
  }

  /** Looks at an entry of the backup. */
  note(key: string, value: Uint8Array): void {
    if (key === layout.controlCa) this.controlCa = decodeRecord<AuthorityRecord>(key, value);
    else if (key === layout.auditHead) this.auditHead = decodeRecord<AuditHeadRecord>(key, value);
    else if (key === layout.clockMark) this.#raise(decodeRecord<ClockMarkRecord>(key, value));
    else if (key === layout.restored) this.changes.set(key, undefined);
    else if (key.startsWith(layout.nodes)) this.nodes.set(key, decodeRecord<NodeRecord>(key, value));
    else if (key.startsWith(layout.tokens) && !this.#keepTokens) this.#drop(key, 'tokens');
    else if (key.startsWith(layout.repairWindows)) this.#drop(key, 'repairWindows');
    else if (key.startsWith(`${layout.root}restart-leases/`)) this.changes.set(key, undefined);
    else if (key.startsWith(layout.revocationEpochs))
      this.changes.set(key, encodeRecord<RevocationEpochRecord>({ changedAtMs: this.#nowMs }));
    else if (key.startsWith(layout.rotations)) this.#pause(key, decodeRecord<RotationRecord>(key, value));
  }

  /** Keys that are put although the backup does not have them, in order. */
  added(has: (key: string) => boolean): string[] {
    return [...this.changes.keys()].filter((key) => this.changes.get(key) !== undefined && !has(key)).sort(compare);
  }

  /** Nothing may be younger than what had been seen; and what has been lived through since counts, too. */
  #raise({ latestMs }: ClockMarkRecord): void {
    this.changes.set(layout.clockMark, encodeRecord<ClockMarkRecord>({ latestMs: Math.max(latestMs, this.#nowMs) }));
  }

  /** How far it came since the backup is not known: a person looks before it goes on. */
  #pause(key: string, record: RotationRecord): void {
    if (record.endedAtMs !== undefined || record.pausedAtMs !== undefined) return;
    this.dropped.rotationsPaused += 1;
    this.changes.set(key, encodeRecord<RotationRecord>({ ...record, pausedAtMs: this.#nowMs, pausedBy: restoreActor }));
  }

  #drop(key: string, what: 'tokens' | 'repairWindows'): void {
    this.changes.set(key, undefined);
    this.dropped[what] += 1;
  }
}

/** Who did what a restore does. */
export const restoreActor = 'restore';

export function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
