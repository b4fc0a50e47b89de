import { canonicalAddress as parseAddress } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import ipaddr from 'ipaddr.js';

/** RFC 1123 subdomain, as Kubernetes names nodes. */
const nodeNamePattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const labelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
/** A common name holds 64 characters at most (RFC 5280 appendix A, ub-common-name), `system:node:` included. */
const maxNodeName = 52;

/** InvalidArgument: not a name that Kubernetes would take for a node. */
export function checkNodeName(name: string): void {
  if (name.length <= maxNodeName && nodeNamePattern.test(name)) return;
  throw new EvercertError(
    'InvalidArgument',
    `"${name.slice(0, 80)}" cannot be a node's name: expected lower-case letters, digits, '-' and '.', ${maxNodeName} characters at most`,
  );
}

/** InvalidArgument: not an RFC 1123 label. */
export function checkClusterName(name: string): void {
  if (name.length <= 40 && labelPattern.test(name)) return;
  throw new EvercertError(
    'InvalidArgument',
    `"${name.slice(0, 80)}" cannot be a cluster's name: expected lower-case letters, digits and '-', 40 characters at most`,
  );
}

/** One spelling per address. InvalidArgument: not an address. */
export function canonicalAddress(address: string): string {
  const canonical = parseAddress(address);
  if (canonical === undefined) throw new EvercertError('InvalidArgument', `"${address.slice(0, 80)}" is not an IPv4 or IPv6 address`);
  return canonical;
}

/** Whether an address lies in one of the CIDR ranges. */
export function inRanges(address: string, ranges: readonly string[]): boolean {
  const parsed = ipaddr.process(address);
  return ranges.some((range) => {
    const [network, bits] = ipaddr.parseCIDR(range);
    return network.kind() === parsed.kind() && parsed.match(network, bits);
  });
}
