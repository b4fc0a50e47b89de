import { canonicalJson } from './canonical.ts';
import { type AuditLine, maxLineLength } from './types.ts';

/** A line with its line feed. */
export function formatLine(line: AuditLine): string {
  return `${canonicalJson(line)}\n`;
}

const hash = /^[0-9a-f]{64}$/;
const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Reads a line without its line feed. A text instead: what is wrong with it. */
export function parseLine(text: string): AuditLine | string {
  if (text.length > maxLineLength) return `the line has more than ${maxLineLength} characters`;
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return 'the line is not JSON: it was cut off or changed';
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the line is not a JSON object';
  const fault = faultOf(value);
  if (fault !== undefined) return fault;
  if (canonicalJson(value) !== text) return 'the line is not in the canonical form: it was written by something else, or changed';
  return value as unknown as AuditLine;
}

function faultOf(value: Record<string, unknown>): string | undefined {
  switch (value['type']) {
    case 'header':
      if (value['v'] !== 1) return `the form of the log has version ${String(value['v'])}; this program reads version 1`;
      return wrongKeys(value, ['log', 'previous', 'sequence', 'type', 'v']) ?? wrongField(value, ['log'], ['previous']);
    case 'entry':
      if (!Number.isSafeInteger(value['revision'])) return 'revision is not a whole number';
      return (
        wrongKeys(value, ['event', 'hash', 'revision', 'sequence', 'type']) ?? wrongField(value, [], ['hash']) ?? wrongEvent(value['event'])
      );
    case 'checkpoint':
      if (!time.test(String(value['time']))) return 'time is not a time';
      return (
        wrongKeys(value, ['certificate', 'hash', 'log', 'sequence', 'signature', 'time', 'type']) ??
        wrongField(value, ['log', 'time', 'certificate', 'signature'], ['hash'])
      );
    default:
      return 'the line is neither a header nor an entry nor a checkpoint';
  }
}

function wrongKeys(value: Record<string, unknown>, expected: readonly string[]): string | undefined {
  const keys = Object.keys(value).sort();
  return keys.join() === expected.join() ? undefined : `the fields are ${keys.join(', ')}; expected ${expected.join(', ')}`;
}

function wrongField(value: Record<string, unknown>, texts: readonly string[], hashes: readonly string[]): string | undefined {
  if (!Number.isSafeInteger(value['sequence']) || Number(value['sequence']) < 0) return 'sequence is not a whole number';
  const text = texts.find((field) => typeof value[field] !== 'string');
  if (text !== undefined) return `${text} is not a text`;
  const odd = hashes.find((field) => typeof value[field] !== 'string' || !hash.test(value[field]));
  return odd === undefined ? undefined : `${odd} is not a SHA-256 in hexadecimal`;
}

function wrongEvent(event: unknown): string | undefined {
  if (typeof event !== 'object' || event === null || Array.isArray(event)) return 'the entry has no event';
  const { id, time: at, actor, reason, details } = event as Record<string, unknown>;
  if (typeof id !== 'string' || typeof actor !== 'string' || typeof reason !== 'string') return 'the event has no id, actor or reason';
  if (typeof at !== 'string' || !time.test(at)) return 'the event has no time';
  if (details !== undefined && (typeof details !== 'object' || details === null)) return 'the details of the event are not an object';
  return undefined;
}
