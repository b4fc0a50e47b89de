import { EvercertError } from '../errors/index.ts';
import { bitString, contextConstructed, sequence, time, unsignedInteger } from './der.ts';
import type { CertificateSigner } from './keys.ts';
import { encodeSerial } from './serial.ts';

/** The fields of a certificate (RFC 5280 section 4.1), names and key encoded. */
export interface CertificateFields {
  /** Hex. */
  serial: string;
  issuer: Buffer;
  subject: Buffer;
  spki: Buffer;
  notBefore: Date;
  notAfter: Date;
  extensions: readonly Buffer[];
}

const version3 = contextConstructed(0, unsignedInteger(Buffer.of(2)));

/**
 * Signs the fields as they are. InvalidArgument: a serial or time that cannot stand in a certificate.
 *
 * @param by the issuer's key, and its encoded AlgorithmIdentifier.
 */
export async function signCertificate(
  by: { signer: CertificateSigner; algorithm: Buffer },
  { serial, issuer, subject, spki, notBefore, notAfter, extensions }: CertificateFields,
): Promise<Buffer> {
  const validity = encodeValidity(notBefore, notAfter);
  const wrapped = contextConstructed(3, sequence(...extensions));
  const tbs = sequence(version3, encodeSerial(serial), by.algorithm, issuer, validity, subject, spki, wrapped);
  return sequence(tbs, by.algorithm, bitString(await by.signer.sign(tbs)));
}

/** InvalidArgument: it would end after its issuer. */
export function checkEnd(what: string, notAfter: Date, issuer: { notAfter: Date }): void {
  if (notAfter.getTime() <= issuer.notAfter.getTime()) return;
  throw new EvercertError(
    'InvalidArgument',
    `${what} may not outlive its issuer: it would end ${text(notAfter)}, the CA ends ${text(issuer.notAfter)}`,
  );
}

function encodeValidity(notBefore: Date, notAfter: Date): Buffer {
  const start = notBefore.getTime();
  const end = notAfter.getTime();
  const inRange = [notBefore, notAfter].every((date) => date.getUTCFullYear() >= 1970 && date.getUTCFullYear() <= 9999);
  if (!inRange || start >= end)
    throw new EvercertError('InvalidArgument', 'a certificate must begin before it ends, in the years 1970 to 9999');
  return sequence(time(notBefore), time(notAfter));
}

function text(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'never' : date.toISOString();
}
