/** What the agent makes of the coordinator's word that a certificate is revoked: it tells, and asks no more than it must; files are left as they are. */
import type { ErrorCode } from '@evercert/shared/errors';
import type { NewEvent } from '../events.ts';
import type { CertificateView, DesiredCertificate, Failure, RevokedBy } from './types.ts';

/** By the coordinator's word in the desired state, or by its last answer. */
export function isRevoked({ revoked, failure }: Pick<CertificateView, 'revoked' | 'failure'>): boolean {
  return revoked !== undefined || failure?.code === 'Revoked';
}

/** What is to be known before a renewal is refused. */
export function revokedError(by: RevokedBy | undefined): { code: ErrorCode; message: string } | undefined {
  return by && { code: 'Revoked', message: `the next renewal will be refused: ${describe(by)}` };
}

/** A refusal is worth another question when the coordinator has sent something new; that of a revocation only when the revocation itself has changed. */
export function isStale({ retryable, code }: Failure, before: RevokedBy | undefined, after: RevokedBy | undefined): boolean {
  if (code === 'Revoked') return after === undefined || !same(before, after);
  return !retryable || code === 'StaleSpec';
}

/** The event of a certificate that is revoked now, by another entry, or no longer; undefined when nothing has changed. */
export function revocationEvent(
  before: RevokedBy | undefined,
  { spec, revoked }: DesiredCertificate,
  serial: string | undefined,
): NewEvent | undefined {
  if (same(before, revoked)) return undefined;
  const common = { certificate: spec.name, ...(serial !== undefined && { serial }) };
  if (!revoked) return { ...common, reason: 'RevocationLifted', type: 'Normal', message: `certificate ${spec.name} is revoked no more` };
  const message = `certificate ${spec.name} is ${describe(revoked)}; its files are left as they are`;
  return { ...common, reason: 'CertificateRevoked', type: 'Warning', errorCode: 'Revoked', message };
}

/** `revoked by entry 2 (Group system:nodes) of RenewRevocation incident-7`, as the coordinator words it. */
function describe({ object, entry, kind, value, notBeforeMs, description }: RevokedBy): string {
  const reach = notBeforeMs === undefined ? '' : `, issued before ${new Date(notBeforeMs).toISOString()}`;
  const why = description === '' ? '' : `: "${description}"`;
  return `revoked by entry ${entry + 1} (${kind} ${value}${reach}) of RenewRevocation ${object}${why}`;
}

function same(a: RevokedBy | undefined, b: RevokedBy | undefined): boolean {
  return a?.object === b?.object && a?.entry === b?.entry && a?.value === b?.value && a?.notBeforeMs === b?.notBeforeMs;
}
