import type { Logger } from '@evercert/shared/logging';
import type { Manifest, NodeFacts } from '@evercert/shared/manifest';
import { identityName } from '../identity-uris.ts';
import type { Store } from '../store/index.ts';
import { Informer } from './informer.ts';
import { layout } from './layout.ts';
import type { AuthorityRecord, ClusterRecord, CurrentRecord, KeyPairRecord, ManifestRecord, NodeRecord, TokenRecord } from './records.ts';

/** Everything that decisions read, in memory. Certificates and events are too many: those are read from the store, but for what the newest of each name says. */
export class Model {
  readonly clusters: Informer<ClusterRecord>;
  readonly authorities: Informer<AuthorityRecord>;
  readonly manifests: Informer<ManifestRecord>;
  readonly keyPairs: Informer<KeyPairRecord>;
  readonly nodes: Informer<NodeRecord>;
  readonly tokens: Informer<TokenRecord>;
  readonly currents: Informer<CurrentRecord>;

  constructor(store: Store, logger: Logger) {
    this.clusters = new Informer(store, layout.clusters, logger);
    this.authorities = new Informer(store, layout.authorities, logger);
    this.manifests = new Informer(store, layout.manifests, logger);
    this.keyPairs = new Informer(store, layout.keyPairs, logger);
    this.nodes = new Informer(store, layout.nodes, logger);
    this.tokens = new Informer(store, layout.tokens, logger);
    this.currents = new Informer(store, layout.allCurrents, logger);
  }

  async start(): Promise<void> {
    await Promise.all(this.#all().map((informer) => informer.start()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all().map((informer) => informer.stop()));
  }

  cluster(name: string): ClusterRecord | undefined {
    return this.clusters.get(layout.cluster(name))?.record;
  }

  node(cluster: string, name: string): NodeRecord | undefined {
    return this.nodes.get(layout.node(cluster, name))?.record;
  }

  nodesOf(cluster: string): NodeRecord[] {
    return this.nodes.list(layout.node(cluster, ''));
  }

  manifestsOf(cluster: string): Manifest[] {
    return this.manifests.list(`${layout.manifests}${cluster}/`).map(({ manifest }) => manifest);
  }

  authority(cluster: string, name: string): AuthorityRecord | undefined {
    return this.authorities.get(layout.authority(cluster, name))?.record;
  }

  /** SHA-256 of an identity that is accepted of a node, as it was recorded; undefined: memory does not have it. */
  identityFingerprint({ cluster, name, identityFingerprints }: NodeRecord, serial: string): string | undefined {
    const current = this.currents.get(layout.current(cluster, name, identityName))?.record;
    return identityFingerprints?.[serial] ?? (current?.serial === serial ? current.fingerprint : undefined);
  }

  #all(): Informer<object>[] {
    return [
      this.clusters,
      this.authorities,
      this.manifests,
      this.keyPairs,
      this.nodes,
      this.tokens,
      this.currents,
    ] as unknown as Informer<object>[];
  }
}

/** What manifests see of a node. Registered addresses come first: the first of all is the advertise address. */
export function nodeFacts(node: NodeRecord): NodeFacts {
  return {
    name: node.name,
    role: node.role,
    labels: node.labels,
    addresses: [...new Set([...node.registeredAddresses, ...node.claimedAddresses])],
    dnsNames: node.dnsNames,
  };
}
