import { EvercertError } from '../errors/index.ts';
import { accessExtensions } from './access.ts';
import { signingAlgorithm } from './algorithms.ts';
import { parseCertificate } from './certificate.ts';
import { certificateParts, readingCertificate } from './certificate-parts.ts';
import {
  auditSignerExtensions,
  authorityKeyIdentifierExtension,
  caExtensions,
  ocspSignerExtensions,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
  usageExtensions,
} from './extensions.ts';
import { encodeGeneralNames, normalizeNames } from './general-names.ts';
import { type CertificateSigner, spkiDer } from './keys.ts';
import { checkSubject, encodeName } from './names.ts';
import { checkEnd, signCertificate } from './signed-certificate.ts';
import { keyIdentifier, spkiAlgorithm } from './spki.ts';
import type { KeyAlgorithm, LeafProfile } from './types.ts';

/** A CA made ready to issue: what is the same in all its leaves is encoded once. */
export interface PreparedIssuer {
  readonly der: Buffer;
  /** Of its certificate, lower-case hex. */
  readonly serial: string;
  readonly notAfter: Date;
  readonly signer: CertificateSigner;
  /** Encoded issuer name. */
  readonly name: Buffer;
  /** Encoded authority key identifier extension. */
  readonly authorityKeyIdentifier: Buffer;
  /** Encoded AlgorithmIdentifier. */
  readonly algorithm: Buffer;
}

export interface RootRequest {
  commonName: string;
  /** Goes into the subject's serialNumber attribute: keeps several generations of one CA apart. */
  uniqueAttribute?: string;
  signer: CertificateSigner;
  /** Hex. */
  serial: string;
  notBefore: Date;
  notAfter: Date;
  /** CAs that may stand between it and a leaf; undefined: any number. */
  pathLength?: number | undefined;
}

export interface LeafRequest {
  /** DER SubjectPublicKeyInfo as `parseCsr` accepted it. */
  spki: Buffer;
  keyAlgorithm: KeyAlgorithm;
  profile: LeafProfile;
  /** Hex. */
  serial: string;
  notBefore: Date;
  notAfter: Date;
}

/** Makes a self-signed root with critical CA:TRUE and the key usages of kubeadm's CAs. InvalidArgument: a name, serial or time that cannot stand in it. */
export async function createRootCertificate(request: RootRequest): Promise<Buffer> {
  const { commonName, uniqueAttribute, signer, serial, notBefore, notAfter, pathLength } = request;
  const fields = { commonName, ...(uniqueAttribute === undefined ? {} : { serialNumber: uniqueAttribute }) };
  checkSubject(fields);
  if (commonName === '') throw new EvercertError('InvalidArgument', 'a CA needs a common name');
  const name = encodeName(fields);
  const spki = spkiDer(signer.publicKey);
  const extensions = [...caExtensions(pathLength), subjectKeyIdentifierExtension(keyIdentifier(spki))];
  const { encoded: algorithm } = signingAlgorithm(signer.keyAlgorithm);
  return await signCertificate({ signer, algorithm }, { serial, issuer: name, subject: name, spki, notBefore, notAfter, extensions });
}

/**
 * Makes a CA ready to issue. One without a subject key identifier (of Go before 1.15, say) is pointed to by what would be its own: verifiers compare it only with one that is there.
 * InvalidCertificate: it cannot be read, or is no CA.
 * InvalidArgument: the signer holds another key.
 */
export function prepareIssuer(caDer: Buffer, signer: CertificateSigner): PreparedIssuer {
  const info = parseCertificate(caDer);
  if (!info.isCa) throw new EvercertError('InvalidCertificate', `${info.subject} cannot issue: it is no CA`);
  if (!info.spki.equals(spkiDer(signer.publicKey))) {
    throw new EvercertError('InvalidArgument', `the signer does not hold the key of ${info.subject}`);
  }
  return {
    der: caDer,
    serial: info.serial,
    notAfter: info.notAfter,
    signer,
    name: readingCertificate(() => certificateParts(caDer).subject.bytes),
    authorityKeyIdentifier: authorityKeyIdentifierExtension(
      info.subjectKeyId === undefined ? keyIdentifier(info.spki) : Buffer.from(info.subjectKeyId, 'hex'),
    ),
    algorithm: signingAlgorithm(signer.keyAlgorithm).encoded,
  };
}

/**
 * Issues a leaf: critical CA:FALSE, critical key usage (digital signature always, key encipherment for RSA keys only), extended key usage, key identifiers, and the
 * alternative names lower-cased, canonical and without repeats; where the profile names URLs, CRL distribution point and authority information access. A delegated OCSP
 * signer has that one purpose and no other. Times are cut to whole seconds.
 * InvalidArgument: a name, serial or time that cannot stand in a certificate, an end after the issuer's, or a public key that is not of the algorithm named.
 */
export async function issueLeaf(issuer: PreparedIssuer, request: LeafRequest): Promise<Buffer> {
  const { spki, keyAlgorithm, profile, serial, notBefore, notAfter } = request;
  checkEnd('a leaf', notAfter, issuer);
  // The last gate: whatever went wrong before, no certificate is made for a key that is not listed.
  if (spkiAlgorithm(spki) !== keyAlgorithm)
    throw new EvercertError('InvalidArgument', `the public key is not an accepted one of ${keyAlgorithm}`);
  checkSubject(profile);
  const generalNames = encodeGeneralNames(normalizeNames(profile));
  const subjectIsEmpty = profile.commonName === '' && profile.organizations.length === 0;
  if (subjectIsEmpty && generalNames === undefined) {
    throw new EvercertError('InvalidArgument', 'a certificate needs a subject or an alternative name');
  }
  const extensions = [
    ...purposeExtensions(profile, keyAlgorithm),
    subjectKeyIdentifierExtension(keyIdentifier(spki)),
    issuer.authorityKeyIdentifier,
    ...accessExtensions(profile),
  ];
  if (generalNames !== undefined) extensions.push(subjectAltNameExtension(generalNames, subjectIsEmpty));
  const subject = encodeName({ commonName: profile.commonName, organizations: profile.organizations });
  return await signCertificate(issuer, { serial, issuer: issuer.name, subject, spki, notBefore, notAfter, extensions });
}

function purposeExtensions({ ocspSigning, auditSigning, usages }: LeafProfile, keyAlgorithm: KeyAlgorithm): readonly Buffer[] {
  if (ocspSigning) return ocspSignerExtensions;
  return auditSigning ? auditSignerExtensions : usageExtensions(usages, keyAlgorithm.startsWith('rsa'));
}
