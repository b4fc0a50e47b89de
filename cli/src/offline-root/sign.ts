/** What an offline root signs: CAs, and nothing else. */
import { EvercertError } from '@evercert/shared/errors';
import { issueCa, newSerial, type ParsedCsr, parseName } from '@evercert/shared/x509';
import { backdateMs } from './create.ts';
import type { OfflineCa } from './files.ts';

export interface SignOrder {
  ca: OfflineCa;
  csr: ParsedCsr;
  pathLength: number;
  nowMs: number;
  lifetimeMs: number;
  /** The lifetime was asked for: it is not shortened. */
  exactly: boolean;
  crlUrls: string[];
}

/** What would be signed. */
export interface Review {
  subject: string;
  serial: string;
  notBefore: Date;
  notAfter: Date;
}

/**
 * Looks at a request that has proved its key. InvalidCsr: it is not taken, and why (it is no CA's, it names hosts, it is the signer's own). FailedPrecondition: this CA cannot sign
 * another one, or not for so long.
 */
export function reviewRequest(order: SignOrder): Review {
  const { ca, csr, nowMs, lifetimeMs, exactly } = order;
  const subject = parseName(csr.subject).text;
  checkRequest(csr, subject, ca);
  checkSigner(order);
  const wanted = nowMs + lifetimeMs;
  const end = ca.info.notAfter.getTime();
  if (exactly && wanted > end)
    throw new EvercertError(
      'FailedPrecondition',
      `the certificate would end at ${new Date(wanted).toISOString()}, after "${ca.info.subject}" (${ca.info.notAfter.toISOString()}); give it a shorter --lifetime`,
    );
  const notBefore = new Date(Math.max(nowMs - backdateMs, ca.info.notBefore.getTime()));
  return { subject, serial: newSerial(), notBefore, notAfter: new Date(Math.min(wanted, end)) };
}

/** DER. */
export async function signReviewed({ ca, csr, pathLength, crlUrls }: SignOrder, { serial, notBefore, notAfter }: Review): Promise<Buffer> {
  return await issueCa(ca.issuer, { subject: csr.subject, spki: csr.spki, pathLength, serial, notBefore, notAfter, crlUrls });
}

function checkRequest({ requested, spki }: ParsedCsr, subject: string, ca: OfflineCa): void {
  if (requested.isCa !== true)
    throw notTaken('it does not ask for the certificate of a CA (basic constraints CA:TRUE); an offline root signs nothing else');
  const names = [...requested.dnsNames, ...requested.ipAddresses, ...requested.uris];
  if (names.length > 0 || requested.otherNames > 0) throw notTaken(`it names hosts (${names.slice(0, 3).join(', ')}), which no CA is`);
  if (subject === '') throw notTaken('it has no subject');
  if (subject === ca.info.subject) throw notTaken(`its subject is that of the signer, "${subject}"`);
  if (spki.equals(ca.info.spki)) throw notTaken("its key is the signer's own");
}

function checkSigner({ ca: { info }, pathLength, nowMs }: SignOrder): void {
  const cannot = (why: string): EvercertError =>
    new EvercertError('FailedPrecondition', `"${info.subject}" cannot sign another CA: ${why}`);
  if (info.pathLength !== undefined && info.pathLength < pathLength + 1)
    throw cannot(`it allows ${info.pathLength} CAs below it, and ${pathLength + 1} are asked for`);
  if (info.notAfter.getTime() <= nowMs) throw cannot(`it ended at ${info.notAfter.toISOString()}`);
  if (info.notBefore.getTime() > nowMs) throw cannot(`it begins at ${info.notBefore.toISOString()}; check this machine's clock`);
}

function notTaken(why: string): EvercertError {
  return new EvercertError('InvalidCsr', `the request is not signed: ${why}`);
}
