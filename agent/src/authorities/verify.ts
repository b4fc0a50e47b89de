/** Looks whether a component accepts clients by the trust bundle in its file: it names the CAs that it would accept. */
import type { Clock } from '@evercert/shared/clock';
import { toEvercertError } from '@evercert/shared/errors';
import { parseCertificate, parseName } from '@evercert/shared/x509';
import type { Look } from '../activation/verify.ts';
import { parseVerifyUrl } from '../activation/verify.ts';
import { namedAuthorities } from './named.ts';

/** Looks once; never throws. `certificates`: DER of the bundle's CAs. */
export type BundleVerifier = (url: string, certificates: readonly Buffer[]) => Promise<Look>;

export function createBundleVerifier({ clock }: { clock: Clock }): BundleVerifier {
  return async (url, certificates) => {
    const target = parseVerifyUrl(url);
    if (!target) return { result: 'Unreachable', message: `${url} is no address to look at; tls://HOST:PORT was expected` };
    const place = `${target.host}:${target.port}`;
    try {
      return compareAuthorities(place, certificates, await namedAuthorities(target, clock));
    } catch (error) {
      return { result: 'Unreachable', message: `${place} cannot be looked at: ${toEvercertError(error).message}` };
    }
  };
}

/**
 * All CAs of the bundle must be named. Others may be (kube-apiserver also names the front proxy's), but not another generation of one of them: a CA that was replaced has the same
 * common name and another subject.
 */
export function compareAuthorities(place: string, certificates: readonly Buffer[], named: readonly Buffer[] | undefined): Look {
  if (named === undefined) return { result: 'NotServed', message: `${place} asks clients for no certificate` };
  if (named.length === 0) return { result: 'NotServed', message: `${place} names no CA to its clients` };
  const wanted = certificates.map((der) => parseCertificate(der)).map(({ subject, commonName }) => ({ text: subject, commonName }));
  const seen = named.map(parseName);
  const has = (list: readonly { text: string }[], text: string): boolean => list.some((each) => each.text === text);
  const missing = wanted.filter(({ text }) => !has(seen, text));
  if (missing.length > 0)
    return { result: 'NotServed', message: `${place} does not accept clients of ${texts(missing)} yet; it names ${texts(seen)}` };
  const names = new Set(wanted.map(({ commonName }) => commonName));
  const stale = seen.filter(({ text, commonName }) => commonName !== '' && names.has(commonName) && !has(wanted, text));
  if (stale.length > 0)
    return { result: 'NotServed', message: `${place} still accepts clients of ${texts(stale)}, which the bundle does not hold any more` };
  return { result: 'Served', message: '' };
}

const maxShown = 4;

function texts(list: readonly { text: string }[]): string {
  const shown = list.slice(0, maxShown).map(({ text }) => `"${text.slice(0, 100)}"`);
  return shown.join(', ') + (list.length > maxShown ? ` and ${list.length - maxShown} more` : '');
}
