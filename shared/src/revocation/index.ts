/** What revocation entries and certificates are compared by: one canonical form for each of the ways in which people and tools write the same thing. */
export { canonicalDnsName, canonicalDnsPattern, isDnsSuffix } from './dns.ts';
export { canonicalGroup, foldGroup } from './group.ts';
export { type RevocationReason, revocationReasons } from './reasons.ts';
