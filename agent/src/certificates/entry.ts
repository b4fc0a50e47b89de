import { createHash } from 'node:crypto';
import type { EvercertError } from '@evercert/shared/errors';
import { refusalDelayMs, retryDelayMs, revokedDelayMs } from '@evercert/shared/schedule';
import type { IssueReason } from '../coordinator-api.ts';
import type { InstalledPair } from '../files/types.ts';
import type { Counters } from '../state/counters.ts';
import { renewalAtMs, stateOf, timeLeftMs } from './planner.ts';
import { revokedError } from './revocation.ts';
import type { CertificateSnapshot, CertificateView, DesiredCertificate, Failure, Moment, Served } from './types.ts';

export type ErrorSource = 'files' | 'reload';

/** What the manager holds of one declared certificate. */
export interface Entry {
  desired: DesiredCertificate;
  installed?: InstalledPair;
  damaged: boolean;
  /** Counts requests to renew, and how many of them the installed certificate has met. */
  renewRequests: number;
  renewRequestsMet: number;
  /** A pair in place was looked for: there was none, or none to be taken over. */
  looked: boolean;
  keyPrepared: boolean;
  /** Serial number of the pair of which a restored coordinator was told. */
  told?: string;
  issuing?: IssueReason;
  failure?: Failure;
  /** What the last scan and the last reload complained of, beside failed issues. */
  errors: Map<ErrorSource, EvercertError>;
  served: Served;
  /** The work in progress, and how to end it. */
  task?: Promise<void>;
  abort: AbortController;
}

export function newEntry(desired: DesiredCertificate): Entry {
  return {
    desired,
    damaged: false,
    renewRequests: 0,
    renewRequestsMet: 0,
    looked: false,
    keyPrepared: false,
    served: '',
    errors: new Map(),
    abort: new AbortController(),
  };
}

export function viewOf(entry: Entry): CertificateView {
  const { desired, installed, issuing, failure, damaged, keyPrepared } = entry;
  const { spec, renewIfIssuedBeforeMs, revoked } = desired;
  return {
    spec,
    damaged,
    keyPrepared,
    renewRequested: entry.renewRequests > entry.renewRequestsMet,
    ...(renewIfIssuedBeforeMs !== undefined && { renewIfIssuedBeforeMs }),
    ...(installed && { installed }),
    ...(issuing && { issuing }),
    ...(failure && { failure }),
    ...(revoked && { revoked }),
    ...(looksInPlace(entry) && { lookInPlace: true }),
    ...(desired.watchOnly && { watchOnly: true }),
  };
}

/** What is lost may be asked for anew, unless nobody here can issue it. */
function looksInPlace({ desired: { adopt, watchOnly }, looked, installed, damaged }: Entry): boolean {
  if (looked) return false;
  return watchOnly ? !installed || damaged : adopt === true && !installed && !damaged;
}

export function snapshotOf(entry: Entry, counters: Readonly<Counters>, nowMs: number): CertificateSnapshot {
  const { installed, failure, errors, desired } = entry;
  const view = viewOf(entry);
  const nextRenewalAtMs = failure ? failure.retryAt.wallMs : renewalAtMs(view);
  const error = failure ?? revokedError(desired.revoked) ?? errors.get('files') ?? errors.get('reload');
  return {
    name: desired.spec.name,
    state: stateOf(view, nowMs),
    serial: installed?.serial ?? '',
    issuedTotal: counters.issuedTotal,
    failures: counters.failures,
    lapses: counters.lapses,
    lastError: error?.message ?? '',
    lastErrorCode: error?.code ?? '',
    served: entry.served,
    specHash: installed?.specHash ?? '',
    ...(installed && { notBeforeMs: installed.notBeforeMs, notAfterMs: installed.notAfterMs, ...fingerprintOf(installed) }),
    ...(nextRenewalAtMs !== undefined && { nextRenewalAtMs }),
    ...(counters.lastRenewalAtMs !== undefined && { lastRenewalAtMs: counters.lastRenewalAtMs }),
  };
}

function fingerprintOf({ chain: [leaf] }: InstalledPair): { fingerprint?: string } {
  return leaf === undefined ? {} : { fingerprint: createHash('sha256').update(leaf).digest('hex') };
}

function delayAfter(error: EvercertError, input: { attempt: number; timeLeftMs: number; draw: number; hintMs?: number }): number {
  if (error.code === 'Revoked') return revokedDelayMs(input);
  return error.retryable ? retryDelayMs(input) : refusalDelayMs(input);
}

/** The row of failures after one more. */
export function nextFailure(view: CertificateView, error: EvercertError, now: Moment, draw: number): Failure {
  const attempts = (view.failure?.attempts ?? 0) + 1;
  const left = view.failure?.timeLeftMs ?? timeLeftMs(view, now.wallMs);
  const hint = error.retryAfterMs === undefined ? {} : { hintMs: error.retryAfterMs };
  const delayMs = delayAfter(error, { attempt: attempts, timeLeftMs: left, draw, ...hint });
  const retryAt = { wallMs: now.wallMs + delayMs, monotonicMs: now.monotonicMs + delayMs };
  return { code: error.code, message: error.message, retryable: error.retryable, attempts, timeLeftMs: left, retryAt };
}
