import { createHash } from 'node:crypto';
import { DesiredState } from '@evercert/proto';
import { describeError } from '@evercert/shared/errors';
import { type ClusterFacts, type Manifest, type NodeFacts, type ResolvedNode, resolveNode } from '@evercert/shared/manifest';
import { desiredBundleToProto, desiredCertificateToProto, desiredKeyPairToProto } from '@evercert/shared/wire';
import { trustAnchors } from '../ca/authorities.ts';
import { layout, partsAfter } from '../state/layout.ts';
import { type Model, nodeFacts } from '../state/model.ts';
import type { NodeRecord } from '../state/records.ts';

export interface NodePlan {
  resolved: ResolvedNode;
  desired: DesiredState;
  /** Manifests that cannot be put into effect on this node, and why. */
  problems: string[];
}

/** What each node is to hold, worked out from the model and kept until something that it rests on changes. */
export class DesiredStates {
  readonly #model: Model;
  readonly #controlAnchors: () => Buffer[];
  readonly #plans = new Map<string, NodePlan>();
  readonly #listeners = new Set<(cluster: string, node: string) => void>();

  constructor(model: Model, controlAnchors: () => Buffer[]) {
    this.#model = model;
    this.#controlAnchors = controlAnchors;
    model.nodes.subscribe(({ key }) => {
      const [cluster = '', node = ''] = partsAfter(layout.nodes, key);
      this.#forget(cluster, node);
    });
    for (const informer of [model.clusters, model.authorities, model.manifests, model.keyPairs]) {
      informer.subscribe(({ key }: { key: string }) => this.#forgetCluster(partsAfter(informer.prefix, key)[0] ?? ''));
    }
  }

  /** Calls back when a node's plan may have changed. */
  subscribe(listener: (cluster: string, node: string) => void): void {
    this.#listeners.add(listener);
  }

  /** Undefined: there is no such node. */
  plan(cluster: string, node: string): NodePlan | undefined {
    const key = layout.node(cluster, node);
    const known = this.#plans.get(key);
    if (known) return known;
    const record = this.#model.node(cluster, node);
    const clusterRecord = this.#model.cluster(cluster);
    if (!record || !clusterRecord) return undefined;
    const facts = { name: cluster, policy: clusterRecord.policy };
    const { resolved, problems } = resolveTolerantly(facts, nodeFacts(record), this.#model.manifestsOf(cluster));
    const plan = { resolved, problems, desired: this.#toProto(record, resolved) };
    this.#plans.set(key, plan);
    return plan;
  }

  #toProto(node: NodeRecord, resolved: ResolvedNode): DesiredState {
    const authority = (name: string) => this.#model.authority(node.cluster, name);
    const anchors = (name: string): Buffer[] => {
      const record = authority(name);
      return record ? trustAnchors(record) : [];
    };
    const renewBefore = (name: string): Date | undefined => {
      const ms = Math.max(node.renewIfIssuedBeforeMs[name] ?? 0, node.renewIfIssuedBeforeMs['*'] ?? 0);
      return ms > 0 ? new Date(ms) : undefined;
    };
    const desired: DesiredState = {
      revision: '',
      certificates: resolved.certificates.map((c) => desiredCertificateToProto(c, anchors(c.issuer), { renewIfIssuedBefore: renewBefore(c.name) })),
      bundles: resolved.bundles.map((b) => desiredBundleToProto(b, authority(b.issuer)?.bundleVersion ?? 0, anchors(b.issuer))),
      keyPairs: resolved.keyPairs.flatMap((pair) => {
        const record = this.#model.keyPairs.get(layout.keyPair(node.cluster, pair.name))?.record;
        return record ? [desiredKeyPairToProto(pair, record.version)] : [];
      }),
      controlTrustAnchors: this.#controlAnchors(),
      revocationLists: [],
      healthChecks: [],
    };
    desired.revision = createHash('sha256').update(DesiredState.encode(desired).finish()).digest('hex').slice(0, 32);
    return desired;
  }

  #forgetCluster(cluster: string): void {
    for (const { name } of this.#model.nodesOf(cluster)) this.#forget(cluster, name);
  }

  #forget(cluster: string, node: string): void {
    this.#plans.delete(layout.node(cluster, node));
    for (const listener of this.#listeners) listener(cluster, node);
  }
}

/** One manifest that does not resolve for a node must not keep the others from it. */
export function resolveTolerantly(
  cluster: ClusterFacts,
  node: NodeFacts,
  manifests: Manifest[],
): { resolved: ResolvedNode; problems: string[] } {
  try {
    return { resolved: resolveNode(cluster, node, manifests), problems: [] };
  } catch {
    // Found again one by one, with the manifest to blame.
    const resolved: ResolvedNode = { certificates: [], bundles: [], keyPairs: [] };
    const problems: string[] = [];
    for (const manifest of manifests) {
      try {
        const one = resolveNode(cluster, node, [manifest]);
        resolved.certificates.push(...one.certificates);
        resolved.bundles.push(...one.bundles);
        resolved.keyPairs.push(...one.keyPairs);
      } catch (error) {
        problems.push(`${manifest.metadata.name}: ${describeError(error)}`);
      }
    }
    return { resolved, problems };
  }
}
