import { X509Certificate } from 'node:crypto';
import { describeError, EvercertError } from '../errors/index.ts';
import { type CertificateInfo, parseCertificate } from './certificate.ts';
import { readingCertificate } from './certificate-parts.ts';
import type { Usage } from './types.ts';

const maxChain = 8;
const maxAnchors = 64;

export interface ChainCheck {
  /** DER, the leaf first, then intermediates upwards. */
  chain: readonly Buffer[];
  /** DER of the trusted CAs. */
  anchors: readonly Buffer[];
  /** The time to judge by, milliseconds since the epoch. */
  atMs: number;
  /** What the leaf must be good for. */
  usage?: Usage;
}

interface Link {
  info: CertificateInfo;
  x509: X509Certificate;
}

/**
 * Checks that the leaf leads to a trusted CA over the given intermediates, that every certificate on the way is valid at that time, that every issuer is a CA within
 * its path length, and that the leaf may be used so. InvalidCertificate says which certificate is at fault and why; `metadata.reason` is one of `expired`,
 * `not-yet-valid`, `unknown-issuer`, `bad-signature`, `not-a-ca`, `wrong-usage`, `unreadable`.
 */
export function verifyChain({ chain, anchors, atMs, usage }: ChainCheck): void {
  if (chain.length === 0 || chain.length > maxChain || anchors.length > maxAnchors) {
    throw fault(
      'unreadable',
      `a chain has 1 to ${maxChain} certificates and at most ${maxAnchors} trusted CAs, not ${chain.length} and ${anchors.length}`,
    );
  }
  const links = chain.map(open);
  const trusted = anchors.map(open);
  const leaf = links[0] as Link;
  checkUsage(leaf.info, usage);
  for (const [index, link] of links.entries()) {
    checkTime(link.info, atMs);
    // A self-signed trusted CA is the end of the chain, not a link of it.
    if (index > 0 && trusted.some(({ info }) => info.der.equals(link.info.der))) return;
    const anchor = findIssuer(link, trusted, index);
    if (anchor !== undefined) {
      checkTime(anchor.info, atMs);
      return;
    }
    const next = links[index + 1];
    if (next === undefined) throw unknownIssuer(link, trusted);
    checkIssued(link, next, index);
  }
}

function open(der: Buffer): Link {
  let link: Link;
  try {
    link = { info: parseCertificate(der), x509: new X509Certificate(der) };
  } catch (error) {
    throw fault('unreadable', `a certificate cannot be read: ${describeError(error)}`, error);
  }
  const unknown = link.info.unknownCriticalExtensions;
  if (unknown.length === 0) return link;
  throw fault('unreadable', `${describe(link.info)} has critical extensions that are not understood: ${unknown.join(', ')}`);
}

function checkTime(info: CertificateInfo, atMs: number): void {
  const at = new Date(atMs).toISOString();
  if (atMs < info.notBefore.getTime()) {
    throw fault('not-yet-valid', `${describe(info)} is not yet valid at ${at}; it begins ${info.notBefore.toISOString()}`);
  }
  if (atMs > info.notAfter.getTime())
    throw fault('expired', `${describe(info)} has expired at ${at}; it ended ${info.notAfter.toISOString()}`);
}

function checkUsage(info: CertificateInfo, usage: Usage | undefined): void {
  if (usage === undefined || info.usages.includes(usage)) return;
  const purpose = usage === 'server auth' || usage === 'client auth';
  if (purpose && info.anyPurpose) return;
  throw fault('wrong-usage', `${describe(info)} is not for ${usage}; its usages are ${info.usages.join(', ') || 'none that are known'}`);
}

/** The trusted CA that really issued the link; several may bear its issuer's name. */
function findIssuer(link: Link, trusted: readonly Link[], below: number): Link | undefined {
  const issuer = trusted.find((candidate) => link.x509.checkIssued(candidate.x509) && signedBy(link, candidate));
  if (issuer !== undefined) checkIsCa(issuer.info, below);
  return issuer;
}

function checkIssued(link: Link, issuer: Link, below: number): void {
  if (link.info.issuer !== issuer.info.subject) {
    throw fault(
      'unknown-issuer',
      `${describe(link.info)} was issued by ${link.info.issuer}, but the next in the chain is ${describe(issuer.info)}`,
    );
  }
  checkIsCa(issuer.info, below);
  if (!link.x509.checkIssued(issuer.x509))
    throw fault('unknown-issuer', `${describe(link.info)} names another key of ${issuer.info.subject} as its issuer`);
  if (!signedBy(link, issuer)) throw fault('bad-signature', `${describe(link.info)} has a signature that is not of ${issuer.info.subject}`);
}

function checkIsCa(info: CertificateInfo, below: number): void {
  if (!info.isCa) throw fault('not-a-ca', `${describe(info)} issued a certificate, but it is not a CA`);
  if (info.pathLength !== undefined && below > info.pathLength) {
    throw fault('not-a-ca', `${describe(info)} allows ${info.pathLength} CAs below it, but there are ${below}`);
  }
}

/** Tells apart why no trusted CA fits. */
function unknownIssuer(link: Link, trusted: readonly Link[]): EvercertError {
  const named = trusted.filter(({ info }) => info.subject === link.info.issuer);
  const notCa = named.find(({ info }) => !info.isCa);
  if (notCa !== undefined) return fault('not-a-ca', `${describe(notCa.info)} is trusted, but it is not a CA`);
  if (named.some((candidate) => link.x509.checkIssued(candidate.x509))) {
    return fault('bad-signature', `${describe(link.info)} has a signature that is not of ${link.info.issuer}`);
  }
  const more = named.length > 0 ? ': a trusted CA has that name but another key' : '';
  return fault('unknown-issuer', `${describe(link.info)} was issued by ${link.info.issuer}, which is not trusted${more}`);
}

function signedBy(link: Link, issuer: Link): boolean {
  return readingCertificate(() => link.x509.verify(issuer.x509.publicKey));
}

function describe(info: CertificateInfo): string {
  return `the certificate ${info.subject || info.dnsNames[0] || '(no subject)'} (serial ${info.serial})`;
}

function fault(reason: string, message: string, cause?: unknown): EvercertError {
  return new EvercertError('InvalidCertificate', message, { metadata: { reason }, cause });
}
