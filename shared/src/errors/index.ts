import { type ErrorCode, errorCodes } from './codes.ts';

export { type ErrorCode, errorCodes, isErrorCode } from './codes.ts';

/** One fault in a file or a message: where, and what was expected there. */
export interface Fault {
  /** Path of the field, as `spec.files.certificate`. Empty for the whole. */
  field: string;
  message: string;
  /** File name, when it came from one. */
  file?: string;
  /** 1-based. */
  line?: number;
  column?: number;
}

export interface ErrorDetails {
  cause?: unknown;
  /** Hint of the server: not before so many milliseconds from now. */
  retryAfterMs?: number;
  faults?: Fault[];
  /** Plain facts for logs and for the caller: names, paths, serials. Never secrets: they cross the wire. */
  metadata?: Record<string, string>;
}

/**
 * The only error class that Evercert throws on purpose. `code` is stable; `message` says what is wrong, what was expected and what to do.
 * Programmer errors are assertions (node:assert), never this.
 */
export class EvercertError extends Error {
  override readonly name = 'EvercertError';
  readonly code: ErrorCode;
  readonly retryAfterMs: number | undefined;
  readonly faults: readonly Fault[];
  readonly metadata: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.retryAfterMs = details.retryAfterMs;
    this.faults = details.faults ?? [];
    this.metadata = details.metadata ?? {};
  }

  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }

  get exitCode(): number {
    return errorCodes[this.code].exit;
  }
}

/** `FILE:LINE: FIELD: MESSAGE`, as compilers print it; parts that are unknown are left out. */
export function formatFault(fault: Fault): string {
  const place = [fault.file, fault.line, fault.column].filter((part) => part !== undefined).join(':');
  return [place, fault.field, fault.message].filter((part) => part !== '').join(': ');
}

/** The text for a person: the message, then a line for each fault. */
export function describeError(error: unknown): string {
  if (error instanceof EvercertError) return [error.message, ...error.faults.map((fault) => `  ${formatFault(fault)}`)].join('\n');
  return error instanceof Error ? error.message : String(error);
}

/** Turns anything thrown into an EvercertError; what is not one already becomes `fallback` with the original as its cause. */
export function toEvercertError(error: unknown, fallback: ErrorCode = 'Internal', message?: string): EvercertError {
  if (error instanceof EvercertError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new EvercertError(fallback, message === undefined ? text : `${message}: ${text}`, { cause: error });
}
