import { readFileSync, statSync } from 'node:fs';
import type { z } from 'zod';
import { EvercertError, type Fault } from '../errors/index.ts';
import { durationExample, tryParseDuration } from './duration.ts';
import { SourceMap } from './source-map.ts';
import { validate } from './validate.ts';
import { readYaml, yamlLimits } from './yaml-source.ts';

/**
 * Reads one YAML document against a schema of `z.strictObject`s; an empty text counts as an empty mapping, so that every default applies. The result is frozen.
 * Throws InvalidConfig with every fault: file, line, column, field, what was expected.
 */
export function loadYaml<S extends z.ZodType>(schema: S, text: string, file: string): z.output<S> {
  const { documents, faults } = readYaml(text, file);
  const extra = documents[1];
  if (extra !== undefined)
    faults.push({ field: '', message: 'expected one document, found another one here', file, line: extra.line, column: 1 });
  const document = documents[0];
  if (document === undefined && faults.length > 0) throw invalid(file, faults);
  const result =
    document === undefined ? validate(schema, {}, new SourceMap(file, new Map())) : validate(schema, document.value, document.source);
  if (!result.ok) faults.push(...result.faults);
  if (!result.ok || faults.length > 0) throw invalid(file, faults);
  return deepFreeze(result.value);
}

/** `loadYaml` over a file. A file that is missing, unreadable, too large or not UTF-8 is InvalidConfig too, saying so. */
export function readConfigFile<S extends z.ZodType>(schema: S, path: string): z.output<S> {
  return loadYaml(schema, readText(path), path);
}

function readText(path: string): string {
  try {
    const info = statSync(path);
    if (!info.isFile()) throw new EvercertError('InvalidConfig', `the configuration ${path} is no regular file`);
    // A character takes at most four bytes; the exact limit is checked on the text.
    if (info.size > 4 * yamlLimits.characters)
      throw new EvercertError('InvalidConfig', `the configuration ${path} is too large (${info.size} bytes)`);
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    if (error instanceof EvercertError) throw error;
    throw new EvercertError('InvalidConfig', `the configuration ${path} cannot be read: ${whyUnreadable(error)}`, { cause: error });
  }
}

function whyUnreadable(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT' || code === 'ENOTDIR') return 'there is no such file; name another one with --config';
  if (code === 'EACCES') return 'permission denied; run as a user that may read it';
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return 'it is not UTF-8 text';
  return error instanceof Error ? error.message : String(error);
}

function invalid(file: string, faults: Fault[]): EvercertError {
  const count = faults.length === 1 ? 'one fault' : `${faults.length} faults`;
  return new EvercertError('InvalidConfig', `the configuration ${file} is not valid: ${count}`, {
    faults: faults.slice(0, yamlLimits.faults),
  });
}

/** Freezes a plain value with all that hangs on it, and returns it. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}

/** Milliseconds of a duration such as "96h", "1h30m" or "4d". Throws InvalidArgument. */
export function parseDuration(text: string): number {
  const ms = tryParseDuration(text);
  if (ms === undefined) throw new EvercertError('InvalidArgument', `"${text.slice(0, 60)}" is no duration; expected ${durationExample}`);
  return ms;
}
