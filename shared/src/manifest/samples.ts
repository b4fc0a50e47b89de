import { labelsIn } from './template.ts';
import { type ClusterFacts, defaultClusterPolicy, type Manifest, type NodeFacts, type RoleName, roles } from './types.ts';

/** A cluster for checks that know no real one: every path is allowed, every variable has a value. */
export const sampleCluster: ClusterFacts = {
  name: 'sample',
  webUrl: 'http://coordinator.sample.example:7480',
  policy: { ...defaultClusterPolicy, controlPlaneEndpoint: 'api.sample.example:6443', allowedPaths: ['/'] },
};

/** Keys of the labels that the manifests' templates speak of. */
export function labelsUsed(manifests: readonly Manifest[]): Set<string> {
  return new Set(manifests.flatMap((manifest) => labelsIn(JSON.stringify(manifest))));
}

/**
 * Nodes that the manifest selects, made up so that every variable has a value: what is wrong with it there is wrong in itself. Addresses are from the ranges for
 * documentation (RFC 5737, RFC 3849).
 */
export function sampleNodes(manifest: Manifest, usedLabels: ReadonlySet<string>): NodeFacts[] {
  const { selector } = manifest.spec;
  const names = selector.nodes ?? ['sample-node'];
  const labels = { ...Object.fromEntries([...usedLabels].map((key) => [key, 'sample'])), ...selector.labels };
  return names.flatMap((name) => (selector.role === undefined ? roles : [selector.role]).map((role) => sampleNode(name, role, labels)));
}

function sampleNode(name: string, role: RoleName, labels: Record<string, string>): NodeFacts {
  return { name, role, labels, addresses: ['192.0.2.10', '2001:db8::10'], dnsNames: ['sample-node.example'] };
}
