import { createHash } from 'node:crypto';
import type { CertificateRecord } from './records.ts';

/** SHA-256 of the certificate, DER, lower-case hexadecimal. */
export function fingerprintOf({ certificate }: Pick<CertificateRecord, 'certificate'>): string {
  return createHash('sha256').update(Buffer.from(certificate, 'base64')).digest('hex');
}
