import type { RoleName } from '@evercert/shared/manifest';

/** Who writes a node's renewal log: renewals of control-plane nodes and of workers are told apart by it. */
export type RenewalSource = 'certificate-renewal-controller' | 'certificate-renewal-worker';

export function renewalSource(role: RoleName): RenewalSource {
  return role === 'control-plane' ? 'certificate-renewal-controller' : 'certificate-renewal-worker';
}

/** Events of agents that tell of a renewal: what was tried, what came of it. */
const renewalReasons = new Set([
  'RenewalFailed',
  'IssueFailed',
  'CertificateInstalled',
  'CertificateTakenOver',
  'CertificateNotTakenOver',
  'CertificateLapsed',
  'CertificateRevoked',
  'RevocationLifted',
  'PairLost',
  'NodeJoined',
  'NodeRejoined',
  'IdentityRenewed',
  'IdentityRecovered',
]);

export function isRenewalReason(reason: string): boolean {
  return renewalReasons.has(reason);
}
