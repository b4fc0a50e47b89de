import { isIP, isIPv4 } from 'node:net';
import ipaddr from 'ipaddr.js';

/**
 * The canonical text of an address (RFC 5952 for IPv6; an IPv4-mapped one becomes IPv4), or undefined for what is none. Zones, octal and shortened IPv4 are refused.
 */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  return ipaddr.process(text.replace(compatible, '0:0:0:0:0:0:')).toString();
}

/** `::10.0.0.1` (RFC 4291 section 2.5.5.1, deprecated) is no mapped address, though ipaddr.js takes it for one. */
const compatible = /^::(?=\d+\.)/;

/** Why a text is no DNS name for a certificate (RFC 1123 letters, digits and hyphens; a wildcard as the whole leftmost label), or undefined if it is one. */
export function dnsNameFault(text: string, options: { wildcard?: boolean } = {}): string | undefined {
  if (text === '') return 'expected a DNS name, found empty text';
  if (text.length > 253) return `expected a DNS name of at most 253 characters, found ${text.length}`;
  if (isIP(text) !== 0) return 'expected a DNS name, found an IP address; write it under the addresses';
  const labels = text.split('.');
  if (labels[0] === '*') {
    if (options.wildcard !== true) return 'a wildcard is not allowed here';
    labels.shift();
    if (labels.length === 0) return 'a wildcard must be followed by a domain, as in "*.example.com"';
  }
  const bad = labels.find((label) => !/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(label));
  if (bad === undefined) return undefined;
  if (bad === '') return 'a DNS name must not begin or end with a dot, nor hold two in a row';
  if (bad.includes('*')) return 'a wildcard must be the whole leftmost label, as in "*.example.com"';
  return 'a DNS name is made of letters, digits and hyphens: labels of 1 to 63 characters that begin and end with a letter or digit';
}

/** Host and port of `HOST:PORT` or `[IPV6]:PORT`; the port may be left out. Undefined for anything else. The host is canonical, without brackets. */
export function parseHostPort(text: string): { host: string; port?: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const bare = match?.[1] ?? match?.[2] ?? (canonicalAddress(text) !== undefined ? text : undefined);
  if (bare === undefined) return undefined;
  const host =
    canonicalAddress(bare) ??
    (match?.[1] === undefined && dnsNameFault(bare) === undefined && !looksNumeric(bare) ? bare.toLowerCase() : undefined);
  if (host === undefined) return undefined;
  if (match?.[3] === undefined) return { host };
  const port = Number(match[3]);
  return port <= 65_535 ? { host, port } : undefined;
}

/** `HOST:PORT`, an IPv6 address in brackets. */
export function formatHostPort(host: string, port: number): string {
  return `${bracketed(host)}:${port}`;
}

/** An IPv6 address in brackets, as URLs want it; all else as it is. */
export function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** The canonical text of a range, or why it is none: `{ range }` or `{ fault }`. Bits beyond the prefix must be zero. */
export function parseRange(text: string): { range: string } | { fault: string } {
  const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
  const address = match === null ? undefined : canonicalAddress(match[1]!);
  const bits = Number(match?.[2]);
  if (address === undefined || bits > (isIPv4(address) ? 32 : 128))
    return { fault: 'expected a range in CIDR form, such as "10.0.0.0/8" or "fd00::/8"' };
  const network = networkAddress(address, bits);
  if (network !== address) return { fault: `the range has bits set beyond its prefix; write "${network}/${bits}"` };
  return { range: `${network}/${bits}` };
}

/** The n-th address of a range (0 is the network's own). The range must be valid. */
export function addressInRange(range: string, n: number): string {
  const [network, bits] = range.split('/') as [string, string];
  const bytes = ipaddr.parse(networkAddress(network, Number(bits))).toByteArray();
  for (let i = bytes.length - 1, carry = n; i >= 0 && carry > 0; i--) {
    const sum = bytes[i]! + carry;
    bytes[i] = sum % 256;
    carry = Math.floor(sum / 256);
  }
  return ipaddr.fromByteArray(bytes).toString();
}

function networkAddress(address: string, bits: number): string {
  const range = `${address}/${bits}`;
  return (isIPv4(address) ? ipaddr.IPv4.networkAddressFromCIDR(range) : ipaddr.IPv6.networkAddressFromCIDR(range)).toString();
}

/** Such as "127.1" or "999.1.1.1": resolvers would take it for an address. */
function looksNumeric(text: string): boolean {
  return /^(?:\d+|0x[0-9a-f]*)$/i.test(text.split('.').at(-1)!);
}
