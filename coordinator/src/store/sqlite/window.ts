/**
 * The revisions that are still remembered, for watches: where in `history` each begins and when it was written, and which of their rows no key points at
 * any more. In memory; rebuilt from `history` when the store opens.
 */
export class Window {
  /** All revisions up to this one are forgotten. */
  compacted: number;
  /** First row that belongs to the window. */
  start: number;
  readonly #firstRows: number[] = [];
  readonly #writtenAtMs: number[] = [];
  readonly #obsolete = new Set<number>();
  readonly #keepRevisions: number;
  readonly #keepMs: number;

  constructor(from: { compacted: number; start: number }, keep: { revisions: number; ageMs: number }) {
    this.compacted = from.compacted;
    this.start = from.start;
    this.#keepRevisions = keep.revisions;
    this.#keepMs = keep.ageMs;
  }

  get revision(): number {
    return this.compacted + this.#firstRows.length;
  }

  add(firstRow: number, nowMs: number): void {
    this.#firstRows.push(firstRow);
    this.#writtenAtMs.push(nowMs);
  }

  markObsolete(row: number): void {
    this.#obsolete.add(row);
  }

  /** First row of a revision of the window, or undefined for the one that comes next. */
  firstRow(revision: number): number | undefined {
    return this.#firstRows[revision - this.compacted - 1];
  }

  /**
   * What can be forgotten now: too many or too old revisions, in steps worth their while, never the last one. Undefined: nothing.
   * `rows` are those to delete; `forget` is called once that is committed.
   */
  due(nowMs: number): { compacted: number; start: number; rows: number[] } | undefined {
    const count = Math.min(this.#dueCount(nowMs), maxStep, this.#firstRows.length - 1);
    const start = this.#firstRows[count];
    if (count <= 0 || start === undefined) return undefined;
    const rows: number[] = [];
    for (let row = this.start; row < start; row++) if (this.#obsolete.has(row)) rows.push(row);
    return { compacted: this.compacted + count, start, rows };
  }

  forget(step: { compacted: number; start: number; rows: number[] }): void {
    const count = step.compacted - this.compacted;
    this.#firstRows.splice(0, count);
    this.#writtenAtMs.splice(0, count);
    for (const row of step.rows) this.#obsolete.delete(row);
    this.compacted = step.compacted;
    this.start = step.start;
  }

  #dueCount(nowMs: number): number {
    const surplus = this.#firstRows.length - this.#keepRevisions;
    if (surplus >= Math.min(minStep, this.#keepRevisions)) return surplus;
    const oldEnough = nowMs - this.#keepMs;
    if ((this.#writtenAtMs[Math.min(minStep, this.#writtenAtMs.length) - 1] ?? nowMs) > oldEnough) return 0;
    const firstYoung = this.#writtenAtMs.findIndex((atMs) => atMs > oldEnough);
    return firstYoung === -1 ? this.#writtenAtMs.length : firstYoung;
  }
}

/** Neighbouring rows share pages, so forgetting many at once is cheaper; but one step must not hold up a commit for long. */
const minStep = 64;
const maxStep = 512;
