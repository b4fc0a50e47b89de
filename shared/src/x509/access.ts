/** Where a certificate says that its CA's CRL, OCSP responder and certificate are to be had (RFC 5280 sections 4.2.1.13 and 4.2.2.1). */
import { EvercertError } from '../errors/index.ts';
import { type Asn1, children, content, hasTag, oid } from './asn1.ts';
import { contextConstructed, contextPrimitive, objectIdentifier, sequence } from './der.ts';
import { oids } from './oids.ts';
import { extension } from './raw-extensions.ts';
import type { LeafProfile } from './types.ts';

const maxUrls = 8;
const maxUrlLength = 1024;

export type AccessUrls = Pick<LeafProfile, 'crlUrls' | 'ocspUrls' | 'caIssuerUrls'>;

/** The extensions for the URLs that are given; none for none. InvalidArgument: not absolute http URLs in ASCII, or too many. */
export function accessExtensions({ crlUrls = [], ocspUrls = [], caIssuerUrls = [] }: AccessUrls): Buffer[] {
  for (const urls of [crlUrls, ocspUrls, caIssuerUrls]) checkUrls(urls);
  const extensions: Buffer[] = [];
  if (crlUrls.length > 0) {
    // One point with several names: each leads to the same list.
    const point = sequence(contextConstructed(0, contextConstructed(0, ...crlUrls.map(uriName))));
    extensions.push(extension(objectIdentifier(oids.cRLDistributionPoints), false, sequence(point)));
  }
  const access = [
    ...ocspUrls.map((url) => sequence(objectIdentifier(oids.ocsp), uriName(url))),
    ...caIssuerUrls.map((url) => sequence(objectIdentifier(oids.caIssuers), uriName(url))),
  ];
  if (access.length > 0) extensions.push(extension(objectIdentifier(oids.authorityInfoAccess), false, sequence(...access)));
  return extensions;
}

/** The URLs of all distribution points. */
export function readDistributionPoints(value: Asn1): string[] {
  const points = children(value, 'the CRL distribution points');
  return points.flatMap((point) => {
    const name = children(point, 'a distribution point').find((part) => hasTag(part, 0xa0));
    const fullName = name && children(name, 'a distribution point').find((part) => hasTag(part, 0xa0));
    return fullName === undefined ? [] : children(fullName, 'a distribution point').flatMap(uriOf);
  });
}

export function readInfoAccess(value: Asn1): { ocspUrls: string[]; caIssuerUrls: string[] } {
  const found = { ocspUrls: [] as string[], caIssuerUrls: [] as string[] };
  for (const description of children(value, 'the authority information access')) {
    const [method, location] = children(description, 'an access description');
    const type = oid(method, 'an access method');
    if (location === undefined) throw new Error('an access description has no location');
    if (type === oids.ocsp) found.ocspUrls.push(...uriOf(location));
    else if (type === oids.caIssuers) found.caIssuerUrls.push(...uriOf(location));
  }
  return found;
}

const uriName = (url: string): Buffer => contextPrimitive(6, Buffer.from(url, 'latin1'));

function uriOf(name: Asn1): string[] {
  return hasTag(name, 0x86) ? [content(name, 'a URL').toString('latin1')] : [];
}

function checkUrls(urls: readonly string[]): void {
  if (urls.length > maxUrls)
    throw new EvercertError('InvalidArgument', `a certificate may name ${maxUrls} URLs of one kind, not ${urls.length}`);
  for (const url of urls) {
    if (url.length <= maxUrlLength && /^https?:\/\/[!-~]+$/.test(url) && URL.canParse(url)) continue;
    throw new EvercertError(
      'InvalidArgument',
      `${JSON.stringify(url.slice(0, 300))} cannot stand in a certificate; expected an absolute http URL in ASCII, at most ${maxUrlLength} characters`,
    );
  }
}
