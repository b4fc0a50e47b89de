import { EvercertError } from '../errors/index.ts';
import { accessExtensions } from './access.ts';
import { caExtensions, subjectKeyIdentifierExtension } from './extensions.ts';
import type { PreparedIssuer } from './issue.ts';
import { checkEnd, signCertificate } from './signed-certificate.ts';
import { keyIdentifier, spkiAlgorithm } from './spki.ts';

export interface CaCertificateRequest {
  /** DER Name, as `ParsedCsr.subject` or a certificate's own subject has it. */
  subject: Buffer;
  /** DER SubjectPublicKeyInfo. */
  spki: Buffer;
  /** CAs that may stand between this one and a leaf; undefined: any number. */
  pathLength?: number | undefined;
  /** Hex. */
  serial: string;
  notBefore: Date;
  notAfter: Date;
  /** Where the issuer's CRL is, as absolute http URLs. */
  crlUrls?: string[];
}

/**
 * Issues the certificate of another CA: an intermediate, or a cross certificate. Critical CA:TRUE with the path length, the key usages of a root, both key identifiers.
 * InvalidArgument: a serial, time or path length that cannot stand in it, an end after the issuer's, a key that is not of a listed algorithm, an empty subject.
 */
export async function issueCa(issuer: PreparedIssuer, request: CaCertificateRequest): Promise<Buffer> {
  const { subject, spki, pathLength, serial, notBefore, notAfter, crlUrls = [] } = request;
  checkEnd('a CA', notAfter, issuer);
  if (spkiAlgorithm(spki) === undefined) throw new EvercertError('InvalidArgument', "the CA's public key is of no listed algorithm");
  if (subject.length <= 2) throw new EvercertError('InvalidArgument', 'a CA needs a subject');
  if (pathLength !== undefined && !(Number.isInteger(pathLength) && pathLength >= 0 && pathLength <= 100)) {
    throw new EvercertError('InvalidArgument', `a path length is a whole number from 0 to 100, not ${pathLength}`);
  }
  const extensions = [
    ...caExtensions(pathLength),
    subjectKeyIdentifierExtension(keyIdentifier(spki)),
    issuer.authorityKeyIdentifier,
    ...accessExtensions({ crlUrls }),
  ];
  return await signCertificate(issuer, { serial, issuer: issuer.name, subject, spki, notBefore, notAfter, extensions });
}
