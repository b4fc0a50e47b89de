import { type AuditFault, type CheckedLog, LogCheck } from './check-log.ts';
import { judgeLogs } from './judge-logs.ts';
import { maxLineLength } from './types.ts';

export interface AuditSource {
  /** For messages: the file's name. */
  name: string;
  /** Its bytes. What it throws ends the verification. */
  bytes: AsyncIterable<Uint8Array>;
}

export interface VerifyOptions {
  /** DER of the control CA, and of those before it. */
  anchors: readonly Buffer[];
  /** The sources are a part of a log: that it begins earlier and ends later is no fault. */
  partial: boolean;
}

export interface AuditReport {
  faults: AuditFault[];
  /** What a person should know, and is no fault. */
  notes: string[];
  logs: CheckedLog[];
  /** Id of the log. */
  log: string | undefined;
  first: number;
  last: number;
  /** Last entry that a trusted checkpoint covers; 0: none is. */
  signed: number;
}

/** Checks files and exports of one log: each in itself, then all of them together. */
export async function verifyAuditLog(sources: readonly AuditSource[], options: VerifyOptions): Promise<AuditReport> {
  const logs: CheckedLog[] = [];
  for (const source of sources) logs.push(await checkSource(source, options.anchors));
  return judgeLogs(logs, options);
}

async function checkSource({ name, bytes }: AuditSource, anchors: readonly Buffer[]): Promise<CheckedLog> {
  const check = new LogCheck(name, anchors);
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = Buffer.alloc(0);
  for await (const chunk of bytes) {
    rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    let begin = 0;
    for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a, begin)) {
      readLine(check, decoder, rest.subarray(begin, end));
      begin = end + 1;
    }
    rest = rest.subarray(begin);
    // The bytes of no line are so many; what comes behind is read no further.
    if (rest.length > 4 * maxLineLength) break;
  }
  if (rest.length > 0) {
    readLine(check, decoder, rest);
    check.fault('cut-off', 'the last line has no end: the log was cut off');
  }
  return check.end();
}

/** Bytes that are no UTF-8 are no text that could stand for another. */
function readLine(check: LogCheck, decoder: TextDecoder, bytes: Buffer): void {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    // Not JSON either; told by the check with its line number.
    text = '';
  }
  check.line(text);
}
