import type { Fault } from '../errors/index.ts';
import { documentFault, title } from './faults.ts';
import { manifestLimits } from './limits.ts';
import { examineManifest, examineNode } from './resolve.ts';
import { labelsUsed, sampleNodes } from './samples.ts';
import type { Finding } from './scope.ts';
import type { ClusterFacts, Manifest, NodeFacts } from './types.ts';

/** More faults than this say nothing new. */
const maxFaults = 100;

/** Made-up nodes on which a set is tried: enough for every selector that people write, few enough to stay within milliseconds. */
const maxSamples = 200;

/**
 * Everything that is wrong with a cluster's manifests as a set: fields, issuers, lifetimes, paths, templates, and files declared twice on one node. They are tried on
 * made-up nodes, so that an empty cluster is checked too, and on the given real ones. No faults: every given node resolves.
 */
export function validateSet(cluster: ClusterFacts, manifests: readonly Manifest[], nodes: readonly NodeFacts[] = []): Fault[] {
  if (manifests.length > manifestLimits.manifests) {
    return [
      { field: '', message: `cluster "${cluster.name}" has ${manifests.length} manifests; expected at most ${manifestLimits.manifests}` },
    ];
  }
  const collector = new Collector();
  findDuplicates(manifests, collector);
  for (const manifest of manifests) {
    for (const finding of examineAlone(cluster, manifest)) collector.add(manifest, finding);
  }
  for (const node of samplesOf(manifests, nodes)) {
    for (const { manifest, finding } of examineNode({ cluster, node }, manifests).findings) collector.add(manifest, finding);
  }
  for (const node of nodes) {
    if (collector.full) break;
    for (const { manifest, finding } of examineNode({ cluster, node }, manifests).findings) collector.add(manifest, finding, node.name);
  }
  return collector.faults;
}

/** What is wrong with a manifest in itself, in whatever cluster. */
export function examineAlone(cluster: ClusterFacts, manifest: Manifest): Finding[] {
  const collector = new Collector();
  for (const node of sampleNodes(manifest, labelsUsed([manifest])).slice(0, 2)) {
    const scope = examineManifest({ cluster, node }, manifest, { certificates: [], bundles: [], keyPairs: [], revocationLists: [] });
    for (const finding of scope.findings) collector.add(manifest, finding);
  }
  return collector.findings;
}

/** Gathers findings, each of a manifest, field and message once however many nodes show it. */
class Collector {
  readonly faults: Fault[] = [];
  readonly findings: Finding[] = [];
  readonly #seen = new Set<string>();

  get full(): boolean {
    return this.faults.length >= maxFaults;
  }

  add(manifest: Manifest, finding: Finding, node?: string): void {
    const key = JSON.stringify([manifest.kind, manifest.metadata.name, finding.path, finding.message]);
    if (this.full || this.#seen.has(key)) return;
    this.#seen.add(key);
    this.findings.push(finding);
    this.faults.push(documentFault(manifest, finding, node));
  }
}

function findDuplicates(manifests: readonly Manifest[], collector: Collector): void {
  const seen = new Set<string>();
  for (const manifest of manifests) {
    if (seen.has(title(manifest)))
      collector.add(manifest, { path: ['metadata', 'name'], message: 'the name is declared twice in this cluster' });
    seen.add(title(manifest));
  }
}

/** Made-up nodes for every selector, each kind once. Where a selector names real nodes, those are tried instead. */
function samplesOf(manifests: readonly Manifest[], nodes: readonly NodeFacts[]): NodeFacts[] {
  const real = new Set(nodes.map((node) => node.name));
  const usedLabels = labelsUsed(manifests);
  const samples = new Map<string, NodeFacts>();
  for (const manifest of manifests) {
    for (const node of sampleNodes(manifest, usedLabels)) {
      const key = JSON.stringify([node.name, node.role, manifest.spec.selector.labels ?? {}]);
      if (samples.size < maxSamples && !real.has(node.name) && !samples.has(key)) samples.set(key, node);
    }
  }
  return [...samples.values()];
}
