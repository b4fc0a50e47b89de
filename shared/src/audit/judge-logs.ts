import type { AuditFault, AuditFaultKind, CheckedLog } from './check-log.ts';
import type { AuditReport, VerifyOptions } from './verify.ts';

/** Puts the logs in a row and judges how they fit: they may follow each other, overlap, and one may hold what another lacks. */
export function judgeLogs(logs: readonly CheckedLog[], { partial }: Pick<VerifyOptions, 'partial'>): AuditReport {
  const row = [...logs].sort((a, b) => a.first - b.first || a.last - b.last);
  const faults = row.flatMap((log) => log.faults);
  const notes: string[] = [];
  const branches = new Branches();
  for (const [index, log] of row.entries()) {
    for (const earlier of row.slice(0, index)) comparePair(earlier, log, { branches, faults, notes });
  }
  faults.push(...gaps(row), ...strangeKeys(row), ...beginning(row, partial), ...unsigned(row, branches));
  const first = row[0]?.first ?? 1;
  const last = Math.max(0, ...row.map((log) => log.last));
  const signed = Math.max(0, ...row.map((log) => log.signed));
  return { faults, notes, logs: row, log: row[0]?.log, first, last, signed };
}

interface Findings {
  branches: Branches;
  faults: AuditFault[];
  notes: string[];
}

function comparePair(earlier: CheckedLog, later: CheckedLog, { branches, faults, notes }: Findings): void {
  if (earlier.log !== later.log) {
    branches.part(earlier, later);
    const message = `it is another log (${String(later.log)}) than ${earlier.source} (${String(earlier.log)})`;
    faults.push(faultOf('broken', later, later.first, message));
    return;
  }
  const fork = earlier.hashes.forkFrom(later.hashes);
  if (fork !== undefined) {
    branches.part(earlier, later);
    const message = `it differs from ${earlier.source} from entry ${fork} on`;
    if (earlier.restored.has(fork) !== later.restored.has(fork)) {
      notes.push(`${later.source}: ${message}: the store was restored from a backup there`);
    } else faults.push(faultOf('fork', later, fork, `${message}: two logs were made of one`));
  } else if (!followsFrom(earlier, later)) {
    branches.part(earlier, later);
    const message = `its beginning does not follow from entry ${later.first - 1} of ${earlier.source}`;
    faults.push(faultOf('broken', later, later.first, message));
  }
}

/** Whether the later log's header has a value that the earlier one's chain had at that place; true where that place is not in it. */
function followsFrom(earlier: CheckedLog, later: CheckedLog): boolean {
  const before = later.first - 1;
  if (later.previous === undefined || before < earlier.first || before > earlier.last) return true;
  const values = earlier.checkpointValues.get(before) ?? [];
  return earlier.hashes.isAt(before, later.previous) || values.includes(later.previous);
}

function gaps(row: readonly CheckedLog[]): AuditFault[] {
  const found: AuditFault[] = [];
  let end = row[0]?.first ?? 1;
  for (const log of row) {
    if (log.first > end) found.push(faultOf('missing', log, end, `entries ${end} to ${log.first - 1} are in none of the files`));
    end = Math.max(end, log.last + 1);
  }
  return found;
}

/** A checkpoint by an earlier CA is good when a later one, of a log that goes on exactly where this one ends, is trusted. */
function strangeKeys(row: readonly CheckedLog[]): AuditFault[] {
  const coveredBy = (log: CheckedLog, seen: number): boolean =>
    seen < row.length &&
    row.some(
      (next) => next !== log && next.first === log.last + 1 && next.previous === log.end && (next.signed > 0 || coveredBy(next, seen + 1)),
    );
  return row.flatMap((log) => (log.strange.length > 0 && !coveredBy(log, 0) ? log.strange : []));
}

function beginning([head]: readonly CheckedLog[], partial: boolean): AuditFault[] {
  if (head === undefined || head.first <= 1 || partial) return [];
  const message = `it begins with entry ${head.first}: what was before is not here; if it is meant to be a part of the log, say so with --partial`;
  return [faultOf('beginning', head, head.first, message)];
}

/** The end of each log must be covered by a checkpoint of its own, or of one that says the same and goes on. */
function unsigned(row: readonly CheckedLog[], branches: Branches): AuditFault[] {
  return row.flatMap((log) => {
    const signed = Math.max(...row.filter((other) => !branches.areApart(log, other)).map((other) => other.signed));
    if (log.last <= signed || log.last < log.first) return [];
    const from = Math.max(signed + 1, log.first);
    const message = `no trusted checkpoint covers the entries ${from} to ${log.last}: the log was cut off behind them, or they were not signed yet when it was read`;
    return [faultOf('cut-off', log, log.last, message)];
  });
}

/** Logs that have parted. */
class Branches {
  readonly #pairs = new Map<CheckedLog, Set<CheckedLog>>();

  part(one: CheckedLog, other: CheckedLog): void {
    for (const [a, b] of [
      [one, other],
      [other, one],
    ] as const) {
      this.#pairs.set(a, (this.#pairs.get(a) ?? new Set()).add(b));
    }
  }

  areApart(one: CheckedLog, other: CheckedLog): boolean {
    return this.#pairs.get(one)?.has(other) === true;
  }
}

function faultOf(kind: AuditFaultKind, { source }: CheckedLog, sequence: number, message: string): AuditFault {
  return { kind, source, line: 0, sequence, message };
}
