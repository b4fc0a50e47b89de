import { EvercertError } from '@evercert/shared/errors';
import { type RevocationReason, revocationReasons } from '@evercert/shared/revocation';
import {
  type CrlEntry,
  certificatesFromPem,
  createCrl,
  normalizeSerial,
  parseCertificate,
  parseCrl,
  pemBlocks,
  verifyCrl,
} from '@evercert/shared/x509';
import { usageError } from '../errors.ts';
import { backdateMs } from './create.ts';
import { type OfflineCa, readSmall } from './files.ts';

/**
 * One `--revoke`: a serial number, or a PEM file that begins with the certificate; with `=REASON` behind it. InvalidArgument: neither, or no such reason.
 *
 * @param path makes a path absolute.
 */
export async function revokedEntry(text: string, ca: OfflineCa, nowMs: number, path: (file: string) => string): Promise<CrlEntry> {
  const at = text.lastIndexOf('=');
  const [what, reason] = at < 0 ? [text, 'unspecified'] : [text.slice(0, at), text.slice(at + 1)];
  if (!isReason(reason)) throw usageError(`--revoke: "${reason}" is no reason; expected one of ${revocationReasons.join(', ')}`);
  return { serial: await serialOf(what, ca, path), revokedAt: new Date(Math.floor(nowMs / 1000) * 1000), reason };
}

/** The entries of the list before, which stay. InvalidCertificate: it is another CA's, or cannot be read. */
export async function earlierEntries(path: string, ca: OfflineCa): Promise<CrlEntry[]> {
  const blocks = pemBlocks(await readSmall(path)).filter(({ label }) => label === 'X509 CRL');
  const [block] = blocks;
  if (!block || blocks.length > 1)
    throw new EvercertError('InvalidCertificate', `${path} holds ${blocks.length} CRLs; expected one block BEGIN X509 CRL`);
  await verifyCrl(block.der, ca.info.der);
  return parseCrl(block.der).revoked;
}

/** DER. The number is the time: it grows from list to list without being kept anywhere. */
export async function signCrl(
  ca: OfflineCa,
  entries: CrlEntry[],
  { nowMs, lifetimeMs }: { nowMs: number; lifetimeMs: number },
): Promise<Buffer> {
  return await createCrl({
    issuer: ca.issuer,
    number: Math.floor(nowMs),
    thisUpdate: new Date(nowMs - backdateMs),
    nextUpdate: new Date(nowMs + lifetimeMs),
    revoked: entries,
  });
}

async function serialOf(what: string, { info: { subject } }: OfflineCa, path: (file: string) => string): Promise<string> {
  if (/^(0x)?[0-9a-f: ]{1,64}$/i.test(what)) return normalizeSerial(what);
  const [der] = certificatesFromPem(await readSmall(path(what)));
  const { issuer, serial } = parseCertificate(der!);
  if (issuer === subject) return serial;
  throw new EvercertError('InvalidArgument', `--revoke: the certificate in ${what} was issued by "${issuer}", not by "${subject}"`);
}

function isReason(text: string): text is RevocationReason {
  return (revocationReasons as readonly string[]).includes(text);
}
