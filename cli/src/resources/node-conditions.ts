import type { CertificateStatus, Node } from '@evercert/proto';

export interface Condition {
  type: 'Ready' | 'Connected' | 'CertificatesReady' | 'RenewalsSucceed' | 'IdentityValid' | 'FilesApplied' | 'Revoked';
  status: 'True' | 'False' | 'Unknown';
  /** CamelCase, as Kubernetes' conditions. */
  reason: string;
  message: string;
}

const connectedPhases = ['Ready', 'NotReady'];

/** What a node's status says, in Kubernetes' form of conditions. */
export function nodeConditions(node: Node, nowMs: number): Condition[] {
  const { status } = node;
  if (!status) return [{ type: 'Ready', status: 'Unknown', reason: 'NeverSeen', message: 'no agent has joined for this node yet' }];
  const { phase, certificates } = status;
  return [
    { type: 'Ready', ...truth(phase === 'Ready'), reason: phase, message: status.message },
    connected(phase, status.lastSeenAt),
    forCertificates('CertificatesReady', certificates, (one) => one.state === 'Ready', 'state'),
    forCertificates('RenewalsSucceed', certificates, (one) => one.lastErrorCode === '', 'lastErrorCode'),
    identity(status.identityNotAfter, nowMs),
    filesApplied(node),
    revoked(certificates),
  ];
}

function connected(phase: string, lastSeenAt: Date | undefined): Condition {
  const holds = connectedPhases.includes(phase);
  return { type: 'Connected', ...truth(holds), reason: holds ? 'HeartbeatsArrive' : phase, message: seen(lastSeenAt) };
}

function truth(holds: boolean): Pick<Condition, 'status'> {
  return { status: holds ? 'True' : 'False' };
}

function seen(time: Date | undefined): string {
  return time ? `last heartbeat at ${time.toISOString()}` : 'no heartbeat yet';
}

function forCertificates(
  type: Condition['type'],
  certificates: readonly CertificateStatus[],
  holds: (certificate: CertificateStatus) => boolean,
  why: 'state' | 'lastErrorCode',
): Condition {
  if (certificates.length === 0)
    return { type, status: 'Unknown', reason: 'NoReport', message: 'the agent has reported no certificate yet' };
  const bad = certificates.filter((certificate) => !holds(certificate));
  if (bad.length === 0) return { type, status: 'True', reason: 'AllWell', message: `${certificates.length} of ${certificates.length}` };
  return { type, status: 'False', reason: bad[0]![why] || 'Unknown', message: bad.map((one) => `${one.name}: ${one[why]}`).join(', ') };
}

function identity(notAfter: Date | undefined, nowMs: number): Condition {
  const type = 'IdentityValid';
  if (!notAfter) return { type, status: 'Unknown', reason: 'NoIdentity', message: 'no identity has been issued' };
  const valid = notAfter.getTime() > nowMs;
  return { type, ...truth(valid), reason: valid ? 'Valid' : 'Expired', message: `ends at ${notAfter.toISOString()}` };
}

/** True while the coordinator refuses a renewal or an issue; object and entry stand in the message. */
function revoked(certificates: readonly CertificateStatus[]): Condition {
  const refused = certificates.filter(isRevoked);
  if (refused.length === 0) return { type: 'Revoked', status: 'False', reason: 'NotRevoked', message: 'no certificate is revoked' };
  return {
    type: 'Revoked',
    status: 'True',
    reason: 'RenewalRefused',
    message: refused.map((one) => `${one.name}: ${one.lastError}`).join('; '),
  };
}

/** Revoked, or expired while it was. */
export function isRevoked({ state, lastErrorCode }: CertificateStatus): boolean {
  return state === 'Revoked' || lastErrorCode === 'Revoked';
}

function filesApplied({ status }: Node): Condition {
  const parts = [...(status?.bundles ?? []), ...(status?.keyPairs ?? []), ...(status?.revocationLists ?? [])];
  const bad = parts.filter((part) => part.lastError !== '');
  if (bad.length > 0) {
    const message = bad.map((part) => `${part.name}: ${part.lastError}`).join(', ');
    return { type: 'FilesApplied', status: 'False', reason: bad[0]!.state || 'Failed', message };
  }
  const known = status?.appliedRevision !== undefined && status.appliedRevision !== '';
  return {
    type: 'FilesApplied',
    status: known ? 'True' : 'Unknown',
    reason: known ? 'Applied' : 'NoReport',
    message: known ? `desired state ${status.appliedRevision}` : 'the agent has applied nothing yet',
  };
}
