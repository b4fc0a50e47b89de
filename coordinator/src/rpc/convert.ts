/** Records as the protocol tells them. */
import type {
  Certificate,
  CertificateAuthority,
  Cluster,
  ClusterSpec,
  Event,
  KubernetesBridge,
  Manifest,
  Node,
  Revocation,
  Token,
} from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import {
  type ClusterPolicy,
  defaultClusterPolicy,
  layouts,
  recoveryPolicies,
  replacementPolicyOf,
  rotationPolicyOf,
  selects,
  toYaml,
} from '@evercert/shared/manifest';
import {
  oneOf,
  replacementPolicyFromProto,
  replacementPolicyToProto,
  roleToProto,
  rotationPolicyFromProto,
  rotationPolicyToProto,
} from '@evercert/shared/wire';
import { certificatesToPem, keyAlgorithms, publicKeyPin } from '@evercert/shared/x509';
import { anchorOf, certificatesAbove, generationsOf } from '../ca/generations.ts';
import type { BridgeView } from '../kubernetes/index.ts';
import type { CertificateView, NodeView, RevocationView } from '../queries/queries.ts';
import { referenceOf } from '../revocation/index.ts';
import { layout } from '../state/layout.ts';
import { nodeFacts } from '../state/model.ts';
import type { AuthorityRecord, ClusterRecord, EventRecord, ManifestRecord, NodeRecord, TokenRecord } from '../state/records.ts';
import { nodeReplacementToProto } from './convert-replacement.ts';

/** What is known of a CA beside its record. */
export interface AuthorityStanding {
  /** The kind of provider that holds its key; absent: none does. */
  keyProvider?: string;
  /** Id of the rotation that is under way. */
  rotation?: string;
  /** Its end is near. */
  ending?: string;
  /** Leaves that have not ended, by the serial of the CA's certificate. */
  live?: ReadonlyMap<string, number>;
}

/** @param bridge undefined: this coordinator has none to the cluster's API server. */
export function clusterToProto({ name, uid, createdAtMs, policy }: ClusterRecord, bridge: BridgeView | undefined): Cluster {
  return {
    name,
    uid,
    createdAt: new Date(createdAtMs),
    spec: {
      ...policy,
      replacement: replacementPolicyToProto(replacementPolicyOf(policy)),
      rotation: rotationPolicyToProto(rotationPolicyOf(policy)),
      adopt: policy.adopt ?? false,
    },
    kubernetes: bridge && bridgeToProto(bridge),
  };
}

function bridgeToProto({ lastContactAtMs, ...rest }: BridgeView): KubernetesBridge {
  return { ...rest, lastContactAt: lastContactAtMs === undefined ? undefined : new Date(lastContactAtMs) };
}

/** Zero values stand for defaults. InvalidArgument names the field. */
export function policyFromProto(spec: ClusterSpec | undefined): ClusterPolicy {
  const d = defaultClusterPolicy;
  if (!spec) return d;
  const rotation = rotationPolicyFromProto(spec.rotation);
  const lists = (given: string[], fallback: string[]): string[] => (given.length > 0 ? given : fallback);
  const seconds = (field: string, given: number, fallback: number): number => {
    if (given < 0 || given > 10 * 365 * 86_400) throw new EvercertError('InvalidArgument', `${field}: expected 1 second to 10 years`);
    return given || fallback;
  };
  return {
    keyAlgorithm: oneOf(keyAlgorithms, 'key_algorithm', spec.keyAlgorithm, d.keyAlgorithm),
    layout: oneOf(layouts, 'layout', spec.layout, d.layout),
    dnsDomain: spec.dnsDomain || d.dnsDomain,
    serviceCidr: spec.serviceCidr || d.serviceCidr,
    controlPlaneEndpoint: spec.controlPlaneEndpoint || d.controlPlaneEndpoint,
    nodeAddressRanges: lists(spec.nodeAddressRanges, d.nodeAddressRanges),
    allowedPaths: lists(spec.allowedPaths, d.allowedPaths),
    leafLifetimeSeconds: seconds('leaf_lifetime_seconds', spec.leafLifetimeSeconds, d.leafLifetimeSeconds),
    identityLifetimeSeconds: seconds('identity_lifetime_seconds', spec.identityLifetimeSeconds, d.identityLifetimeSeconds),
    apiServerExtraSans: lists(spec.apiServerExtraSans, d.apiServerExtraSans),
    controlPlaneRecovery: oneOf(recoveryPolicies, 'control_plane_recovery', spec.controlPlaneRecovery, d.controlPlaneRecovery),
    workerRecovery: oneOf(recoveryPolicies, 'worker_recovery', spec.workerRecovery, d.workerRecovery),
    replacement: replacementPolicyFromProto(spec.replacement),
    ...(rotation && { rotation }),
    ...(spec.adopt && { adopt: true }),
  };
}

/** Only what is given; all else is inferred, or the default. InvalidArgument names the field. */
export function givenPolicy(spec: ClusterSpec | undefined): Partial<ClusterPolicy> {
  const isGiven = (value: unknown): boolean => (Array.isArray(value) ? value.length > 0 : Boolean(value));
  const given = Object.entries(policyFromProto(spec)).filter(([field]) => isGiven(spec?.[field as keyof ClusterSpec]));
  return Object.fromEntries(given) as Partial<ClusterPolicy>;
}

export function authorityToProto(
  authority: AuthorityRecord,
  { keyProvider = '', rotation = '', ending = '', live }: AuthorityStanding = {},
): CertificateAuthority {
  const der = Buffer.from(authority.certificate, 'base64');
  return {
    cluster: authority.cluster === layout.controlScope ? '' : authority.cluster,
    name: authority.name,
    serial: authority.serial,
    keyAlgorithm: authority.keyAlgorithm,
    notBefore: new Date(authority.notBeforeMs),
    notAfter: new Date(authority.notAfterMs),
    // Of what nodes trust, by which others find the cluster.
    publicKeyPin: publicKeyPin(Buffer.from(anchorOf(authority), 'base64')),
    certificatePem: certificatesToPem([der]),
    bundleVersion: authority.bundleVersion,
    watchOnly: authority.keyId === '',
    chainPem: certificatesToPem(certificatesAbove(authority)),
    keyProvider,
    generations: generationsOf(authority).map(({ generation, state, compromised, keyDestroyed }) => ({
      state,
      serial: generation.serial,
      keyAlgorithm: generation.keyAlgorithm,
      notBefore: new Date(generation.notBeforeMs),
      notAfter: new Date(generation.notAfterMs),
      publicKeyPin: publicKeyPin(Buffer.from(generation.certificate, 'base64')),
      certificatePem: certificatesToPem([Buffer.from(generation.certificate, 'base64')]),
      compromised,
      liveCertificates: live?.get(generation.serial) ?? 0,
      keyDestroyed,
    })),
    rotation,
    ending,
  };
}

export function nodeToProto({ record: node, health, cordon, status, replacement }: NodeView): Node {
  const { phase, phaseSinceMs, message, conditions } = health;
  const { addresses, dnsNames } = nodeFacts(node);
  return {
    cluster: node.cluster,
    name: node.name,
    role: roleToProto(node.role),
    labels: node.labels,
    addresses,
    dnsNames,
    createdAt: new Date(node.createdAtMs),
    status: {
      phase,
      message,
      lastSeenAt: status && new Date(status.lastSeenAtMs),
      agentVersion: status?.agentVersion ?? '',
      identitySerial: node.identitySerials[0] ?? '',
      identityNotAfter: node.identityNotAfterMs > 0 ? new Date(node.identityNotAfterMs) : undefined,
      certificates: status?.report?.certificates ?? [],
      appliedRevision: status?.report?.appliedRevision ?? '',
      bundles: status?.report?.bundles ?? [],
      keyPairs: status?.report?.keyPairs ?? [],
      components: status?.report?.components ?? [],
      revocationLists: status?.report?.revocationLists ?? [],
      conditions: conditions.map(({ lastTransitionMs, ...rest }) => ({ ...rest, lastTransitionTime: new Date(lastTransitionMs) })),
      phaseSince: new Date(phaseSinceMs),
    },
    cordon: cordon && {
      at: new Date(cordon.atMs),
      by: cordon.by,
      reason: cordon.reason,
      until: cordon.untilMs === undefined ? undefined : new Date(cordon.untilMs),
    },
    replacement: nodeReplacementToProto(replacement),
  };
}

export function certificateToProto({ record, current, revokedBy }: CertificateView): Certificate {
  return {
    cluster: record.cluster,
    node: record.node,
    name: record.name,
    issuer: record.issuer,
    serial: record.serial,
    subject: [`CN=${record.commonName}`, ...record.organizations.map((o) => `O=${o}`)].join(','),
    dnsNames: record.dnsNames,
    ipAddresses: record.ipAddresses,
    usages: record.usages,
    keyAlgorithm: record.keyAlgorithm,
    issuedAt: new Date(record.issuedAtMs),
    notBefore: new Date(record.notBeforeMs),
    notAfter: new Date(record.notAfterMs),
    current,
    certificatePem: certificatesToPem([Buffer.from(record.certificate, 'base64')]),
    reason: record.reason,
    revokedBy: revokedBy.map(referenceOf),
  };
}

export function revocationToProto({ record, matches, refusals }: RevocationView): Revocation {
  const { cluster, name, namespace, apiVersion, description, generation, source, yaml } = record;
  return {
    cluster,
    name,
    namespace,
    apiVersion,
    description,
    generation,
    source,
    yaml,
    refusals,
    createdAt: new Date(record.createdAtMs),
    updatedAt: new Date(record.updatedAtMs),
    entries: record.entries.map((entry, index) => ({
      kind: entry.kind,
      value: entry.value,
      notBefore: entry.notBeforeMs === undefined ? undefined : new Date(entry.notBeforeMs),
      description: entry.description,
      reason: entry.reason,
      successorSerials: entry.successorSerials,
      includeSuccessors: entry.includeSuccessors ?? false,
      matches: matches[index] ?? 0,
    })),
  };
}

export function tokenToProto(token: TokenRecord): Token {
  return {
    id: token.id,
    cluster: token.cluster,
    role: roleToProto(token.role),
    nodeName: token.nodeName,
    createdAt: new Date(token.createdAtMs),
    expiresAt: new Date(token.expiresAtMs),
    maxUses: token.maxUses,
    uses: token.uses,
    description: token.description,
    labels: token.labels,
    kubernetes: token.kubernetes !== undefined,
    kubernetesGroups: token.kubernetes?.groups ?? [],
  };
}

export function manifestToProto({ cluster, manifest, generation, updatedAtMs }: ManifestRecord, nodes: NodeRecord[]): Manifest {
  return {
    cluster,
    kind: manifest.kind,
    name: manifest.metadata.name,
    generation,
    updatedAt: new Date(updatedAtMs),
    yaml: toYaml(manifest),
    nodes: nodes.filter((node) => selects(manifest.spec.selector, nodeFacts(node))).map(({ name }) => name),
    issuer: 'issuer' in manifest.spec ? manifest.spec.issuer : '',
  };
}

export function eventToProto(event: EventRecord): Event {
  const { timeMs, ...rest } = event;
  return {
    id: rest.id,
    time: new Date(timeMs),
    cluster: rest.cluster,
    node: rest.node,
    actor: rest.actor,
    reason: rest.reason,
    type: rest.type,
    certificate: rest.certificate,
    serial: rest.serial,
    message: rest.message,
    errorCode: rest.errorCode,
    source: rest.source ?? '',
  };
}
