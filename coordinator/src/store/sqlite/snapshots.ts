import { EvercertError } from '@evercert/shared/errors';
import { compareKeys } from '../prefix.ts';
import type { KeyValue, SnapshotPage } from '../types.ts';
import type { Tables } from './tables.ts';

/** A page ends after so many entries, or earlier once its values have so many bytes. */
const pageEntries = 128;
const pageBytes = 1024 * 1024;

/**
 * Snapshots that are being read. The store's connection is the only one that the file admits (it is locked for this process, and its newest keys are in memory), so a snapshot is no
 * read transaction of SQLite: what a write replaces is kept here as it was, for every snapshot that has not come past it yet.
 */
export class Snapshots {
  readonly #tables: Tables;
  readonly #open = new Set<Snapshot>();
  readonly #maxBytes: number;

  /** `maxBytes`: of replaced values that one snapshot keeps; beyond them it fails, so that a reader that never goes on costs no memory. */
  constructor(tables: Tables, options: { maxBytes: number }) {
    this.#tables = tables;
    this.#maxBytes = options.maxBytes;
  }

  /** Called before a key is written or deleted, while its value is still there. After a rollback what was kept is right all the same. */
  beforeChange(key: string): void {
    for (const snapshot of this.#open) snapshot.keep(key);
  }

  open(prefix: string, revision: number): Snapshot {
    const snapshot = new Snapshot(this.#tables, { prefix, revision, maxBytes: this.#maxBytes, onClose: () => this.#open.delete(snapshot) });
    this.#open.add(snapshot);
    return snapshot;
  }
}

interface SnapshotOptions {
  prefix: string;
  revision: number;
  maxBytes: number;
  onClose(): void;
}

export class Snapshot {
  readonly #tables: Tables;
  readonly #options: SnapshotOptions;
  /** What was replaced since, as it was. */
  readonly #kept = new Map<string, KeyValue>();
  #keptBytes = 0;
  /** Keys up to this one were handed out. */
  #after: string | undefined;
  #overrun = false;

  constructor(tables: Tables, options: SnapshotOptions) {
    this.#tables = tables;
    this.#options = options;
  }

  keep(key: string): void {
    if (this.#overrun || !key.startsWith(this.#options.prefix) || this.#kept.has(key)) return;
    if (this.#after !== undefined && compareKeys(key, this.#after) <= 0) return;
    const entry = this.#tables.entry(key);
    if (entry === undefined || entry.modRevision > this.#options.revision) return;
    this.#kept.set(key, entry);
    this.#keptBytes += entry.value.byteLength + key.length;
    if (this.#keptBytes <= this.#options.maxBytes) return;
    this.#overrun = true;
    this.close();
  }

  /** The next page; undefined: there are no more. FailedPrecondition: too much was written since the snapshot began. */
  next(): SnapshotPage | undefined {
    const { prefix, revision } = this.#options;
    for (;;) {
      if (this.#overrun) throw overrun(revision);
      const after = this.#after;
      const read = this.#tables.range({ prefix, ...(after !== undefined && { after }) }, pageEntries);
      const current = upToBytes(read);
      const last = current.length < read.length || read.length === pageEntries ? current.at(-1)?.key : undefined;
      const kept = [...this.#kept.values()].filter(({ key }) => last === undefined || compareKeys(key, last) <= 0);
      // After a rollback a key may be both: kept, and as it was.
      const unchanged = current.filter((entry) => entry.modRevision <= revision && !this.#kept.has(entry.key));
      const entries = [...unchanged, ...kept].sort((a, b) => compareKeys(a.key, b.key));
      for (const { key } of kept) this.#kept.delete(key);
      this.#after = last ?? entries.at(-1)?.key ?? after;
      if (last === undefined) this.close();
      if (entries.length > 0) return { entries, revision };
      if (last === undefined) return undefined;
    }
  }

  /** Idempotent. */
  close(): void {
    this.#kept.clear();
    this.#options.onClose();
  }
}

/** At least one entry. */
function upToBytes(entries: KeyValue[]): KeyValue[] {
  let bytes = 0;
  const count = entries.findIndex(({ value }, index) => {
    bytes += value.byteLength;
    return bytes > pageBytes && index > 0;
  });
  return count === -1 ? entries : entries.slice(0, count);
}

function overrun(revision: number): EvercertError {
  return new EvercertError(
    'FailedPrecondition',
    `too much was written since the snapshot of revision ${revision} began for the store to keep what it replaced; start the snapshot again, and read it faster`,
  );
}
