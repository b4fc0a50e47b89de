import { signatureAlgorithmName } from './algorithms.ts';
import { children, decode, oid } from './asn1.ts';
import { certificateParts, readingCertificate } from './certificate-parts.ts';
import { type CaParts, readExtensions } from './extensions.ts';
import { spkiSha256 } from './keys.ts';
import { attributeValues, formatName, readName } from './names.ts';
import { oids } from './oids.ts';
import { describeSpki, spkiAlgorithm } from './spki.ts';
import { readTime } from './times.ts';
import type { KnownKeyAlgorithm, Usage } from './types.ts';

/** What a certificate says. */
export interface CertificateInfo {
  der: Buffer;
  /** Lower-case hex, two digits for each byte of the DER INTEGER, without its sign byte. */
  serial: string;
  /** RFC 4514 text, as `CN=kubernetes-admin,O=kubeadm:cluster-admins`. */
  subject: string;
  /** DER Name. */
  subjectDer: Buffer;
  issuer: string;
  /** The last common name of the subject; empty if there is none. */
  commonName: string;
  organizations: string[];
  notBefore: Date;
  notAfter: Date;
  dnsNames: string[];
  /** Dotted IPv4, RFC 5952 IPv6. */
  ipAddresses: string[];
  uris: string[];
  /** The known ones of key usage and extended key usage. */
  usages: Usage[];
  /** Basic constraints say CA and key usage, where present, allows signing certificates. */
  isCa: boolean;
  /** The same in parts, for whoever has to say what is missing. Key usages that are not restricted are all true. */
  caParts: CaParts;
  /** Certificates that may stand between this CA and a leaf; undefined: any number. */
  pathLength: number | undefined;
  /** True: any extended purpose is allowed (no extended key usage, or anyExtendedKeyUsage in it). */
  anyPurpose: boolean;
  /** Undefined for keys that Evercert neither makes nor takes over. */
  keyAlgorithm: KnownKeyAlgorithm | undefined;
  /** As `ECDSA P-384` or `RSA 2048`. */
  keyDescription: string;
  /** As `ecdsa-with-SHA384`; dotted numbers if it is not known. */
  signatureAlgorithm: string;
  /** DER SubjectPublicKeyInfo. */
  spki: Buffer;
  spkiSha256: string;
  /** Lower-case hex. */
  subjectKeyId: string | undefined;
  authorityKeyId: string | undefined;
  /** URLs of the issuer's CRL, OCSP responder and certificate, as the certificate names them. */
  crlUrls: string[];
  ocspUrls: string[];
  caIssuerUrls: string[];
  /** Dotted numbers of the critical extensions that are not understood here. */
  unknownCriticalExtensions: string[];
}

/** Reads any X.509 certificate, also such as Evercert would not issue. It checks no signature. InvalidCertificate: it cannot be read. */
export function parseCertificate(der: Buffer): CertificateInfo {
  return readingCertificate(() => {
    const parts = certificateParts(der);
    const subject = readName(decode(parts.subject.bytes), 'the subject');
    const [notBefore, notAfter] = children(decode(parts.validity.bytes), 'the validity');
    const extensions = readExtensions(parts.extensions === undefined ? undefined : decode(parts.extensions));
    return {
      der,
      serial: serialText(parts.serial.content),
      subject: formatName(subject),
      subjectDer: parts.subject.bytes,
      issuer: formatName(readName(decode(parts.issuer.bytes), 'the issuer')),
      commonName: attributeValues(subject, oids.commonName).at(-1) ?? '',
      organizations: attributeValues(subject, oids.organization),
      notBefore: readTime(notBefore, 'notBefore'),
      notAfter: readTime(notAfter, 'notAfter'),
      dnsNames: extensions.dnsNames,
      ipAddresses: extensions.ipAddresses,
      uris: extensions.uris,
      usages: extensions.usages,
      isCa: extensions.isCa,
      caParts: extensions.caParts,
      pathLength: extensions.pathLength,
      anyPurpose: extensions.anyPurpose || !extensions.hasExtendedKeyUsage,
      keyAlgorithm: spkiAlgorithm(parts.spki.bytes),
      keyDescription: describeSpki(parts.spki.bytes),
      signatureAlgorithm: signatureAlgorithmName(
        oid(children(decode(parts.signatureAlgorithm.bytes), 'the algorithm')[0], 'the algorithm'),
      ),
      spki: parts.spki.bytes,
      spkiSha256: spkiSha256(parts.spki.bytes),
      subjectKeyId: extensions.subjectKeyId,
      authorityKeyId: extensions.authorityKeyId,
      crlUrls: extensions.crlUrls,
      ocspUrls: extensions.ocspUrls,
      caIssuerUrls: extensions.caIssuerUrls,
      unknownCriticalExtensions: extensions.unknownCritical,
    };
  });
}

function serialText(integer: Buffer): string {
  if (integer.length === 0) throw new Error('the serial is empty');
  return (integer.length > 1 && integer[0] === 0 ? integer.subarray(1) : integer).toString('hex');
}
