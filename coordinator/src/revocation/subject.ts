import { canonicalAddress, dnsNameFault } from '@evercert/shared/config';
import { canonicalDnsName, foldGroup } from '@evercert/shared/revocation';
import { normalizeSerial } from '@evercert/shared/x509';
import type { MatchedCertificate, MatchedProfile } from './types.ts';

/** What of a certificate is looked up, in the forms in which entries are kept. */
export interface Subject {
  serial?: string;
  groups: readonly string[];
  names: readonly string[];
  addresses: readonly string[];
}

export function subjectOfProfile({ commonName, organizations, dnsNames, ipAddresses, uris = [] }: MatchedProfile): Subject {
  // RFC 6125 section 6.4.4: the common name is a DNS name only where no SAN says what the names are.
  const withoutSans = dnsNames.length === 0 && ipAddresses.length === 0 && uris.length === 0;
  const names = withoutSans ? dnsNameOf(commonName) : dnsNames.map(canonicalDnsName);
  return {
    groups: organizations.map(foldGroup),
    names,
    addresses: ipAddresses.map(addressOf),
  };
}

export function subjectOfCertificate(certificate: MatchedCertificate): Subject {
  return { ...subjectOfProfile(certificate), serial: normalizeSerial(certificate.serial) };
}

/** Canonical addresses by their texts: to read an IPv6 address costs more than all the rest of a decision, and a cluster asks for the same few again and again. */
const addresses = new Map<string, string>();
const maxAddresses = 10_000;

function addressOf(text: string): string {
  const known = addresses.get(text);
  if (known !== undefined) return known;
  const address = canonicalAddress(text) ?? text;
  if (addresses.size >= maxAddresses) addresses.clear();
  addresses.set(text, address);
  return address;
}

/** Such as `system:node:cp-1` are no DNS names, whatever they end with. */
function dnsNameOf(commonName: string): string[] {
  const name = canonicalDnsName(commonName);
  return dnsNameFault(name, { wildcard: true }) === undefined ? [name] : [];
}
