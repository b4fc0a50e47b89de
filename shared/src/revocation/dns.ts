import { domainToASCII } from 'node:url';
import { dnsNameFault } from '../config/names.ts';

/** Stands for the dot in IDNA (RFC 3490 section 3.1). */
const otherDots = /[\u3002\uff0e\uff61]/g;

/**
 * A certificate's DNS name as it is compared: lower case, without the final dot, in A-labels. Any text gets a form, also one that is no DNS name: it then equals
 * itself alone.
 */
export function canonicalDnsName(name: string): string {
  const bare = name.endsWith('.') ? name.slice(0, -1) : name;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: exactly the ASCII range is meant
  if (/^[\x00-\x7f]*$/.test(bare)) return bare.toLowerCase();
  return toAscii(bare) ?? bare.toLowerCase();
}

/** The form without characters outside ASCII; undefined: it has none. Only letters, digits, hyphens and dots are given to the converter, which reads host names of URLs. */
function toAscii(name: string): string | undefined {
  const dotted = name.normalize('NFKC').replace(otherDots, '.');
  const wildcard = dotted.startsWith('*.');
  const rest = wildcard ? dotted.slice(2) : dotted;
  if (!/^[\p{L}\p{M}\p{N}\p{Cf}.-]+$/u.test(rest)) return undefined;
  const ascii = domainToASCII(rest);
  if (ascii === '') return undefined;
  return `${wildcard ? '*.' : ''}${ascii.replace(/\.$/, '')}`;
}

/** True for a pattern that matches by its end, as `.cluster.local`. */
export function isDnsSuffix(pattern: string): boolean {
  return pattern.startsWith('.');
}

/**
 * The canonical form of what a DNS entry names: a name, a wildcard name that stands for the very same SAN (`*.example.com`), or a suffix that begins with a dot and
 * matches whole labels (`.cluster.local`). Or why it is none of them.
 */
export function canonicalDnsPattern(text: string): { value: string } | { fault: string } {
  const trimmed = text.trim();
  const suffix = isDnsSuffix(trimmed);
  const name = canonicalDnsName(suffix ? trimmed.slice(1) : trimmed);
  if (suffix && name === '') return { fault: 'expected a name after the dot, as in ".cluster.local"; a lone dot would match every name' };
  if (suffix && name.startsWith('*')) return { fault: 'a suffix holds no wildcard: ".example.com" covers "*.example.com" already' };
  const fault = dnsNameFault(name, { wildcard: true });
  if (fault === undefined) return { value: suffix ? `.${name}` : name };
  return { fault: fault.replace('write it under the addresses', 'write an entry of kind IP') };
}
