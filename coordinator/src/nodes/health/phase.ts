import { isOutdated, isUnreachable, scheduleOf } from './certificates.ts';
import { findingsOf } from './findings.ts';
import type { Findings, HealthFacts, NodePhase } from './types.ts';

/** Reasons for which something that should be in place is only on its way: nothing has failed. */
const onItsWay = new Set(['NotIssued', 'NotInPlace', 'IssueRetrying', 'BundleNotInPlace', 'RevocationListNotInPlace']);

/**
 * The node's phase: a function of the facts alone, the most telling one first. That certificates have ended outranks that nothing is heard: the coordinator knows it without a word of the
 * node. That a renewal failed is known from the node alone.
 */
export function phaseOf(facts: HealthFacts, findings: Findings = findingsOf(facts)): NodePhase {
  const { Ready, CertificatesValid, RenewalsSucceeding } = findings;
  if (facts.removed) return 'Removed';
  if (facts.replacing !== undefined) return 'Replacing';
  if (!facts.joined) return 'Registered';
  if (facts.repairing && Ready.status !== 'True') return 'Repairing';
  if (CertificatesValid.reason === 'Expired') return 'Expired';
  // Of its identity alone: a certificate whose renewal is refused is good until its end, and ends as any other whose renewals fail.
  if (RenewalsSucceeding.reason === 'IdentityRevoked') return 'Revoked';
  if (facts.silentMs === undefined) return 'Joining';
  if (isExpiring(facts)) return 'Expiring';
  if (isUnreachable(facts)) return 'Unreachable';
  if (!facts.reported) return 'Joining';
  if (Ready.status === 'True') return 'Ready';
  return isOnItsWay(facts, findings) ? 'Joining' : 'RenewalFailing';
}

/** One line for a person: why the phase is not Ready. */
export function messageOf(phase: NodePhase, { Ready }: Findings): string {
  return phase === 'Ready' ? '' : Ready.message;
}

function isExpiring(facts: HealthFacts): boolean {
  const outdated = isOutdated(facts);
  return facts.certificates.some((one) => {
    const schedule = scheduleOf(one, outdated);
    return schedule !== undefined && schedule.expiringMs <= facts.nowMs && schedule.dueMs < schedule.endMs;
  });
}

/** Nothing that is wrong is more than not being there yet; a file that is in the way is. */
function isOnItsWay(
  { certificates, parts }: HealthFacts,
  { CertificatesValid, RenewalsSucceeding, TrustBundleCurrent }: Findings,
): boolean {
  const bad = [CertificatesValid, RenewalsSucceeding, TrustBundleCurrent].filter(({ status }) => status === 'False');
  const blocked =
    CertificatesValid.reason === 'NotInPlace' && certificates.some(({ reported }) => reported?.serial && reported.errorCode !== '');
  const broken = parts.some(({ inPlace, error }) => !inPlace && error !== '');
  return !blocked && !broken && bad.every(({ reason }) => onItsWay.has(reason));
}
