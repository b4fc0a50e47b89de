/** What a coordinator presents behind its own certificate. Pure. */
import { X509Certificate } from 'node:crypto';
import { parseCertificate } from '@evercert/shared/x509';
import type { AuthorityGeneration, AuthorityRecord } from '../state/records.ts';
import { anchorOf, generationsOf, intermediatesOf } from './generations.ts';

/** Rotations that somebody may have slept through and still finds the way by himself; each costs every handshake one certificate more. */
export const coveredRotations = 4;

/**
 * The certificates behind a leaf of this generation, DER, in the order in which OpenSSL follows them: intermediates, then the certificate of this generation's key by the generation
 * before, of that one's by its own predecessor, and so on, and the root to which that leads. A client that trusts one of the roots on the way stops there. No way leads to a
 * generation that is compromised: what its key signs proves nothing.
 *
 * A cross certificate goes before the root of the same key, which is why only the last root is there: OpenSSL takes the first issuer that fits and does not try another.
 */
export function chainBehind(record: AuthorityRecord, generation: AuthorityGeneration, nowMs: number): Buffer[] {
  const { certificates, reached } = backwards(record, generation, nowMs);
  return [...intermediatesOf(generation), ...certificates, Buffer.from(anchorOf(reached), 'base64')];
}

/**
 * The certificates by which whoever trusts only an earlier generation, because a component of his has not read its trust bundle again since, finds the way from a leaf of this one; DER.
 * Empty: there is none before it, or it stands under a root of its own.
 */
export function crossesBehind(record: AuthorityRecord, generation: AuthorityGeneration, nowMs: number): Buffer[] {
  return backwards(record, generation, nowMs).certificates;
}

function backwards(
  record: AuthorityRecord,
  generation: AuthorityGeneration,
  nowMs: number,
): { certificates: Buffer[]; reached: AuthorityGeneration } {
  const certificates: Buffer[] = [];
  let reached = generation;
  for (let crossed = 0; crossed < coveredRotations; crossed++) {
    const next = before(record, reached, nowMs);
    if (!next) break;
    certificates.push(next.cross, ...intermediatesOf(next.generation));
    reached = next.generation;
  }
  return { certificates, reached };
}

/** The generation that signed this one's key in its time, and its certificate for it. */
function before(
  record: AuthorityRecord,
  { cross, serial }: AuthorityGeneration,
  nowMs: number,
): { generation: AuthorityGeneration; cross: Buffer } | undefined {
  if (cross === undefined) return undefined;
  const der = Buffer.from(cross, 'base64');
  const certificate = new X509Certificate(der);
  const signer = generationsOf(record).find(({ generation, compromised, state }) => {
    if (compromised || state === 'next' || generation.serial === serial || generation.notAfterMs <= nowMs) return false;
    const issuer = new X509Certificate(Buffer.from(generation.certificate, 'base64'));
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  });
  return signer && parseCertificate(der).notAfter.getTime() > nowMs ? { generation: signer.generation, cross: der } : undefined;
}
