import type { ErrorCode } from '@evercert/shared/errors';
import type { CertificateFacts, HealthFacts } from './types.ts';

/** The certificate itself is good, but it is not where its component reads it. */
const fileTroubles = new Set<string>(['FileConflict', 'PathNotAllowed', 'DiskFull', 'FileSystem'] satisfies ErrorCode[]);
/** States in which an attempt has failed and the next one is awaited, or none will be made. */
const failingStates = new Set(['RenewalFailing', 'Failed', 'Revoked']);

/** Shortest time after a renewal was due in which it may still come without a word. */
const leastOverdueMs = 2000;
/** A newer certificate takes a tenth of its life at most to get into place, between these. */
const installMs = { least: 10_000, most: 5 * 60_000 };

export type CertificateTrouble =
  | 'Expired'
  | 'UnknownCertificate'
  | 'StaleCertificate'
  | 'NotInPlace'
  /** None is in place, and none was refused: it may be on its way. */
  | 'NotIssued';

/** What the times of a certificate mean. Undefined: there is none in place. */
export interface Schedule {
  dueMs: number;
  /** Renewal should have come by now. */
  overdueMs: number;
  /** Half of the time for renewals is over. */
  expiringMs: number;
  endMs: number;
}

export function isUnreachable({ silentMs, unreachableAfterMs }: HealthFacts): boolean {
  return silentMs !== undefined && silentMs > unreachableAfterMs;
}

/** What the node said last may not be how it is now. */
export function isOutdated(facts: HealthFacts): boolean {
  return !facts.fresh || isUnreachable(facts);
}

/**
 * When the certificate in place ends. What the node says of it counts; where that is outdated, the newest that was issued may be in place, although it has not said so.
 */
export function endOf({ issued, reported }: CertificateFacts, outdated: boolean): number | undefined {
  const said = reported && reported.serial !== '' ? reported.notAfterMs : undefined;
  if (!outdated) return said;
  return said === undefined && !issued ? undefined : Math.max(said ?? 0, issued?.notAfterMs ?? 0);
}

export function scheduleOf(certificate: CertificateFacts, outdated: boolean): Schedule | undefined {
  const endMs = endOf(certificate, outdated);
  if (endMs === undefined) return undefined;
  const { issued, reported, renewAt } = certificate;
  // After a failure the agent tells when it tries again, which lies later each time; and by its own draw a renewal comes before its time, never after it.
  const reportedDue = reported && reported.notAfterMs === endMs ? reported.nextRenewalAtMs : undefined;
  const issuedDue = issued && issued.notAfterMs === endMs ? issued.issuedAtMs + (endMs - issued.issuedAtMs) * renewAt : undefined;
  const dueMs = Math.min(reportedDue ?? endMs, issuedDue ?? endMs, endMs);
  const windowMs = endMs - dueMs;
  return {
    dueMs,
    overdueMs: Math.min(endMs, dueMs + Math.max(windowMs / 4, leastOverdueMs)),
    expiringMs: Math.min(endMs, dueMs + Math.max(windowMs / 2, leastOverdueMs)),
    endMs,
  };
}

/** By when what was issued is in place, and the node has said so. */
export function inPlaceByMs({ issuedAtMs, notAfterMs }: NonNullable<CertificateFacts['issued']>): number {
  const tenth = (notAfterMs - issuedAtMs) / 10;
  return issuedAtMs + Math.min(installMs.most, Math.max(installMs.least, tenth));
}

/** When an earlier certificate that is still in place counts as left behind; undefined: it is not one, or nothing newer was issued. */
export function staleAtMs({ issued, reported }: CertificateFacts): number | undefined {
  return issued && reported?.origin === 'superseded' ? inPlaceByMs(issued) : undefined;
}

/** What is wrong with the certificate in place; undefined: nothing. The worst comes first. */
export function troubleOf(
  certificate: CertificateFacts,
  { nowMs }: HealthFacts,
  outdated: boolean,
): { trouble: CertificateTrouble; message: string } | undefined {
  const { name, reported } = certificate;
  const because = reported?.error ? `: ${reported.error}` : '';
  const endMs = endOf(certificate, outdated);
  if (endMs !== undefined && endMs <= nowMs) return { trouble: 'Expired', message: `${name} has expired${because}` };
  if (!reported || reported.serial === '') return { trouble: 'NotIssued', message: `${name} has not been issued${because}` };
  if (reported.origin === 'unknown') {
    return {
      trouble: 'UnknownCertificate',
      message: `${name} has a certificate in use that was never issued to it here: serial ${reported.serial}`,
    };
  }
  const stale = staleAtMs(certificate);
  if (stale !== undefined && stale <= nowMs) {
    return {
      trouble: 'StaleCertificate',
      message: `${name} still has serial ${reported.serial} in place, although ${certificate.issued?.serial} was issued after it`,
    };
  }
  if (fileTroubles.has(reported.errorCode)) return { trouble: 'NotInPlace', message: `${name} is not in place: ${reported.error}` };
  return undefined;
}

/** Why its renewal (or its first issue) does not succeed, as the node says; undefined: nothing has failed. */
export function failureOf({ name, reported, revokedBy }: CertificateFacts): { reason: string; message: string } | undefined {
  if (revokedBy !== undefined) return { reason: 'Revoked', message: `${name} is refused by ${revokedBy}` };
  if (!reported) return undefined;
  const { state, error, errorCode } = reported;
  if (state === 'Revoked') return { reason: 'Revoked', message: `${name} is Revoked: ${error}` };
  if (failingStates.has(state))
    return { reason: reported.serial === '' ? 'IssueFailing' : 'RenewalFailing', message: `${name} is ${state}: ${error}` };
  // On the node's word alone it has not ended: its clock may be wrong.
  if (state === 'Expired') return { reason: 'RenewalFailing', message: `${name} is Expired by the node's clock: ${error}` };
  if (state === 'Pending' && errorCode !== '') return { reason: 'IssueRetrying', message: `${name} has not been issued: ${error}` };
  return undefined;
}
