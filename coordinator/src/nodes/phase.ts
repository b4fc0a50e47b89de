import type { CertificateStatus, DesiredState, StatusReport } from '@evercert/proto';
import type { ErrorCode } from '@evercert/shared/errors';

export type NodePhase = 'Registered' | 'Joining' | 'Ready' | 'NotReady' | 'Unreachable';

export interface PhaseQuestion {
  joined: boolean;
  lastSeenAtMs: number | undefined;
  report: StatusReport | undefined;
  desired: DesiredState | undefined;
  /** Manifests that do not resolve for this node. */
  problems: readonly string[];
  unreachableAfterMs: number;
  nowMs: number;
}

/** States in which an installed certificate is in order: a renewal under way changes nothing about the one in use. */
const wellStates = new Set(['Ready', 'Issuing']);

/** The certificate itself is good, but it is not where its component reads it. */
const fileTroubles = new Set<string>(['FileConflict', 'PathNotAllowed', 'DiskFull', 'FileSystem'] satisfies ErrorCode[]);

/** The node's phase, and for a person why it is not Ready. */
export function nodePhase(question: PhaseQuestion): { phase: NodePhase; message: string } {
  const { joined, lastSeenAtMs, report, desired, nowMs, unreachableAfterMs } = question;
  if (!joined) return { phase: 'Registered', message: 'the node has not joined yet' };
  if (lastSeenAtMs === undefined) return { phase: 'Joining', message: 'the agent has not reported yet' };
  if (nowMs - lastSeenAtMs > unreachableAfterMs) {
    return { phase: 'Unreachable', message: `no heartbeat since ${new Date(lastSeenAtMs).toISOString()}` };
  }
  if (!report || !desired) return { phase: 'Joining', message: 'the agent has not reported yet' };
  const lacking = [...question.problems, ...whatLacks(desired, report, nowMs)];
  if (lacking.length === 0) return { phase: 'Ready', message: '' };
  const expired = report.certificates.some(({ serial, notAfter }) => serial !== '' && (notAfter?.getTime() ?? 0) <= nowMs);
  const troubled = ({ state, lastErrorCode }: CertificateStatus): boolean =>
    (!wellStates.has(state) && state !== 'Pending') || fileTroubles.has(lastErrorCode);
  const failing = question.problems.length > 0 || expired || report.certificates.some(troubled);
  const everReady = report.certificates.some(({ issuedTotal }) => issuedTotal > 1);
  return { phase: failing || everReady ? 'NotReady' : 'Joining', message: lacking.slice(0, 5).join('; ') };
}

function whatLacks(desired: DesiredState, report: StatusReport, nowMs: number): string[] {
  const certificates = new Map(report.certificates.map((status) => [status.name, status]));
  const bundles = new Map(report.bundles.map((status) => [status.name, status]));
  const revocationLists = new Map(report.revocationLists.map((status) => [status.name, status]));
  const keyPairs = new Map(report.keyPairs.map((status) => [status.name, status]));
  return [
    ...desired.certificates.flatMap(({ name }) => {
      const status = certificates.get(name);
      if (!status || status.serial === '') return [`${name} has not been issued${status?.lastError ? `: ${status.lastError}` : ''}`];
      if (!status.notAfter || status.notAfter.getTime() <= nowMs)
        return [`${name} has expired${status.lastError ? `: ${status.lastError}` : ''}`];
      if (fileTroubles.has(status.lastErrorCode)) return [`${name} is not in place: ${status.lastError}`];
      return wellStates.has(status.state) ? [] : [`${name} is ${status.state}: ${status.lastError}`];
    }),
    ...desired.bundles.flatMap(({ name, version }) => {
      const status = bundles.get(name);
      return status?.state === 'Ready' && status.version === version
        ? []
        : [`trust bundle ${name} is not in place: ${status?.lastError ?? ''}`];
    }),
    // Its number is not compared: an earlier list is good until its next update, and a new one is on its way twice a day.
    ...desired.revocationLists.flatMap(({ name }) => {
      const status = revocationLists.get(name);
      return status?.state === 'Ready' ? [] : [`revocation list ${name} is not in place: ${status?.lastError ?? ''}`];
    }),
    ...desired.keyPairs.flatMap(({ name }) => {
      const status = keyPairs.get(name);
      return status?.state === 'Ready' && status.lastError === '' ? [] : [`key pair ${name} is not in place: ${status?.lastError ?? ''}`];
    }),
  ];
}
