import { type AuditLine, afterCheckpoint, parseLine } from '@evercert/shared/audit';
import { EvercertError } from '@evercert/shared/errors';

/** A place in a log: behind a line. */
export interface LogPlace {
  log: string;
  /** Of the last entry before it. */
  sequence: number;
  /** The chain's value there. */
  value: string;
}

/** Behind a line; a checkpoint signs the value before it, so that no other line is needed. */
export function placeBehind(log: string, line: AuditLine): LogPlace {
  switch (line.type) {
    case 'header':
      return { log: line.log, sequence: line.sequence - 1, value: line.previous };
    case 'entry':
      return { log, sequence: line.sequence, value: line.hash };
    case 'checkpoint':
      return { log: line.log, sequence: line.sequence, value: afterCheckpoint(line.hash, line) };
  }
}

/** The last of some whole lines. */
export function lastLine(text: string): AuditLine {
  return readLine(text.slice(text.lastIndexOf('\n', text.length - 2) + 1, -1));
}

/** DataLoss: it is no line of a log. */
export function readLine(text: string): AuditLine {
  const line = parseLine(text);
  if (typeof line === 'string') throw new EvercertError('DataLoss', `the audit log is damaged (${line}): run 'evercert audit verify'`);
  return line;
}

/**
 * What of some lines comes behind a place: undefined when the place was not reached yet.
 * FailedPrecondition: the lines have passed it, and the log was never there: it is another branch.
 */
export function linesBehind(text: string, place: LogPlace): string | undefined {
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at);
    const here = placeBehind(place.log, readLine(text.slice(at, end)));
    if (here.log !== place.log || here.sequence > place.sequence) {
      throw new EvercertError(
        'FailedPrecondition',
        `the audit log has parted from what was written into files behind entry ${place.sequence}`,
      );
    }
    at = end + 1;
    if (here.sequence === place.sequence && here.value === place.value) return text.slice(at);
  }
  return undefined;
}
