import { z } from 'zod';
import { durationExample, formatDuration, tryParseDuration } from './duration.ts';
import { formatHostPort, parseHostPort, parseRange } from './names.ts';
import { describeValue } from './validate.ts';

export interface DurationBounds {
  /** Inclusive, as "1s". */
  min?: string;
  max?: string;
}

interface Sink {
  issues: z.core.$ZodRawIssue[];
}

function refuse(sink: Sink, input: unknown, message: string): never {
  sink.issues.push({ code: 'custom', message, input });
  return z.NEVER;
}

/** Text as a field's input, with a message of its own for every other type. */
function text(expected: string): z.ZodString {
  return z.string({
    error: (issue) =>
      issue.input === undefined ? `missing; expected ${expected}` : `expected ${expected}, found ${describeValue(issue.input)}`,
  });
}

function duration(bounds: DurationBounds, unitMs: number): z.ZodCodec<z.ZodString, z.ZodNumber> {
  const minMs = boundMs(bounds.min) ?? 0;
  const maxMs = boundMs(bounds.max) ?? Number.POSITIVE_INFINITY;
  return z.codec(text(durationExample), z.number(), {
    decode: (value, sink) => {
      const ms = tryParseDuration(value);
      if (ms === undefined) return refuse(sink, value, `expected ${durationExample}, found ${describeValue(value)}`);
      if (ms < minMs) return refuse(sink, value, `expected at least ${bounds.min}, found ${describeValue(value)}`);
      if (ms > maxMs) return refuse(sink, value, `expected at most ${bounds.max}, found ${describeValue(value)}`);
      if (ms % unitMs !== 0) return refuse(sink, value, `expected whole seconds, found ${describeValue(value)}`);
      return ms / unitMs;
    },
    encode: (amount) => formatDuration(amount * unitMs),
  });
}

function boundMs(bound: string | undefined): number | undefined {
  return bound === undefined ? undefined : tryParseDuration(bound);
}

/** A duration such as "10m", as milliseconds. */
export function durationMs(bounds: DurationBounds = {}): z.ZodCodec<z.ZodString, z.ZodNumber> {
  return duration(bounds, 1);
}

/** A duration such as "96h", as whole seconds. */
export function durationSeconds(bounds: DurationBounds = {}): z.ZodCodec<z.ZodString, z.ZodNumber> {
  return duration(bounds, 1000);
}

const modeExample = 'permission bits in octal, such as "0600"';

/**
 * Permission bits, 0000 to 0777: "0600", "600", 0600 or 0o600, always octal. A bare number without a leading zero is refused: YAML reads 600 as decimal.
 */
export function fileMode(): z.ZodCodec<z.ZodUnion<[z.ZodString, z.ZodNumber]>, z.ZodNumber> {
  return z.codec(
    z.union([z.string(), z.number()], { error: (issue) => `expected ${modeExample}, found ${describeValue(issue.input)}` }),
    z.number(),
    {
      decode: (value, sink) => {
        if (typeof value === 'number') return refuse(sink, value, ambiguousMode(value));
        if (!/^0?o?[0-7]{3}$/.test(value)) return refuse(sink, value, `expected ${modeExample}, found ${describeValue(value)}`);
        return Number.parseInt(value.replace('o', ''), 8);
      },
      encode: formatFileMode,
    },
  );
}

function ambiguousMode(value: number): string {
  const octal = /^[0-7]{3}$/.test(String(value)) ? `0${value}` : '0600';
  return `expected ${modeExample}; the bare number ${value} could be decimal or octal: write "${octal}"`;
}

/** `0600` */
export function formatFileMode(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

export interface HostPortOptions {
  /** Added where the port is left out; without it a port must be given. */
  defaultPort?: number;
  /** Allow port 0, "any free port", for what is listened on. */
  anyPort?: boolean;
}

/** `HOST:PORT`, canonical: lower case, IPv6 as `[::1]:7443`. */
export function hostPort(options: HostPortOptions = {}): z.ZodCodec<z.ZodString, z.ZodString> {
  const expected = `HOST${options.defaultPort === undefined ? '' : '[:'}${options.defaultPort === undefined ? ':PORT' : 'PORT]'}, such as "coordinator.example.com:7443" or "[::1]:7443"`;
  return z.codec(text(expected), z.string(), {
    decode: (value, sink) => {
      const parsed = parseHostPort(value);
      const port = parsed?.port ?? options.defaultPort;
      if (parsed === undefined || port === undefined) return refuse(sink, value, `expected ${expected}, found ${describeValue(value)}`);
      if (port === 0 && options.anyPort !== true) return refuse(sink, value, 'expected a port from 1 to 65535, found 0');
      return formatHostPort(parsed.host, port);
    },
    encode: (value) => value,
  });
}

/** A range of addresses in CIDR form, canonical: "10.0.0.0/8". */
export function ipRange(): z.ZodCodec<z.ZodString, z.ZodString> {
  return z.codec(text('a range in CIDR form, such as "10.0.0.0/8"'), z.string(), {
    decode: (value, sink) => {
      const parsed = parseRange(value);
      return 'fault' in parsed ? refuse(sink, value, `${parsed.fault}; found ${describeValue(value)}`) : parsed.range;
    },
    encode: (value) => value,
  });
}
