import { toEvercertError } from '../errors/index.ts';
import { decode, type Slice, sequenceSlices } from './asn1.ts';

/** More than any certificate in use; one with 512 names and an RSA 8192 key has less than half of it. */
const maxCertificateBytes = 128 * 1024;

/** A certificate's fields as slices of its own bytes. */
export interface CertificateParts {
  serial: Slice;
  issuer: Slice;
  validity: Slice;
  subject: Slice;
  spki: Slice;
  /** The SEQUENCE OF Extension, if there is one. */
  extensions: Buffer | undefined;
  signatureAlgorithm: Slice;
}

/** Cuts a certificate into its fields (RFC 5280 section 4.1). Throws plain errors. */
export function certificateParts(der: Buffer): CertificateParts {
  if (der.length > maxCertificateBytes) throw new Error(`it has ${der.length} bytes, more than ${maxCertificateBytes}`);
  decode(der);
  const [tbs, signatureAlgorithm, signature, ...more] = sequenceSlices(der, 'the certificate');
  if (tbs?.tag !== 0x30 || signatureAlgorithm?.tag !== 0x30 || signature?.tag !== 0x03 || more.length > 0) {
    throw new Error('it is not a certificate: expected content, algorithm and signature');
  }
  const fields = sequenceSlices(tbs.bytes, 'the certificate');
  if (fields[0]?.tag === 0xa0) fields.shift();
  const [serial, algorithm, issuer, validity, subject, spki, ...rest] = fields;
  if (serial?.tag !== 0x02 || algorithm?.tag !== 0x30 || issuer?.tag !== 0x30 || validity?.tag !== 0x30) {
    throw new Error('it is not a certificate: expected serial, algorithm, issuer and validity');
  }
  if (subject?.tag !== 0x30 || spki?.tag !== 0x30) throw new Error('it is not a certificate: expected subject and public key');
  if (!algorithm.bytes.equals(signatureAlgorithm.bytes)) throw new Error('its two signature algorithms differ');
  const extensions = rest.find((field) => field.tag === 0xa3)?.content;
  return { serial, issuer, validity, subject, spki, extensions, signatureAlgorithm };
}

/** Runs a reader over a certificate; whatever it throws becomes InvalidCertificate. */
export function readingCertificate<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw toEvercertError(error, 'InvalidCertificate', 'the certificate cannot be read; expected one X.509 certificate in DER');
  }
}

/** The SubjectPublicKeyInfo's bytes. InvalidCertificate: not a certificate. */
export function certificateSpki(der: Buffer): Buffer {
  return readingCertificate(() => certificateParts(der).spki.bytes);
}
