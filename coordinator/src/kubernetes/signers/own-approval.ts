import ipaddr from 'ipaddr.js';
import type { RequestedCertificate, Requester } from './types.ts';

/** Who gets what from one of Evercert's own signers without a person's approval. */
export interface ApprovalRule {
  /** The requester is one of these users, or in one of these groups. */
  users: readonly string[];
  groups: readonly string[];
  /** What may stand in the certificate: texts in which `*` stands for any characters but a dot. */
  commonNames: readonly string[];
  organizations: readonly string[];
  dnsNames: readonly string[];
  uris: readonly string[];
  /** Addresses and ranges. */
  ipRanges: readonly string[];
  usages: readonly string[];
}

/** The first rule by which a request is approved; undefined: a person decides. */
export function approvingRule(rules: readonly ApprovalRule[], request: RequestedCertificate, requester: Requester): number | undefined {
  const found = rules.findIndex((rule) => isFor(rule, requester) && allows(rule, request));
  return found < 0 ? undefined : found;
}

function isFor({ users, groups }: ApprovalRule, requester: Requester): boolean {
  return users.includes(requester.username) || groups.some((group) => requester.groups.includes(group));
}

function allows(rule: ApprovalRule, request: RequestedCertificate): boolean {
  return (
    (request.commonName === '' || fits(request.commonName, rule.commonNames)) &&
    request.organizations.every((name) => fits(name, rule.organizations)) &&
    request.dnsNames.every((name) => fits(name.toLowerCase(), rule.dnsNames)) &&
    request.uris.every((uri) => fits(uri, rule.uris)) &&
    request.ipAddresses.every((address) => inRanges(address, rule.ipRanges)) &&
    request.usages.every((usage) => usage === 'digital signature' || usage === 'key encipherment' || rule.usages.includes(usage))
  );
}

/** A wildcard in what is asked for is a character like any other: only a pattern that says so allows it. */
function fits(text: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => pattern === text || (!text.includes('*') && matches(text, pattern)));
}

function matches(text: string, pattern: string): boolean {
  const escaped = pattern.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${escaped.join('[^.]*')}$`).test(text);
}

function inRanges(address: string, ranges: readonly string[]): boolean {
  const parsed = ipaddr.parse(address);
  return ranges.some((range) => {
    if (!range.includes('/')) return range === address;
    const [network, bits] = ipaddr.parseCIDR(range);
    return network.kind() === parsed.kind() && parsed.match(network as never, bits as never);
  });
}
