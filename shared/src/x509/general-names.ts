/** Subject alternative names (RFC 5280 section 4.2.1.6) of the three kinds that Evercert knows: DNS, IP, URI. */
import { isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { canonicalAddress, dnsNameFault } from '../config/names.ts';
import { EvercertError } from '../errors/index.ts';
import { type Asn1, children, content } from './asn1.ts';
import { contextPrimitive, sequence } from './der.ts';

const maxNames = 512;
const maxUri = 2048;

export interface AlternativeNames {
  dnsNames: string[];
  /** Canonical text: dotted IPv4, RFC 5952 IPv6. */
  ipAddresses: string[];
  uris: string[];
}

/**
 * The one text of an address: dotted IPv4 (also for IPv4-mapped IPv6), RFC 5952 for IPv6.
 * InvalidArgument: not an address, or one with a zone.
 */
export function canonicalIp(text: string): string {
  const canonical = canonicalAddress(text);
  if (canonical !== undefined) return canonical;
  throw new EvercertError(
    'InvalidArgument',
    `${quote(text)} is not an IP address; expected one such as 10.0.0.1 or 2001:db8::1, without a zone`,
  );
}

/** Checked, lower-cased, canonical and without repeats. InvalidArgument names the first that cannot stand in a certificate. */
export function normalizeNames(names: AlternativeNames): AlternativeNames {
  const normal = {
    dnsNames: unique(names.dnsNames.map(checkDnsName)),
    ipAddresses: unique(names.ipAddresses.map(canonicalIp)),
    uris: unique(names.uris.map(checkUri)),
  };
  const count = normal.dnsNames.length + normal.ipAddresses.length + normal.uris.length;
  if (count > maxNames) throw new EvercertError('InvalidArgument', `a certificate may have ${maxNames} alternative names, not ${count}`);
  return normal;
}

/** GeneralNames of normalized names; undefined when there is none. */
export function encodeGeneralNames({ dnsNames, ipAddresses, uris }: AlternativeNames): Buffer | undefined {
  const parts = [
    ...dnsNames.map((name) => contextPrimitive(2, Buffer.from(name, 'latin1'))),
    ...ipAddresses.map((address) => contextPrimitive(7, addressBytes(address))),
    ...uris.map((uri) => contextPrimitive(6, Buffer.from(uri, 'latin1'))),
  ];
  return parts.length === 0 ? undefined : sequence(...parts);
}

/** What is read: the kinds that Evercert does not know, such as e-mail addresses, are counted. */
export interface ReadNames extends AlternativeNames {
  otherNames: number;
}

export function readGeneralNames(node: Asn1): ReadNames {
  const names: ReadNames = { dnsNames: [], ipAddresses: [], uris: [], otherNames: 0 };
  const parts = children(node, 'the subject alternative name');
  if (parts.length > 4 * maxNames) throw new Error(`there are more than ${4 * maxNames} alternative names`);
  for (const part of parts) {
    if (part.tagClass !== 0x80) throw new Error('an alternative name has a wrong tag');
    if (part.type === 2) names.dnsNames.push(content(part, 'a DNS name').toString('latin1'));
    else if (part.type === 6) names.uris.push(content(part, 'a URI').toString('latin1'));
    else if (part.type === 7) names.ipAddresses.push(ipFromBytes(content(part, 'an IP address')));
    else names.otherNames += 1;
  }
  return names;
}

/** Only IPv6 needs the library; IPv4 in the strict form that isIPv4 wants is canonical already. */
function addressBytes(address: string): Buffer {
  return Buffer.from(isIPv4(address) ? address.split('.').map(Number) : ipaddr.parse(address).toByteArray());
}

function ipFromBytes(bytes: Buffer): string {
  if (bytes.length !== 4 && bytes.length !== 16) throw new Error(`an IP address has ${bytes.length} bytes, expected 4 or 16`);
  return bytes.length === 4 ? bytes.join('.') : canonicalIp(ipaddr.fromByteArray([...bytes]).toString());
}

function checkDnsName(text: string): string {
  const fault = dnsNameFault(text, { wildcard: true });
  if (fault !== undefined) throw new EvercertError('InvalidArgument', `${quote(text)} cannot be a DNS name of a certificate: ${fault}`);
  return text.toLowerCase();
}

function checkUri(text: string): string {
  if (text.length > maxUri || !/^[a-z][a-z0-9+.-]*:[!-~]+$/i.test(text) || !URL.canParse(text)) {
    throw new EvercertError(
      'InvalidArgument',
      `${quote(text)} is not a URI; expected an absolute one in ASCII, such as spiffe://demo.evercert/node/a`,
    );
  }
  return text;
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 300));
const unique = (texts: string[]): string[] => [...new Set(texts)];
