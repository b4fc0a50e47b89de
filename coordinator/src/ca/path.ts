import { X509Certificate } from 'node:crypto';
import { type CertificateInfo, parseCertificate } from '@evercert/shared/x509';

/** From a certificate upwards, itself first, as far as the candidates lead; it ends with a root, or where the next one is missing. */
export function pathAbove(own: CertificateInfo, candidates: readonly CertificateInfo[]): CertificateInfo[] {
  const path = [own];
  for (let last = own; !isRoot(last); ) {
    const above = candidates.find((each) => !path.includes(each) && issued(each, last));
    if (!above) break;
    path.push(above);
    last = above;
  }
  return path;
}

/** Serial of the CA certificate that a leaf names as its issuer and is signed by; undefined: none of these. */
export function issuerSerialOf(leaf: CertificateInfo, candidates: readonly Buffer[]): string | undefined {
  return candidates.map(parseCertificate).find((each) => issued(each, leaf))?.serial;
}

/** Signed by its own key. */
export function isRoot(info: CertificateInfo): boolean {
  return info.subject === info.issuer && issued(info, info);
}

function issued(issuer: CertificateInfo, of: CertificateInfo): boolean {
  if (issuer.subject !== of.issuer) return false;
  try {
    const [upper, lower] = [new X509Certificate(issuer.der), new X509Certificate(of.der)];
    return lower.checkIssued(upper) && lower.verify(upper.publicKey);
  } catch {
    // OpenSSL cannot read what we can: it issued nothing that could be verified.
    return false;
  }
}
