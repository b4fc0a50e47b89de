import { X509Certificate } from 'node:crypto';
import { describeError } from '../errors/index.ts';
import { auditSigningPurpose, verifyChain } from '../x509/index.ts';
import type { AuditCheckpoint } from './types.ts';

/**
 * Undefined: the checkpoint's certificate is one for signing audit logs, by one of the CAs, and was valid when it was made; else what it is not. The purpose matters as much as
 * the CA: every node holds a certificate of the control CA.
 */
export function trustFault({ certificate, time }: AuditCheckpoint, anchors: readonly Buffer[]): string | undefined {
  const der = Buffer.from(certificate, 'base64');
  try {
    verifyChain({ chain: [der], anchors, atMs: Date.parse(time), usage: 'digital signature' });
    const purposes: readonly string[] = new X509Certificate(der).keyUsage ?? [];
    return purposes.includes(auditSigningPurpose) ? undefined : 'its certificate is not one for signing audit logs';
  } catch (error) {
    return describeError(error);
  }
}
