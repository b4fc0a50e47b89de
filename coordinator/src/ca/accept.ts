/** Whether what an offline root signed can be the next generation of a CA. Pure. */
import { describeError, EvercertError } from '@evercert/shared/errors';
import { type CertificateInfo, certificatesFromPem, parseCertificate, verifyChain } from '@evercert/shared/x509';
import type { AuthorityGeneration, AuthorityRecord, AuthorityRequest } from '../state/records.ts';
import { anchorOf, generationsOf } from './generations.ts';
import { isRoot, pathAbove } from './path.ts';

export interface OfferedCertificate {
  authority: AuthorityRecord;
  request: AuthorityRequest;
  /** DER SubjectPublicKeyInfo of the request's key. */
  spki: Buffer;
  /** The CA's own certificate and those above it, the root last; a root that nodes trust already may be left out. */
  chainPem: string;
  /** All other CAs that are trusted anywhere here: those of this cluster, of other clusters, and the control CA. */
  others: readonly AuthorityRecord[];
  nowMs: number;
}

/** Its own, what stands above it, and the root. */
const maxChain = 8;

const signatures = new Set([
  'ecdsa-with-SHA256',
  'ecdsa-with-SHA384',
  'ecdsa-with-SHA512',
  'sha256WithRSAEncryption',
  'sha384WithRSAEncryption',
  'sha512WithRSAEncryption',
]);

const nameConstraints = '2.5.29.30';

/**
 * Checks a certificate for a request of ours, up to its root. InvalidCertificate says what is wrong with it and what was expected: it is for another key or no CA's, its chain is
 * broken or has something superfluous in it, it has ended, its algorithms are not accepted, it restricts what the CA needs.
 */
export function acceptedGeneration({ authority, request, spki, chainPem, others, nowMs }: OfferedCertificate): AuthorityGeneration {
  const own = ownOf(certificatesFromPem(chainPem).map(read), spki);
  const path = pathOf(own.info, own.others, authority);
  for (const [below, info] of path.entries()) checkCa(info, below, nowMs);
  checkSignatures(path, nowMs);
  checkDistinct(own.info, authority, request);
  const [, ...above] = path;
  const root = above.pop()!;
  checkAlone(root, authority, others);
  const encoded = above.map(({ der }) => der.toString('base64'));
  return {
    keyId: request.keyId,
    keyAlgorithm: request.keyAlgorithm,
    serial: own.info.serial,
    certificate: own.info.der.toString('base64'),
    notBeforeMs: Math.max(...path.map(({ notBefore }) => notBefore.getTime())),
    // No leaf outlives any of them.
    notAfterMs: Math.min(...path.map(({ notAfter }) => notAfter.getTime())),
    ...(encoded.length > 0 && { chain: encoded }),
    root: root.der.toString('base64'),
  };
}

function read(der: Buffer): CertificateInfo {
  try {
    return parseCertificate(der);
  } catch (error) {
    throw refused(`one of its certificates cannot be read: ${describeError(error)}`);
  }
}

function ownOf(given: readonly CertificateInfo[], spki: Buffer): { info: CertificateInfo; others: CertificateInfo[] } {
  const unique = given.filter(({ der }, at) => given.findIndex((each) => each.der.equals(der)) === at);
  if (unique.length > maxChain)
    throw refused(`there are ${unique.length} certificates in it; expected at most ${maxChain}, the CA's own and those above it`);
  const ours = unique.filter((info) => info.spki.equals(spki));
  const [info] = ours;
  if (!info)
    throw refused(
      'none of its certificates is for the key of this request; sign the request that the rotation gave, and give what came of it',
    );
  if (ours.length > 1) throw refused('two of its certificates are for the key of this request; give one');
  return { info, others: unique.filter((each) => each !== info) };
}

/** From the CA's own certificate up to its root, over all that was given. */
function pathOf(own: CertificateInfo, others: readonly CertificateInfo[], authority: AuthorityRecord): CertificateInfo[] {
  const trusted = authority.bundle.map((der) => read(Buffer.from(der, 'base64'))).filter(isRoot);
  const path = pathAbove(own, [...others, ...trusted]);
  const last = path.at(-1)!;
  if (!isRoot(last)) {
    throw refused(
      `${describe(last)} was issued by "${last.issuer}", whose certificate is missing; append all above the CA's own, the root last`,
    );
  }
  const spare = others.find((each) => !path.includes(each));
  if (spare) throw refused(`${describe(spare)} does not belong to its chain; take it out`);
  if (path.length === 1) throw refused(`${describe(own)} is signed by its own key; expected one that another CA signed`);
  return path;
}

function checkCa(info: CertificateInfo, below: number, nowMs: number): void {
  const { caParts, pathLength, usages, anyPurpose, signatureAlgorithm, unknownCriticalExtensions: unknown } = info;
  const which = describe(info);
  if (!caParts.constraint) throw refused(`${which} is no CA: its basic constraints do not say CA:TRUE`);
  if (!caParts.certSign) throw refused(`${which} may not sign certificates; its key usage needs keyCertSign`);
  if (below === 0 && !caParts.crlSign) throw refused(`${which} may not sign CRLs; its key usage needs cRLSign`);
  if (pathLength !== undefined && pathLength < below) {
    throw refused(`${which} allows ${pathLength} CAs below it, but there are ${below}; it needs a path length of at least ${below}`);
  }
  if (info.keyAlgorithm === undefined)
    throw refused(`${which} has a key that is not accepted, ${info.keyDescription}; expected ECDSA P-256 or P-384, or RSA 2048 to 4096`);
  if (!signatures.has(signatureAlgorithm))
    throw refused(`${which} is signed with ${signatureAlgorithm}; expected ECDSA or RSA (PKCS#1 v1.5) with SHA-256, SHA-384 or SHA-512`);
  if (unknown.includes(nameConstraints))
    throw refused(
      `${which} has name constraints; what manifests declare is not checked against them, so that leaves might be issued that nobody accepts: have it signed without`,
    );
  if (unknown.length > 0) throw refused(`${which} has critical extensions that are not understood here: ${unknown.join(', ')}`);
  if (!anyPurpose && !(usages.includes('server auth') && usages.includes('client auth'))) {
    throw refused(
      `${which} is restricted to other purposes; without extended key usages, or with server and client authentication, what it issues is accepted`,
    );
  }
  if (info.notAfter.getTime() <= nowMs) throw refused(`${which} ended at ${info.notAfter.toISOString()}; have it signed anew`);
  if (info.notBefore.getTime() > nowMs)
    throw refused(`${which} begins at ${info.notBefore.toISOString()}, which is still to come; check the clocks of both machines`);
}

/** The strict way that agents take too. */
function checkSignatures(path: readonly CertificateInfo[], nowMs: number): void {
  const root = path.at(-1)!;
  verifyChain({ chain: path.slice(0, -1).map(({ der }) => der), anchors: [root.der], atMs: nowMs });
  const [own] = path;
  if (own?.subjectKeyId === undefined)
    throw refused(`${describe(own!)} has no subject key identifier, by which it is told from other keys of the CA`);
}

/** CRLs and records tell generations apart by subject and serial. */
function checkDistinct(own: CertificateInfo, authority: AuthorityRecord, { keyId }: AuthorityRequest): void {
  // What was taken for this very request may be given again.
  for (const { generation } of generationsOf(authority).filter((each) => each.generation.keyId !== keyId)) {
    const other = read(Buffer.from(generation.certificate, 'base64'));
    if (other.serial === own.serial)
      throw refused(`it has the serial ${own.serial} of an earlier certificate of ${authority.name}; have it signed with another`);
    if (other.subject === own.subject)
      throw refused(
        `it has the subject of an earlier certificate of ${authority.name}, "${own.subject}"; keep the subject that the request asks for`,
      );
    if (anchorOf(generation) === own.der.toString('base64')) throw refused('it is trusted as a root already');
  }
  if (own.subject === '') throw refused('it has no subject; keep the one that the request asks for');
}

/** Whoever trusts a root accepts what any CA under it issues: with one root for two, a kubelet's certificate would open etcd, or another cluster. */
function checkAlone(root: CertificateInfo, { cluster, name }: AuthorityRecord, others: readonly AuthorityRecord[]): void {
  for (const other of others) {
    if (other.cluster === cluster && other.name === name) continue;
    const trusted = [...other.bundle, ...generationsOf(other).map(({ generation }) => anchorOf(generation))];
    const shared = trusted.some((der) => read(Buffer.from(der, 'base64')).spkiSha256 === root.spkiSha256);
    if (shared)
      throw refused(
        `its root ${describe(root)} is trusted for ${other.name} of ${other.cluster} already, so that what the one issues would be accepted in place of the other's; make a root of its own for each CA`,
      );
  }
}

function describe({ subject, serial }: CertificateInfo): string {
  return `"${subject || 'a certificate without a subject'}" (serial ${serial})`;
}

function refused(why: string): EvercertError {
  return new EvercertError('InvalidCertificate', `the certificate is not taken: ${why}`);
}
