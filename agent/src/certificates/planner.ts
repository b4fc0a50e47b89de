/** What to do next with one certificate: pure functions over plain data. */
import { drawFor, renewalDueMs } from '@evercert/shared/schedule';
import type { IssueReason } from '../coordinator-api.ts';
import { isRevoked } from './revocation.ts';
import type { CertificateState, CertificateView, Moment } from './types.ts';

export type Plan =
  | { action: 'issue'; reason: IssueReason }
  /** Take over what lies at the declared paths, if it is of use. */
  | { action: 'adopt' }
  /** Make the next key now, so that a slow one is ready when renewal is due. */
  | { action: 'prepare' }
  /** Nothing before the wall clock reads `wallMs`, or before `retryAt`. */
  | { action: 'wait'; wallMs?: number; retryAt?: Moment };

/** An RSA key takes seconds to make: it is made this part of the life before it is due. */
const prepareFraction = 0.1;

export function plan(view: CertificateView, now: Moment): Plan {
  if (view.issuing) return { action: 'wait' };
  if (view.lookInPlace) {
    if (view.failure && !reached(view.failure.retryAt, now)) return { action: 'wait', retryAt: view.failure.retryAt };
    return { action: 'adopt' };
  }
  const reason = reasonToIssue(view, now.wallMs);
  if (reason !== undefined) {
    if (view.failure && !reached(view.failure.retryAt, now)) return { action: 'wait', retryAt: view.failure.retryAt };
    return { action: 'issue', reason };
  }
  const due = renewalAtMs(view);
  if (due === undefined || !view.installed) return { action: 'wait' };
  if (view.keyPrepared || !view.spec.keyAlgorithm.startsWith('rsa')) return { action: 'wait', wallMs: due };
  const prepareAt = due - (view.installed.notAfterMs - view.installed.issuedAtMs) * prepareFraction;
  return now.wallMs >= prepareAt ? { action: 'prepare' } : { action: 'wait', wallMs: prepareAt };
}

/** When something has to be looked at again though nothing has happened: by the wall clock, and so many milliseconds from now; infinite when never. */
export function nextLook(views: readonly CertificateView[], now: Moment): { wallMs: number; retryInMs: number } {
  const look = { wallMs: Number.POSITIVE_INFINITY, retryInMs: Number.POSITIVE_INFINITY };
  for (const view of views) {
    const next = plan(view, now);
    if (view.installed && view.installed.notAfterMs > now.wallMs) look.wallMs = Math.min(look.wallMs, view.installed.notAfterMs);
    if (next.action !== 'wait') continue;
    if (next.wallMs !== undefined) look.wallMs = Math.min(look.wallMs, next.wallMs);
    if (!next.retryAt) continue;
    look.wallMs = Math.min(look.wallMs, next.retryAt.wallMs);
    look.retryInMs = Math.min(look.retryInMs, next.retryAt.monotonicMs - now.monotonicMs);
  }
  return look;
}

/** Why a certificate has to be issued now; undefined when there is no reason. The most telling one comes first. */
export function reasonToIssue(view: CertificateView, nowMs: number): IssueReason | undefined {
  if (view.watchOnly) return undefined;
  if (view.damaged) return 'FileDamaged';
  if (!view.installed) return 'Initial';
  if (view.installed.specHash !== view.spec.specHash) return 'SpecChanged';
  if (view.renewRequested) return 'Requested';
  if (view.renewIfIssuedBeforeMs !== undefined && view.installed.issuedAtMs < view.renewIfIssuedBeforeMs) return 'Requested';
  const due = renewalAtMs(view);
  return due !== undefined && nowMs >= due ? 'Scheduled' : undefined;
}

/** When renewal is due by the schedule, and for a pair that was taken over at the latest by the coordinator's word; undefined while nothing is installed, and where nobody here renews. */
export function renewalAtMs({ installed, spec, watchOnly }: CertificateView): number | undefined {
  if (!installed || watchOnly) return undefined;
  const { issuedAtMs, notAfterMs, serial, adopted } = installed;
  const dueMs = renewalDueMs({ issuedAtMs, notAfterMs, renewAt: spec.renewAt, draw: drawFor(serial) });
  return adopted ? Math.min(dueMs, adopted.renewAtMs) : dueMs;
}

export function stateOf(view: CertificateView, nowMs: number): CertificateState {
  const { installed, failure } = view;
  const revoked = isRevoked(view);
  if (!installed) {
    if (revoked) return 'Revoked';
    if (failure) return failure.retryable ? 'Pending' : 'Failed';
    return view.issuing ? 'Issuing' : 'Pending';
  }
  if (nowMs >= installed.notAfterMs) return 'Expired';
  if (revoked) return 'Revoked';
  if (failure) return 'RenewalFailing';
  if (view.damaged) return view.watchOnly ? 'Failed' : 'Issuing';
  return installed.specHash !== view.spec.specHash && !view.watchOnly ? 'Issuing' : 'Ready';
}

/**
 * Time in which retries have to fit, milliseconds: what is left until the end. With nothing installed, or after the end, as much as there would be after
 * a renewal that is due: long enough to spare the coordinator, short enough for lives of seconds.
 */
export function timeLeftMs({ installed, spec }: CertificateView, nowMs: number): number {
  const left = installed ? installed.notAfterMs - nowMs : 0;
  return left > 0 ? left : spec.lifetimeSeconds * 1000 * (1 - spec.renewAt);
}

/** Most urgent first: what has no valid pair, then what ends next. */
export function urgencyMs({ installed, damaged }: CertificateView): number {
  return installed && !damaged ? installed.notAfterMs : 0;
}

function reached(moment: Moment, now: Moment): boolean {
  return now.wallMs >= moment.wallMs || now.monotonicMs >= moment.monotonicMs;
}
