import { type ClusterPolicy, parseMaxUnhealthy, replacementPolicyOf } from '@evercert/shared/manifest';
import type { NodeRecord } from '../state/records.ts';

export interface PolicyFacts {
  cluster: string;
  policy: ClusterPolicy;
  nodes: readonly NodeRecord[];
  /** Of this coordinator's configuration, sorted. */
  provisioners: readonly string[];
}

/** What a policy may say, and most likely should not: it was not refused, for the other half of it may still come. */
export function policyWarnings({ cluster, policy, nodes, provisioners }: PolicyFacts): string[] {
  const { provisioner, mode, maxUnhealthy } = replacementPolicyOf(policy);
  if (provisioner === '' || mode === 'off') return [];
  const warnings: string[] = [];
  if (!provisioners.includes(provisioner)) {
    const known = provisioners.length === 0 ? 'it has none' : `it has ${provisioners.join(', ')}`;
    warnings.push(
      `cluster ${cluster}: the provisioner "${provisioner}" is not configured at this coordinator (${known}): nobody is replaced until it is`,
    );
  }
  const limit = parseMaxUnhealthy(maxUnhealthy);
  const workers = nodes.filter(({ role, identitySerials }) => role === 'worker' && identitySerials.length > 0).length;
  if (limit && 'percent' in limit && workers > 0 && Math.floor((workers * limit.percent) / 100) === 0) {
    warnings.push(
      `cluster ${cluster}: maxUnhealthy ${maxUnhealthy} of ${workers} worker${workers === 1 ? '' : 's'} is none: nobody is replaced; give a count, such as 1`,
    );
  }
  return warnings;
}
