import type { z } from 'zod';
import type { Fault } from '../errors/index.ts';
import { didYouMean } from './nearest.ts';
import { formatPath, type Path, type SourceMap } from './source-map.ts';

type Issue = z.core.$ZodIssue;
type RawIssue = z.core.$ZodRawIssue;

/** Longest piece of the input that a message repeats. */
const maxQuoted = 60;

export type Validated<T> = { ok: true; value: T } | { ok: false; faults: Fault[] };

/**
 * Checks a value against a schema. Every fault carries file, line, column and field, says what was expected, and for an unknown key the nearest known one.
 * Schemas must be `z.strictObject` throughout: a plain `z.object` would drop unknown keys in silence.
 */
export function validate<S extends z.ZodType>(schema: S, value: unknown, source: SourceMap): Validated<z.output<S>> {
  const knownKeys = new Map<string, string[]>();
  const error = (issue: RawIssue): string => {
    if (issue.code === 'unrecognized_keys') knownKeys.set(formatPath(issue.path ?? []), shapeKeys(issue.inst));
    return describeIssue(issue);
  };
  const result = schema.safeParse(value, { error });
  if (result.success) return { ok: true, value: result.data };
  const faults = result.error.issues.flatMap((issue) => issueFaults(issue, issue.path, source, knownKeys));
  return { ok: false, faults: faults.sort(byPlace) };
}

function issueFaults(issue: Issue, path: Path, source: SourceMap, knownKeys: ReadonlyMap<string, string[]>): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys.get(formatPath(path)) ?? [];
    return issue.keys.map((key) => source.fault([...path, key], unknownKey(key, known), 'key'));
  }
  if (issue.code === 'invalid_union') {
    const branch = deepestBranch(issue.errors);
    if (branch !== undefined) return branch.flatMap((inner) => issueFaults(inner, [...path, ...inner.path], source, knownKeys));
  }
  if (issue.code === 'invalid_key') {
    return [source.fault(path, `the key is not valid: ${issue.issues.map((inner) => inner.message).join('; ')}`, 'key')];
  }
  return [source.fault(path, issue.message)];
}

function unknownKey(key: string, known: readonly string[]): string {
  const suggestion = didYouMean(key, known);
  const listed = known.length > 0 ? `; known keys: ${known.join(', ')}` : '';
  return `unknown key "${quoted(key)}"${suggestion || listed}`;
}

/** Of a union's forms, the one that the value came nearest to: whose faults lie deepest. None if every form failed at the top. */
function deepestBranch(branches: readonly Issue[][]): Issue[] | undefined {
  const depth = (branch: Issue[]): number => Math.max(0, ...branch.map((issue) => issue.path.length));
  const best = branches.reduce<Issue[] | undefined>((a, b) => (a === undefined || depth(b) > depth(a) ? b : a), undefined);
  return best !== undefined && depth(best) > 0 ? best : undefined;
}

function shapeKeys(schema: unknown): string[] {
  const def = (schema as z.core.$ZodObject | undefined)?._zod.def;
  return def?.shape === undefined ? [] : Object.keys(def.shape);
}

function describeIssue(issue: RawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return mismatch(typeNames[issue.expected] ?? `a ${issue.expected}`, issue.input);
    case 'invalid_value': {
      const values = issue.values.map((value) => String(value));
      const expected = issue.values.map((value) => JSON.stringify(value)).join(', ');
      const hint = typeof issue.input === 'string' ? didYouMean(issue.input, values) : '';
      return `${mismatch(values.length === 1 ? expected : `one of ${expected}`, issue.input)}${hint}`;
    }
    case 'too_small':
      return outOfBounds('at least', issue.minimum, issue.origin, issue.inclusive !== false, issue.input);
    case 'too_big':
      return outOfBounds('at most', issue.maximum, issue.origin, issue.inclusive !== false, issue.input);
    case 'invalid_format':
      return issue.format === 'regex' ? `expected text that matches ${issue.pattern}` : `expected a valid ${issue.format}`;
    case 'not_multiple_of':
      return `expected a multiple of ${issue.divisor}`;
    case 'invalid_union':
      return `matches none of the forms that are allowed here; found ${describeValue(issue.input)}`;
    default:
      return issue.message ?? 'not valid';
  }
}

const typeNames: Record<string, string> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  null: 'nothing',
};

function mismatch(expected: string, input: unknown): string {
  return input === undefined ? `missing; expected ${expected}` : `expected ${expected}, found ${describeValue(input)}`;
}

function outOfBounds(relation: string, bound: number | bigint, origin: string, inclusive: boolean, input: unknown): string {
  const unit =
    origin === 'string'
      ? ' characters'
      : origin === 'array' || origin === 'set'
        ? ' items'
        : origin === 'record' || origin === 'object'
          ? ' keys'
          : '';
  const found = unit === '' ? describeValue(input) : `${sizeOf(input)}`;
  const wanted = inclusive ? `${relation} ${bound}` : relation === 'at least' ? `more than ${bound}` : `less than ${bound}`;
  return `expected ${wanted}${unit}, found ${found}`;
}

function sizeOf(input: unknown): number {
  if (typeof input === 'string' || Array.isArray(input)) return input.length;
  return Object.keys(Object(input)).length;
}

/** What a value is, for messages: `the number 30`, `"text"`, `a list`. Long text is cut. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (typeof value === 'string') return `"${quoted(value)}"`;
  if (typeof value === 'number') return `the number ${value}`;
  if (typeof value === 'boolean') return String(value);
  return Array.isArray(value) ? 'a list' : 'a mapping';
}

/** Text made fit for one line of a message: control characters escaped, cut at a bound. */
export function quoted(text: string): string {
  const cut = text.length > maxQuoted ? `${text.slice(0, maxQuoted)}…` : text;
  return JSON.stringify(cut).slice(1, -1);
}

function byPlace(a: Fault, b: Fault): number {
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}
