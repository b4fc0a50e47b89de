import { type ClusterManifest, type NodeManifest, replacementPolicyOf, rotationPolicyOf } from '@evercert/shared/manifest';
import type { ClusterRecord, NodeRecord } from '../state/records.ts';

/** A cluster's record as the document that would make it so. */
export function clusterDocument({ name, policy }: ClusterRecord): ClusterManifest {
  return {
    kind: 'Cluster',
    metadata: { name },
    spec: { ...policy, replacement: replacementPolicyOf(policy), rotation: rotationPolicyOf(policy), adopt: policy.adopt ?? false },
  };
}

export function nodeDocument(node: NodeRecord): NodeManifest {
  return {
    kind: 'Node',
    metadata: { name: node.name, labels: node.labels },
    spec: { role: node.role, addresses: node.registeredAddresses, dnsNames: node.dnsNames },
  };
}
