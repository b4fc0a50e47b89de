import { EvercertError } from '@evercert/shared/errors';
import type { WatchEvent } from '../types.ts';
import type { ChangeLog } from '../watcher.ts';
import type { Tables } from './tables.ts';
import { Window } from './window.ts';

/** Rows that a watcher that is behind reads at a time, more only for a revision that has more. */
const pageRows = 512;

/** The remembered changes, read from `history`. */
export class SqliteChangeLog implements ChangeLog {
  readonly #tables: Tables;
  readonly #window: Window;
  readonly #guard: <T>(read: () => T) => T;

  /** `guard` runs each read, and turns what SQLite throws into the store's errors. */
  constructor(tables: Tables, window: Window, guard: <T>(read: () => T) => T) {
    this.#tables = tables;
    this.#window = window;
    this.#guard = guard;
  }

  get revision(): number {
    return this.#window.revision;
  }

  read(fromRevision: number, prefix: string): { changes: WatchEvent[][]; next: number } {
    const { compacted, revision } = this.#window;
    if (fromRevision <= compacted) {
      throw new EvercertError(
        'FailedPrecondition',
        `changes from revision ${fromRevision} on are forgotten, the store remembers from ${compacted + 1}; list again and watch from there`,
        { metadata: { fromRevision: String(fromRevision), compactedRevision: String(compacted) } },
      );
    }
    const start = this.#window.firstRow(fromRevision);
    if (start === undefined) return { changes: [], next: Math.max(fromRevision, revision + 1) };
    let next = fromRevision + 1;
    while ((this.#window.firstRow(next + 1) ?? Number.POSITIVE_INFINITY) - start <= pageRows) next += 1;
    const end = this.#window.firstRow(next) ?? Number.MAX_SAFE_INTEGER;
    return { changes: this.#guard(() => this.#tables.changes(start, end, prefix)), next };
  }
}

/** Rebuilds the window from the file; its revisions count as written now. DataLoss: rows are missing. */
export function readWindow(
  tables: Tables,
  options: { revisions: number; ageMs: number; nowMs: number; file: string },
): { window: Window; nextRow: number } {
  const window = new Window(tables.window(), options);
  let nextRow = window.start;
  for (const { seq, revision, obsolete } of tables.rowsFrom(window.start)) {
    if (revision === window.revision + 1) window.add(seq, options.nowMs);
    if (seq !== nextRow || revision !== window.revision) {
      throw new EvercertError(
        'DataLoss',
        `the store's file ${options.file} is damaged (its history has a gap at row ${nextRow}); restore a backup`,
        {
          metadata: { file: options.file },
        },
      );
    }
    if (obsolete) window.markObsolete(seq);
    nextRow = seq + 1;
  }
  return { window, nextRow };
}
