import { randomUUID } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import {
  type ClusterPolicy,
  issuers,
  type KeyPairManifest,
  type Manifest,
  parseDocuments,
  toYaml,
  validateSet,
} from '@evercert/shared/manifest';
import type { Authorities } from '../ca/authorities.ts';
import { generationsOf } from '../ca/generations.ts';
import type { EventRecorder, NewEvent } from '../events/recorder.ts';
import { manifestSet } from '../manifest-sets/index.ts';
import { checkClusterName } from '../nodes/names.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import { type AuthorityRecord, type ClusterRecord, encodeRecord, type KeyPairRecord, type ManifestRecord } from '../state/records.ts';
import type { Operation, Store } from '../store/index.ts';
import type { KeyPairs } from './key-pairs.ts';

export interface ClustersOptions {
  store: Store;
  model: Model;
  authorities: Authorities;
  keyPairs: KeyPairs;
  events: EventRecorder;
  clock: Clock;
  /** Replacements under way in a cluster. */
  replacing: (cluster: string) => readonly { id: string }[];
  /** Rotations of its CAs that are under way. */
  rotating: (cluster: string) => readonly { id: string; authority: string }[];
  /** Base of the URLs in certificates; undefined: none are served. */
  webUrl: string | undefined;
}

/** All that a cluster begins with. */
export interface NewCluster {
  cluster: ClusterRecord;
  cas: readonly AuthorityRecord[];
  pairs: readonly KeyPairRecord[];
  manifests: readonly Manifest[];
}

/** Deletions, each with its event, in one transaction. */
const tokensAtOnce = 50;

/** Makes and removes clusters, whole. */
export class Clusters {
  readonly #options: ClustersOptions;

  constructor(options: ClustersOptions) {
    this.#options = options;
  }

  /**
   * Makes a cluster with its three CAs, the manifests of its layout and their shared key pairs, in one transaction.
   * Errors: InvalidArgument (the name), AlreadyExists, InvalidManifest (the policy has faults, or the layout's manifests do not fit it).
   */
  async create(name: string, policy: ClusterPolicy, actor: string): Promise<{ cluster: ClusterRecord; authorities: AuthorityRecord[] }> {
    checkClusterName(name);
    const { model, authorities, keyPairs, webUrl } = this.#options;
    if (model.cluster(name)) throw alreadyExists(name);
    checkPolicy(name, policy);
    const manifests = manifestSet(policy.layout);
    const faults = validateSet({ name, policy, ...(webUrl !== undefined && { webUrl }) }, manifests);
    if (faults.length > 0)
      throw new EvercertError('InvalidManifest', `the ${policy.layout} layout does not fit this cluster's policy`, { faults });

    const cluster = this.newRecord(name, policy);
    const cas = await Promise.all(issuers.map((issuer) => authorities.create(name, issuer, policy.keyAlgorithm)));
    const shared = manifests.filter((manifest): manifest is KeyPairManifest => manifest.kind === 'KeyPairManifest');
    const pairs = await Promise.all(shared.map((manifest) => keyPairs.create(name, manifest, policy.keyAlgorithm)));
    const message = `created cluster ${name} (${policy.keyAlgorithm}, ${policy.layout} layout)`;
    await this.write({ cluster, cas, pairs, manifests }, { actor, reason: 'ClusterCreated', message });
    return { cluster, authorities: cas };
  }

  /** A new cluster's record, not yet written. */
  newRecord(name: string, policy: ClusterPolicy): ClusterRecord {
    return { name, uid: randomUUID(), createdAtMs: this.#options.clock.nowMs(), policy };
  }

  /** Writes a whole new cluster in one transaction, and shows it. AlreadyExists: nothing was written. */
  async write({ cluster, cas, pairs, manifests }: NewCluster, event: { actor: string; reason: string; message: string }): Promise<void> {
    const { store, model, events, clock } = this.#options;
    const { name } = cluster;
    const records = manifests.map((manifest): ManifestRecord => ({ cluster: name, manifest, generation: 1, updatedAtMs: clock.nowMs() }));
    const puts: [string, object][] = [
      [layout.cluster(name), cluster],
      ...cas.map((ca): [string, object] => [layout.authority(name, ca.name), ca]),
      ...pairs.map((pair): [string, object] => [layout.keyPair(name, pair.name), pair]),
      ...records.map((record): [string, object] => [manifestKey(record), record]),
    ];
    const { succeeded, revision } = await store.transact(
      [{ key: layout.cluster(name), modRevision: 0 }],
      [
        ...puts.map(([key, record]): Operation => ({ type: 'put', key, value: encodeRecord(record) })),
        events.operation({ cluster: name, ...event, details: authorityDetails(cas) }),
      ],
    );
    if (!succeeded) throw alreadyExists(name);
    for (const ca of cas) model.authorities.accept(layout.authority(name, ca.name), ca, revision);
    for (const pair of pairs) model.keyPairs.accept(layout.keyPair(name, pair.name), pair, revision);
    for (const record of records) model.manifests.accept(manifestKey(record), record, revision);
    model.clusters.accept(layout.cluster(name), cluster, revision);
  }

  /** Removes an empty cluster: records and CA keys are gone for good. Errors: NotFound; FailedPrecondition while it has nodes. */
  async remove(name: string, actor: string): Promise<void> {
    const { store, model, authorities, events } = this.#options;
    const key = layout.cluster(name);
    const cached = model.clusters.get(key);
    if (!cached) throw clusterNotFound(name);
    const nodes = model.nodesOf(name);
    if (nodes.length > 0) {
      throw new EvercertError('FailedPrecondition', `cluster ${name} still has ${nodes.length} nodes: delete them first`);
    }
    const [replacement] = this.#options.replacing(name);
    if (replacement) {
      throw new EvercertError(
        'FailedPrecondition',
        `replacement ${replacement.id} in cluster ${name} is under way: end it first ('evercert replacement cancel ${replacement.id}')`,
      );
    }
    const [rotation] = this.#options.rotating(name);
    if (rotation) {
      throw new EvercertError(
        'FailedPrecondition',
        `rotation ${rotation.id} of ${rotation.authority} of cluster ${name} is under way: end it first ('evercert ca abort ${name} --ca ${rotation.authority}')`,
      );
    }
    const cas = model.authorities.list(layout.authority(name, ''));
    const pairs = model.keyPairs.list(layout.keyPair(name, ''));
    const under = [
      layout.authority(name, ''),
      layout.keyPair(name, ''),
      `${layout.manifests}${name}/`,
      layout.certificatesOf(name),
      layout.addresses(name),
      layout.currents(name),
      layout.revocationsOf(name),
      layout.repairWindowsOf(name),
      layout.revocationListsOf(name),
      layout.revocationListPartsOf(name),
      layout.replacementsOf(name),
      layout.replacementVerdict(name, ''),
      layout.refusedRecovery(name, ''),
      layout.removedNodesOf(name),
      layout.rotationsOf(name),
      layout.rotatingOf(name),
      layout.authorityEndings(name),
    ];
    await this.#removeTokens(name, actor);
    const { succeeded, revision } = await store.transact(
      [{ key, modRevision: cached.modRevision }],
      [
        { type: 'delete', key },
        { type: 'delete', key: layout.replacementPause(name) },
        { type: 'delete', key: layout.restartLease(name) },
        ...under.map((prefix): Operation => ({ type: 'deletePrefix', prefix })),
        events.operation({
          cluster: name,
          actor,
          reason: 'ClusterDeleted',
          message: `deleted cluster ${name} with its CAs`,
          details: authorityDetails(cas),
        }),
      ],
    );
    if (!succeeded) throw new EvercertError('Conflict', `cluster ${name} changed under this request: try again`);
    model.clusters.drop(key, revision);
    const generations = cas.flatMap(generationsOf).map(({ generation }) => generation);
    await authorities.destroyKeys([...generations, ...pairs].map(({ keyId }) => keyId));
  }

  async #removeTokens(cluster: string, actor: string): Promise<void> {
    const { store, model, events } = this.#options;
    const ids = model.tokens
      .list()
      .filter((token) => token.cluster === cluster)
      .map(({ id }) => id);
    for (let i = 0; i < ids.length; i += tokensAtOnce) {
      const some = ids.slice(i, i + tokensAtOnce);
      const event = (id: string): NewEvent => {
        const message = `deleted bootstrap token ${id} with its cluster`;
        return { cluster, actor, reason: 'TokenDeleted', message, details: { tokenId: id } };
      };
      const operations = some.flatMap((id): Operation[] => [{ type: 'delete', key: layout.token(id) }, events.operation(event(id))]);
      const { revision } = await store.transact([], operations);
      for (const id of some) model.tokens.drop(layout.token(id), revision);
    }
  }
}

/** By the rules for Cluster documents: what one may not say is not made either. */
export function checkPolicy(name: string, policy: ClusterPolicy): void {
  const { faults } = parseDocuments(toYaml({ kind: 'Cluster', metadata: { name }, spec: policy }), { file: 'policy' });
  if (faults.length === 0) return;
  // Lines would be those of a text that nobody has written.
  const named = faults.map(({ field, message }) => ({ field, message }));
  throw new EvercertError('InvalidManifest', `the policy of cluster "${name}" is not valid; nothing was made`, { faults: named });
}

/** The CAs by the serial numbers of their certificates. */
function authorityDetails(cas: readonly AuthorityRecord[]): Record<string, string> {
  return Object.fromEntries(cas.map(({ name, serial }) => [`${name}.serial`, serial]));
}

export function manifestKey({ cluster, manifest }: ManifestRecord): string {
  return layout.manifest(cluster, manifest.kind, manifest.metadata.name);
}

export function clusterNotFound(name: string): EvercertError {
  return new EvercertError('NotFound', `clusters "${name}" not found`, { metadata: { cluster: name } });
}

export function alreadyExists(name: string): EvercertError {
  return new EvercertError('AlreadyExists', `clusters "${name}" already exists`, { metadata: { cluster: name } });
}
