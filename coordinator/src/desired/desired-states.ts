import { createHash } from 'node:crypto';
import { DesiredState, type HealthCheck, type RevocationReference } from '@evercert/proto';
import { type Fault, toEvercertError } from '@evercert/shared/errors';
import {
  type ClusterFacts,
  type Manifest,
  type NodeFacts,
  type ResolvedCertificate,
  type ResolvedNode,
  resolveNode,
} from '@evercert/shared/manifest';
import {
  desiredBundleToProto,
  desiredCertificateToProto,
  desiredKeyPairToProto,
  desiredRevocationListToProto,
} from '@evercert/shared/wire';
import type { Learning } from '../backup/learning.ts';
import { trustAnchors } from '../ca/authorities.ts';
import type { ControlCa } from '../ca/control-ca.ts';
import { generationsOf } from '../ca/generations.ts';
import { identityName } from '../enrollment/identities.ts';
import { referenceOf } from '../revocation/reference.ts';
import type { Revocations } from '../revocation/revocations.ts';
import type { MatchedCertificate } from '../revocation/types.ts';
import { layout, partsAfter } from '../state/layout.ts';
import { type Model, nodeFacts } from '../state/model.ts';
import type { AuthorityRecord, CurrentRecord, NodeRecord } from '../state/records.ts';
import type { RevocationLists } from '../status-service/index.ts';

export interface NodePlan {
  resolved: ResolvedNode;
  desired: DesiredState;
  /** Manifests that cannot be put into effect on this node, and why. */
  problems: string[];
}

const noList = { number: 0, der: Buffer.alloc(0) };

export interface DesiredStatesOptions {
  model: Model;
  controlCa: Pick<ControlCa, 'anchors' | 'retiredPins' | 'subscribe'>;
  revocations: Revocations;
  /** A repair of this node is under way: the certificate in use does not count against a new one. */
  repairing?: (cluster: string, node: string) => boolean;
  nowMs: () => number;
  lists: Pick<RevocationLists, 'forFiles' | 'subscribe'>;
  /** Base of the URLs in certificates; undefined: none are served. */
  webUrl: string | undefined;
  /** Whether the store was restored, and agents are to tell of what they have. Absent: it was not. */
  learning?: Pick<Learning, 'open'>;
}

/** What each node is to hold, worked out from the model and kept until something that it rests on changes. */
export class DesiredStates {
  readonly #model: Model;
  readonly #controlCa: DesiredStatesOptions['controlCa'];
  readonly #revocations: Revocations;
  readonly #repairing: (cluster: string, node: string) => boolean;
  readonly #nowMs: () => number;
  readonly #lists: DesiredStatesOptions['lists'];
  readonly #webUrl: string | undefined;
  readonly #learning: DesiredStatesOptions['learning'];
  readonly #plans = new Map<string, NodePlan>();
  readonly #listeners = new Set<(cluster: string, node: string) => void>();

  constructor({ model, controlCa, revocations, repairing, nowMs, lists, webUrl, learning }: DesiredStatesOptions) {
    this.#model = model;
    this.#controlCa = controlCa;
    this.#revocations = revocations;
    this.#repairing = repairing ?? (() => false);
    this.#nowMs = nowMs;
    this.#lists = lists;
    this.#webUrl = webUrl;
    this.#learning = learning;
    model.nodes.subscribe(({ key }) => {
      const [cluster = '', node = ''] = partsAfter(layout.nodes, key);
      this.#forget(cluster, node);
    });
    for (const informer of [model.clusters, model.authorities, model.manifests, model.keyPairs]) {
      informer.subscribe(({ key }: { key: string }) => this.#forgetCluster(partsAfter(informer.prefix, key)[0] ?? ''));
    }
    controlCa.subscribe(() => {
      for (const { name } of model.clusters.list()) this.#forgetCluster(name);
    });
    revocations.subscribe((cluster) => this.#forgetCluster(cluster));
    lists.subscribe((cluster, issuer) => this.#forgetHolders(cluster, issuer));
    model.currents.subscribe(({ key }) => {
      const [cluster = '', node = ''] = partsAfter(layout.allCurrents, key);
      // Issue is what a coordinator does most: only where something is revoked does it change what a node is told.
      if (revocations.entries(cluster) > 0) this.#forget(cluster, node);
    });
  }

  /** Works a node's plan out anew: something outside the model has changed, a repair begun or ended. */
  refresh(cluster: string, node: string): void {
    this.#forget(cluster, node);
  }

  /** Calls back when a node's plan may have changed. Returns a function that ends it. */
  subscribe(listener: (cluster: string, node: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Undefined: there is no such node. */
  plan(cluster: string, node: string): NodePlan | undefined {
    const key = layout.node(cluster, node);
    const known = this.#plans.get(key);
    if (known) return known;
    const record = this.#model.node(cluster, node);
    const clusterRecord = this.#model.cluster(cluster);
    if (!record || !clusterRecord) return undefined;
    const facts = { name: cluster, policy: clusterRecord.policy, ...(this.#webUrl !== undefined && { webUrl: this.#webUrl }) };
    const { resolved, problems } = resolveTolerantly(facts, nodeFacts(record), this.#model.manifestsOf(cluster));
    const plan = { resolved, problems, desired: this.#toProto(record, resolved, clusterRecord.policy.adopt ?? false) };
    this.#plans.set(key, plan);
    return plan;
  }

  /** While the coordinator learns what was issued after a backup: the newest that it knows of. */
  #knownSerial({ cluster, name: node }: NodeRecord, name: string): string | undefined {
    if (!this.#learning?.open()) return undefined;
    return this.#model.currents.get(layout.current(cluster, node, name))?.record.serial ?? '';
  }

  #toProto(node: NodeRecord, resolved: ResolvedNode, adopt: boolean): DesiredState {
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
      certificates: resolved.certificates.map((c) =>
        desiredCertificateToProto(c, anchors(c.issuer), {
          renewIfIssuedBefore: renewBefore(c.name),
          revoked: this.#revoked(node, c),
          adopt,
          watchOnly: authority(c.issuer)?.keyId === '',
          knownSerial: this.#knownSerial(node, c.name),
        }),
      ),
      bundles: resolved.bundles.map((b) => desiredBundleToProto(b, authority(b.issuer)?.bundleVersion ?? 0, anchors(b.issuer))),
      keyPairs: resolved.keyPairs.flatMap((pair) => {
        const record = this.#model.keyPairs.get(layout.keyPair(node.cluster, pair.name))?.record;
        return record ? [desiredKeyPairToProto(pair, record.version)] : [];
      }),
      controlTrustAnchors: this.#controlCa.anchors(),
      retiredControlCaPins: this.#controlCa.retiredPins(),
      revocationLists: resolved.revocationLists.map((list) =>
        // Number 0 stands for a list that cannot be made for now: what the node has stays.
        desiredRevocationListToProto(list, this.#lists.forFiles(node.cluster, list.issuer) ?? noList, listSigners(authority(list.issuer))),
      ),
      healthChecks: healthChecksOf(resolved),
      renewIdentitySerial: this.#identityToRenew(node),
    };
    desired.revision = createHash('sha256').update(DesiredState.encode(desired).finish()).digest('hex').slice(0, 32);
    return desired;
  }

  /** A mark on the identity is by the time of its issue; agents, whose clocks may be wrong, are told its serial number. */
  #identityToRenew({ cluster, name, identitySerials, renewIfIssuedBeforeMs }: NodeRecord): string {
    const [serial = ''] = identitySerials;
    const current = this.#model.currents.get(layout.current(cluster, name, identityName))?.record;
    const marked = current?.serial === serial && current.issuedAtMs < (renewIfIssuedBeforeMs[identityName] ?? 0);
    return marked ? serial : '';
  }

  /** Why the next renewal or issue would be refused, so that the agent knows without asking. */
  #revoked({ cluster, name: node }: NodeRecord, profile: ResolvedCertificate): RevocationReference | undefined {
    if (this.#revocations.entries(cluster) === 0) return undefined;
    const current = this.#model.currents.get(layout.current(cluster, node, profile.name))?.record;
    const refusal = this.#revocations.find({
      cluster,
      current: current && matched(cluster, current),
      profile,
      nowMs: this.#nowMs(),
      ignoreCurrent: this.#repairing(cluster, node),
    });
    return refusal && referenceOf(refusal.match);
  }

  #forgetCluster(cluster: string): void {
    for (const { name } of this.#model.nodesOf(cluster)) this.#forget(cluster, name);
  }

  /** Lists change without a revocation too, twice a day: that concerns the nodes alone that hold them in files. */
  #forgetHolders(cluster: string, issuer: string): void {
    for (const { name } of this.#model.nodesOf(cluster)) {
      const plan = this.#plans.get(layout.node(cluster, name));
      if (plan?.resolved.revocationLists.some((list) => list.issuer === issuer)) this.#forget(cluster, name);
    }
  }

  #forget(cluster: string, node: string): void {
    this.#plans.delete(layout.node(cluster, node));
    for (const listener of this.#listeners) listener(cluster, node);
  }
}

/** DER of the CAs that may have signed a list, each generation's own: a CRL of an intermediate is not signed by its root. */
function listSigners(authority: AuthorityRecord | undefined): Buffer[] {
  if (!authority) return [];
  const generations = generationsOf(authority).filter(({ state, keyDestroyed }) => state !== 'next' && !keyDestroyed);
  return generations.map(({ generation }) => Buffer.from(generation.certificate, 'base64'));
}

/** A record of an earlier release tells no names: until the next renewal, only its serial number is matched here. */
export function matched(cluster: string, current: CurrentRecord): MatchedCertificate {
  const { serial, issuedAtMs, commonName = '', organizations = [], dnsNames = [], ipAddresses = [], uris = [] } = current;
  return { cluster, serial, issuedAtMs, commonName, organizations, dnsNames, ipAddresses, uris };
}

/** Only where the node also holds the certificate with which to ask. */
function healthChecksOf({ certificates }: ResolvedNode): HealthCheck[] {
  const names = new Set(certificates.map(({ name }) => name));
  return certificates.flatMap(({ healthCheck, issuer }) =>
    healthCheck && names.has(healthCheck.clientCertificate) ? [{ ...healthCheck, issuer }] : [],
  );
}

/** One manifest that does not resolve for a node must not keep the others from it. */
export function resolveTolerantly(
  cluster: ClusterFacts,
  node: NodeFacts,
  manifests: Manifest[],
): { resolved: ResolvedNode; problems: string[]; faults: Fault[] } {
  try {
    return { resolved: resolveNode(cluster, node, manifests), problems: [], faults: [] };
  } catch {
    // Found again one by one, with the manifest to blame.
    const resolved: ResolvedNode = { certificates: [], bundles: [], keyPairs: [], revocationLists: [] };
    const faults: Fault[] = [];
    for (const manifest of manifests) {
      try {
        const one = resolveNode(cluster, node, [manifest]);
        resolved.certificates.push(...one.certificates);
        resolved.bundles.push(...one.bundles);
        resolved.keyPairs.push(...one.keyPairs);
        resolved.revocationLists.push(...one.revocationLists);
      } catch (caught) {
        const error = toEvercertError(caught);
        faults.push(...(error.faults.length > 0 ? error.faults : [{ field: manifest.metadata.name, message: error.message }]));
      }
    }
    return { resolved, problems: faults.map(problemOf), faults };
  }
}

/** A fault in one line, wherever the manifest came from. */
export function problemOf({ field, message }: Fault): string {
  return field === '' ? message : `${message} (${field})`;
}
