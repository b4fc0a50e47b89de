import type { AffectedCertificate, AppliedObject, RevocationMatch } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError, type Fault } from '@evercert/shared/errors';
import {
  type AnyDocument,
  type ClusterFacts,
  type ClusterManifest,
  type ClusterPolicy,
  describeChange,
  keepSource,
  loadDocuments,
  type Manifest,
  mergePolicy,
  type NodeManifest,
  type RenewRevocation,
  replacementFault,
  replacementPolicyOf,
  toYaml,
  validateSet,
} from '@evercert/shared/manifest';
import { clusterNotFound, manifestKey } from '../clusters/clusters.ts';
import type { KeyPairs } from '../clusters/key-pairs.ts';
import { problemOf, resolveTolerantly } from '../desired/desired-states.ts';
import { objectDetails, revocationDetails } from '../events/details.ts';
import type { EventDetails, EventRecorder } from '../events/recorder.ts';
import { canonicalAddress, checkNodeName } from '../nodes/names.ts';
import type { NodeRegistry } from '../nodes/registry.ts';
import type { Provisioners } from '../provisioning/provisioners.ts';
import { layout } from '../state/layout.ts';
import { type Model, nodeFacts } from '../state/model.ts';
import { type ClusterRecord, encodeRecord, type ManifestRecord, type NodeRecord } from '../state/records.ts';
import { type Compare, type Operation, type Store, storeLimits } from '../store/index.ts';
import { clusterDocument, nodeDocument } from './documents.ts';
import type { RevocationChange, RevocationChanges } from './revocations.ts';
import { policyWarnings } from './warnings.ts';

export interface ApplyOrder {
  /** For documents that do not name their cluster. */
  cluster: string;
  sources: { file: string; text: string }[];
  dryRun: boolean;
  actor: string;
  /** What RenewRevocations show as their source. */
  origin: string;
}

export interface Applied {
  objects: AppliedObject[];
  affected: AffectedCertificate[];
  /** What the applied RenewRevocations match. */
  revocationMatches: RevocationMatch[];
  /** What was not refused, and most likely does not do what is wanted. */
  warnings: string[];
}

/** A cluster as it would be after the change, and what it takes to get there. */
interface Draft {
  cluster: string;
  policy: ClusterPolicy;
  manifests: Map<string, Manifest>;
  nodes: Map<string, NodeRecord>;
  revocations: RevocationChange[];
  objects: AppliedObject[];
  compares: Compare[];
  operations: Operation[];
  /** Work that only a real run does, before the commit: it may add to the operations. */
  prepares: (() => Promise<void>)[];
  /** Puts the committed records into the model. */
  accepts: ((revision: number) => void)[];
}

export interface ApplierOptions {
  store: Store;
  model: Model;
  registry: NodeRegistry;
  keyPairs: KeyPairs;
  revocations: RevocationChanges;
  events: EventRecorder;
  clock: Clock;
  /** Base of the URLs in certificates; undefined: none are served. */
  webUrl: string | undefined;
  provisioners: Pick<Provisioners, 'names'>;
}

/** Applies documents: everything is checked against the cluster as it would become, then written in one transaction, or nothing is. */
export class Applier {
  readonly #options: ApplierOptions;

  constructor(options: ApplierOptions) {
    this.#options = options;
  }

  /** Errors: InvalidManifest with every fault; NotFound (a cluster); AlreadyExists (an address); Conflict (changed meanwhile). */
  async apply(order: ApplyOrder): Promise<Applied> {
    const documents = loadDocuments(order.sources);
    const drafts = new Map<string, Draft>();
    for (const { document, file, line, text } of documents) {
      const name = document.kind === 'Cluster' ? document.metadata.name : (document.metadata.cluster ?? order.cluster);
      const draft = drafts.get(name) ?? this.#draft(name);
      drafts.set(name, draft);
      try {
        if (document.kind === 'RenewRevocation') await this.#putRevocation(draft, document, text, order.origin);
        else await this.#put(draft, document);
      } catch (error) {
        if (!(error instanceof EvercertError) || error.code === 'Conflict') throw error;
        throw new EvercertError(error.code, `${document.kind} ${document.metadata.name}: ${error.message}`, {
          faults: [{ file, line, field: '', message: error.message }],
        });
      }
    }
    const all = [...drafts.values()];
    this.#validate(all);
    const affected = all.flatMap((draft) => this.#affected(draft));
    const result = {
      objects: all.flatMap(({ objects }) => objects),
      affected,
      revocationMatches: await this.#revocationMatches(all),
      warnings: all.flatMap((draft) => this.#warnings(draft)),
    };
    if (!order.dryRun) await this.#commit(all, order.actor);
    return result;
  }

  /** Deletes a manifest. With dryRun only tells what would go. NotFound: there is none. */
  async deleteManifest(cluster: string, kind: string, name: string, dryRun: boolean, actor: string): Promise<AffectedCertificate[]> {
    const { model, store, events } = this.#options;
    const key = layout.manifest(cluster, kind, name);
    const cached = model.manifests.get(key);
    if (!cached) throw new EvercertError('NotFound', `${kind.toLowerCase()}s "${name}" not found in cluster ${cluster}`);
    const draft = this.#draft(cluster);
    draft.manifests.delete(key);
    const affected = this.#affected(draft);
    if (dryRun) return affected;
    const details = { kind, name, generation: cached.record.generation };
    const deletion = { cluster, actor, reason: 'ManifestDeleted', message: `deleted ${kind} ${name}`, details };
    const { succeeded, revision } = await store.transact(
      [{ key, modRevision: cached.modRevision }],
      [{ type: 'delete', key }, events.operation(deletion)],
    );
    if (!succeeded) throw new EvercertError('Conflict', `${kind} ${name} changed under this request: try again`);
    model.manifests.drop(key, revision);
    return affected;
  }

  #draft(cluster: string): Draft {
    const { model } = this.#options;
    const record = model.cluster(cluster);
    if (!record) throw clusterNotFound(cluster);
    return {
      cluster,
      policy: record.policy,
      manifests: new Map(model.manifests.list(`${layout.manifests}${cluster}/`).map((m) => [manifestKey(m), m.manifest])),
      nodes: new Map(model.nodesOf(cluster).map((node) => [node.name, node])),
      revocations: [],
      objects: [],
      compares: [],
      operations: [],
      prepares: [],
      accepts: [],
    };
  }

  async #put(draft: Draft, document: Exclude<AnyDocument, RenewRevocation>): Promise<void> {
    if (document.kind === 'Cluster') return this.#putCluster(draft, document);
    if (document.kind === 'Node') return this.#putNode(draft, document);
    return this.#putManifest(draft, document);
  }

  async #putRevocation(draft: Draft, document: RenewRevocation, text: string | undefined, source: string): Promise<void> {
    const change = await this.#options.revocations.of(draft.cluster, document, {
      original: text,
      origin: { source },
      before: draft.revocations,
    });
    draft.revocations.push(change);
    draft.objects.push(change.object);
  }

  #warnings({ cluster, policy, nodes, objects }: Draft): string[] {
    if (!objects.some(({ kind }) => kind === 'Cluster')) return [];
    return policyWarnings({ cluster, policy, nodes: [...nodes.values()], provisioners: this.#options.provisioners.names() });
  }

  async #revocationMatches(drafts: Draft[]): Promise<RevocationMatch[]> {
    const matches: RevocationMatch[] = [];
    for (const { cluster, revocations } of drafts) {
      if (revocations.length > 0) matches.push(...(await this.#options.revocations.effects(cluster, revocations)));
    }
    return matches;
  }

  #putCluster(draft: Draft, { metadata, spec }: ClusterManifest): void {
    const { model } = this.#options;
    const key = layout.cluster(metadata.name);
    const cached = model.clusters.get(key);
    if (!cached) throw clusterNotFound(metadata.name);
    const before = cached.record;
    for (const fixed of ['keyAlgorithm', 'layout'] as const) {
      if (spec[fixed] !== undefined && spec[fixed] !== before.policy[fixed]) {
        throw new EvercertError('InvalidManifest', `spec.${fixed} is fixed when a cluster is created (it is ${before.policy[fixed]})`);
      }
    }
    const policy = mergePolicy(before.policy, spec);
    const fault = replacementFault(replacementPolicyOf(policy));
    if (fault) throw new EvercertError('InvalidManifest', `spec.replacement.${fault}`);
    const after: ClusterRecord = { ...before, policy };
    draft.policy = after.policy;
    this.#record(draft, key, cached.modRevision, clusterDocument(before), clusterDocument(after), after, (r) =>
      model.clusters.accept(key, after, r),
    );
  }

  async #putNode(draft: Draft, { metadata, spec }: NodeManifest): Promise<void> {
    const { model, registry, clock } = this.#options;
    const { name } = metadata;
    checkNodeName(name);
    const earlier = await registry.read(draft.cluster, name);
    if (earlier && earlier.record.identitySerials.length > 0 && earlier.record.role !== spec.role) {
      throw new EvercertError('InvalidManifest', `spec.role cannot change once a node has joined (it is ${earlier.record.role})`);
    }
    const registeredAddresses = [...new Set(spec.addresses.map(canonicalAddress))];
    const after: NodeRecord = {
      cluster: draft.cluster,
      name,
      role: spec.role,
      labels: metadata.labels,
      registeredAddresses,
      claimedAddresses: (earlier?.record.claimedAddresses ?? []).filter((address) => !registeredAddresses.includes(address)),
      dnsNames: spec.dnsNames,
      createdAtMs: earlier?.record.createdAtMs ?? clock.nowMs(),
      identitySerials: earlier?.record.identitySerials ?? [],
      ...(earlier?.record.identityFingerprints && { identityFingerprints: earlier.record.identityFingerprints }),
      identityNotAfterMs: earlier?.record.identityNotAfterMs ?? 0,
      renewIfIssuedBeforeMs: earlier?.record.renewIfIssuedBeforeMs ?? {},
      ...(earlier?.record.cordon && { cordon: earlier.record.cordon }),
      ...(earlier?.record.replacement && { replacement: earlier.record.replacement }),
    };
    draft.nodes.set(name, after);
    const before = earlier ? toYaml(nodeDocument(earlier.record)) : '';
    const yaml = toYaml(nodeDocument(after));
    draft.objects.push({ kind: 'Node', name, action: actionOf(before, yaml), before, after: yaml });
    if (before === yaml) return;
    const { compares, operations } = await registry.write(after, earlier);
    draft.compares.push(...compares);
    draft.operations.push(...operations);
    draft.accepts.push((revision) => model.nodes.accept(layout.node(draft.cluster, name), after, revision));
  }

  #putManifest(draft: Draft, manifest: Manifest): void {
    const { model, keyPairs, clock } = this.#options;
    const { cluster: _inMetadata, ...metadata } = manifest.metadata;
    const stored = keepSource(manifest, { ...manifest, metadata } as Manifest);
    const key = layout.manifest(draft.cluster, manifest.kind, metadata.name);
    const cached = model.manifests.get(key);
    draft.manifests.set(key, stored);
    const record: ManifestRecord = {
      cluster: draft.cluster,
      manifest: stored,
      generation: (cached?.record.generation ?? 0) + 1,
      updatedAtMs: clock.nowMs(),
    };
    const changed = this.#record(draft, key, cached?.modRevision ?? 0, cached?.record.manifest, stored, record, (r) =>
      model.manifests.accept(key, record, r),
    );
    const pairKey = layout.keyPair(draft.cluster, metadata.name);
    if (!changed || stored.kind !== 'KeyPairManifest' || model.keyPairs.get(pairKey)) return;
    draft.prepares.push(async () => {
      const pair = await keyPairs.create(draft.cluster, stored, draft.policy.keyAlgorithm);
      draft.compares.push({ key: pairKey, modRevision: 0 });
      draft.operations.push({ type: 'put', key: pairKey, value: encodeRecord(pair) });
      draft.accepts.push((revision) => model.keyPairs.accept(pairKey, pair, revision));
    });
  }

  /** Notes what a document changes; false: nothing. */
  #record(
    draft: Draft,
    key: string,
    modRevision: number,
    before: AnyDocument | undefined,
    after: AnyDocument,
    record: object,
    accept: (revision: number) => void,
  ): boolean {
    const yaml = { before: before ? toYaml(before) : '', after: toYaml(after) };
    draft.objects.push({ kind: after.kind, name: after.metadata.name, action: actionOf(yaml.before, yaml.after), ...yaml });
    if (yaml.before === yaml.after) return false;
    draft.compares.push({ key, modRevision });
    draft.operations.push({ type: 'put', key, value: encodeRecord(record) });
    draft.accepts.push(accept);
    return true;
  }

  #facts(name: string, policy: ClusterPolicy): ClusterFacts {
    const { webUrl } = this.#options;
    return { name, policy, ...(webUrl !== undefined && { webUrl }) };
  }

  #validate(drafts: Draft[]): void {
    const faults: Fault[] = drafts.flatMap((draft) => {
      const found = validateSet(this.#facts(draft.cluster, draft.policy), [...draft.manifests.values()]);
      // What is wrong in itself would only be told again for each node.
      return found.length > 0 ? found : this.#newProblems(draft);
    });
    if (faults.length > 0)
      throw new EvercertError('InvalidManifest', 'the documents do not fit the cluster; nothing was applied', { faults });
  }

  /** What would stop working on a node that is there. A node that already lacks something (an address, say) must not stand in the way of every other change. */
  #newProblems(draft: Draft): Fault[] {
    const { model } = this.#options;
    const policyBefore = model.cluster(draft.cluster)?.policy ?? draft.policy;
    const manifestsBefore = model.manifestsOf(draft.cluster);
    const manifestsAfter = [...draft.manifests.values()];
    return model.nodesOf(draft.cluster).flatMap((node) => {
      const before = new Set(resolveTolerantly(this.#facts(draft.cluster, policyBefore), nodeFacts(node), manifestsBefore).problems);
      const after = draft.nodes.get(node.name) ?? node;
      const { faults } = resolveTolerantly(this.#facts(draft.cluster, draft.policy), nodeFacts(after), manifestsAfter);
      return faults.filter((fault) => !before.has(problemOf(fault)));
    });
  }

  /** For the audit log: a revocation whole, so that it can be brought back; of everything else its digest. */
  #details({ cluster, revocations }: Draft, object: AppliedObject): EventDetails {
    const revocation = revocations.find((change) => change.object === object);
    if (revocation) return revocationDetails(revocation.record);
    const cached = this.#options.model.manifests.get(layout.manifest(cluster, object.kind, object.name));
    const isManifest = object.kind.endsWith('Manifest');
    return objectDetails(object, isManifest ? (cached?.record.generation ?? 0) + 1 : undefined);
  }

  #affected(draft: Draft): AffectedCertificate[] {
    const { model } = this.#options;
    const before = model.cluster(draft.cluster);
    if (!before) throw clusterNotFound(draft.cluster);
    const manifestsBefore = model.manifestsOf(draft.cluster);
    const manifestsAfter = [...draft.manifests.values()];
    return [...draft.nodes.values()].flatMap((node) => {
      const earlier = model.node(draft.cluster, node.name);
      const was = earlier && resolveTolerantly(this.#facts(draft.cluster, before.policy), nodeFacts(earlier), manifestsBefore).resolved;
      const willBe = resolveTolerantly(this.#facts(draft.cluster, draft.policy), nodeFacts(node), manifestsAfter).resolved;
      return describeChange(was, willBe).map(({ certificate, action }) => ({ node: node.name, certificate, action }));
    });
  }

  async #commit(drafts: Draft[], actor: string): Promise<void> {
    const { store, events, revocations } = this.#options;
    for (const draft of drafts) {
      const { compares, operations, accept } = revocations.write(draft.cluster, draft.revocations);
      draft.compares.push(...compares);
      draft.operations.push(...operations);
      draft.accepts.push(accept);
    }
    const changed = drafts.filter(({ operations }) => operations.length > 0);
    if (changed.length === 0) return;
    for (const { prepares } of changed) for (const prepare of prepares) await prepare();
    const records = changed.flatMap((draft) =>
      draft.objects
        .filter(({ action }) => action !== 'unchanged')
        .map((object) => {
          const { kind, name, action } = object;
          const details = this.#details(draft, object);
          return events.operation({
            cluster: draft.cluster,
            actor,
            reason: `${kind}Applied`,
            message: `${action} ${kind} ${name}`,
            details,
          });
        }),
    );
    const compares = changed.flatMap((draft) => draft.compares);
    const operations = [...changed.flatMap((draft) => draft.operations), ...records];
    if (Math.max(compares.length, operations.length) > storeLimits.operations) {
      throw new EvercertError(
        'InvalidArgument',
        `these documents need ${operations.length} writes at once, at most ${storeLimits.operations} are possible: apply them in parts`,
      );
    }
    const { succeeded, revision } = await store.transact(compares, operations);
    if (!succeeded)
      throw new EvercertError('Conflict', 'something that these documents change was changed at the same time: apply them again');
    for (const { accepts } of changed) for (const accept of accepts) accept(revision);
    for (const draft of changed) await revocations.completeSuccessors(draft.cluster, draft.revocations);
  }
}

function actionOf(before: string, after: string): string {
  if (before === '') return 'created';
  return before === after ? 'unchanged' : 'configured';
}
