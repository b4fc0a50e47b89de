/**
 * When a certificate is renewed, and when a failed attempt is repeated. Pure functions over plain numbers: all times are milliseconds, absolute ones since the
 * epoch, and chance comes in as `draw`, a number in [0, 1).
 */
import { createHash } from 'node:crypto';
import { backoffMs } from '../retry/index.ts';

/** First delay after a failure, before jitter. */
const retryBaseMs = 1000;
/** No two tries are further apart than this, whatever time is left. */
export const retryCapMs = 5 * 60_000;
/** So many tries fit into the time that was left at the first failure. */
const minimumTries = 8;
/** A server's hint to wait counts up to this: a broken server must not silence a node for a life. */
export const maximumHintMs = 60 * 60_000;

export interface RenewalInput {
  /** The coordinator's recorded issue time, never the backdated notBefore. */
  issuedAtMs: number;
  notAfterMs: number;
  /** Part of the life after which renewal is due, 0.1 to 0.9. */
  renewAt: number;
  /** Largest part of the time until then by which renewal comes earlier. */
  jitterFraction?: number;
  /** Of this certificate, see `drawFor`. */
  draw: number;
}

/** The time at which renewal is due: `renewAt` of the life, less the jitter. Never before the issue, never after the end. */
export function renewalDueMs({ issuedAtMs, notAfterMs, renewAt, jitterFraction = 0.1, draw }: RenewalInput): number {
  const life = Math.max(0, notAfterMs - issuedAtMs);
  return Math.floor(issuedAtMs + life * renewAt * (1 - jitterFraction * draw));
}

/** A certificate's own draw in [0, 1): the same at every start of the agent, and evenly spread over a fleet, because serials are random. */
export function drawFor(serial: string): number {
  return createHash('sha256').update(serial).digest().readUIntBE(0, 6) / 2 ** 48;
}

export interface RetryInput {
  /** Failures in a row so far, 1 for the first. */
  attempt: number;
  /** Time left until the certificate's end, taken at the first failure of the row. Nothing left (0 or less): the absolute cap counts. */
  timeLeftMs: number;
  /** The server's wish: not before so many milliseconds from now. */
  hintMs?: number;
  draw: number;
}

/** The longest wait between two tries. */
export function retryLimitMs(timeLeftMs: number): number {
  return timeLeftMs > 0 ? Math.min(retryCapMs, timeLeftMs / minimumTries) : retryCapMs;
}

/**
 * The wait before the next try: exponential from one second, full jitter, never longer than `retryLimitMs`, so that no fewer than eight tries fit into the time
 * left. A server's hint is the least wait; the jitter comes on top of it, so that a herd that was sent away together does not come back together.
 * Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 */
export function retryDelayMs({ attempt, timeLeftMs, hintMs, draw }: RetryInput): number {
  return backoffMs({ attempt, draw, baseMs: retryBaseMs, capMs: retryLimitMs(timeLeftMs), hintMs: Math.min(hintMs ?? 0, maximumHintMs) });
}

/** After a refusal by a revocation nothing is asked for at least this long: the coordinator tells when it is lifted. */
const revokedRetryMs = 30 * 60_000;
const revokedTries = 3;

/** The wait after a refusal by a revocation: at most three tries in the time that was left at the first one, and never sooner than `revokedRetryMs`. */
export function revokedDelayMs({ timeLeftMs, draw }: Pick<RetryInput, 'timeLeftMs' | 'draw'>): number {
  return Math.ceil(Math.max(revokedRetryMs, timeLeftMs / revokedTries) * (1 + 0.1 * draw));
}

/** The wait after a refusal that trying again cannot mend: the whole of the longest wait, a little spread. */
export function refusalDelayMs(input: Omit<RetryInput, 'attempt'>): number {
  const limit = retryLimitMs(input.timeLeftMs);
  return Math.ceil(Math.max(limit * (0.75 + 0.25 * input.draw), Math.min(input.hintMs ?? 0, maximumHintMs)));
}
