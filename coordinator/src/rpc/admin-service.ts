import type { AdminServiceServer } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { version } from '@evercert/shared/version';
import { oneOf, roleFromProto } from '@evercert/shared/wire';
import type { Applier } from '../apply/apply.ts';
import { type RevocationChanges, revocationNotFound } from '../apply/revocations.ts';
import type { AuditLog } from '../audit/index.ts';
import type { ControlCa } from '../ca/control-ca.ts';
import { type Clusters, clusterNotFound } from '../clusters/clusters.ts';
import type { ClusterImports } from '../clusters/import.ts';
import type { DesiredStates } from '../desired/desired-states.ts';
import type { AdminCertificates } from '../enrollment/admin-certificates.ts';
import { identityName } from '../enrollment/identities.ts';
import type { EventRecorder } from '../events/recorder.ts';
import type { ClusterTokens, KubernetesBridges } from '../kubernetes/index.ts';
import type { Leader } from '../leader.ts';
import type { Coordinators, StoreLeadership } from '../leadership/index.ts';
import type { NodeCordons } from '../nodes/cordons.ts';
import type { FollowedHealth } from '../nodes/health/index.ts';
import type { NodeHub } from '../nodes/hub.ts';
import { type NodeRegistry, nodeNotFound } from '../nodes/registry.ts';
import type { Sessions } from '../nodes/sessions.ts';
import type { Queries } from '../queries/queries.ts';
import type { ReplacementPauses } from '../replacement/pauses.ts';
import type { ReplacementRecords } from '../replacement/records.ts';
import type { NodeRemoval } from '../replacement/removal.ts';
import type { ShownReplacements } from '../replacement/shown.ts';
import type { Revocations } from '../revocation/index.ts';
import type { RotationRecords, Rotations } from '../rotation/index.ts';
import { layout } from '../state/layout.ts';
import type { Model } from '../state/model.ts';
import type { Store } from '../store/index.ts';
import { auditMethods } from './audit.ts';
import { authorityViews } from './authorities.ts';
import { type BackupServiceOptions, backupMethods } from './backup.ts';
import { actorOf } from './callers.ts';
import {
  authorityToProto,
  certificateToProto,
  clusterToProto,
  eventToProto,
  manifestToProto,
  nodeToProto,
  policyFromProto,
  revocationToProto,
  tokenToProto,
} from './convert.ts';
import { coordinatorMethods } from './coordinators.ts';
import type { Guard } from './guard.ts';
import { importCluster } from './import.ts';
import { repair } from './repair.ts';
import { replacementMethods } from './replacement.ts';
import { rotationMethods } from './rotation.ts';
import { watch } from './watch.ts';

export interface AdminServiceOptions {
  guard: Guard;
  store: Store;
  clock: Clock;
  backup: BackupServiceOptions['backup'];
  audit: AuditLog;
  model: Model;
  queries: Queries;
  clusters: Clusters;
  imports: ClusterImports;
  applier: Applier;
  revocations: Revocations;
  revocationChanges: RevocationChanges;
  clusterTokens: ClusterTokens;
  registry: NodeRegistry;
  removal: NodeRemoval;
  /** Ten characters of [a-z0-9], never the same. */
  newSuffix: () => string;
  cordons: NodeCordons;
  leader: Leader;
  shown: ShownReplacements;
  replacementRecords: ReplacementRecords;
  rotations: Rotations;
  rotationRecords: RotationRecords;
  /** Kind of the provider that has a CA's key; undefined: none has it. */
  keyProviderOf: (keyId: string) => Promise<string | undefined>;
  pauses: ReplacementPauses;
  health: FollowedHealth;
  desired: DesiredStates;
  hub: NodeHub;
  coordinators: Coordinators;
  leadership: StoreLeadership;
  sessions: Sessions;
  coordinatorId: string;
  bridges: KubernetesBridges;
  events: EventRecorder;
  controlCa: ControlCa;
  adminCertificates: AdminCertificates;
  /** `HOST:PORT` for agents and admins. */
  address: () => string;
  nowMs: () => number;
}

const applyOrigins = ['evercert apply', 'evercert revoke'] as const;

/** The admin API: each method converts, calls the part that does the work, and converts back. */
export function adminService(options: AdminServiceOptions): AdminServiceServer {
  const { guard, model, queries, clusters, applier, revocationChanges, clusterTokens, removal, cordons, bridges } = options;
  return {
    createCluster: guard.unary(async ({ name, spec }, context) => {
      const { cluster, authorities } = await clusters.create(name, policyFromProto(spec), actorOf(context.caller));
      return {
        cluster: clusterToProto(cluster, bridges.statusOf(name)),
        certificateAuthorities: authorities.map((authority) => authorityToProto(authority)),
      };
    }),
    importCluster: guard.unary((request, context) => importCluster(request, context, options.imports)),
    deleteCluster: guard.unary(async ({ name }, context) => {
      await clusters.remove(name, actorOf(context.caller));
      return {};
    }),
    listClusters: guard.unary(async () => ({
      clusters: model.clusters.list().map((cluster) => clusterToProto(cluster, bridges.statusOf(cluster.name))),
    })),
    listCertificateAuthorities: guard.unary(async ({ cluster }) => {
      if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
      const ofClusters = model.authorities.list(cluster === '' ? layout.authorities : layout.authority(cluster, ''));
      const all = [...ofClusters, ...(cluster === '' ? [options.controlCa.record] : [])];
      return { certificateAuthorities: await authorityViews(options, all) };
    }),
    listNodes: guard.unary(async ({ cluster, name }) => {
      const nodes = model.nodes
        .list(cluster === '' ? layout.nodes : layout.node(cluster, ''))
        .filter((node) => name === '' || node.name === name);
      if (name !== '' && nodes.length === 0) throw nodeNotFound(cluster, name);
      return { nodes: nodes.map((node) => nodeToProto(queries.node(node))) };
    }),
    deleteNode: guard.unary(async ({ cluster, name }, context) => {
      await removal.remove(cluster, name, actorOf(context.caller), options.newSuffix());
      return {};
    }),
    setNodeCordon: guard.unary(async ({ duration, ...order }, context) => {
      const durationMs = duration && duration.seconds * 1000 + Math.floor(duration.nanos / 1e6);
      const { record, changed } = await cordons.set({ ...order, durationMs }, actorOf(context.caller));
      return { node: nodeToProto(queries.node(record)), changed };
    }),
    listCertificates: guard.unary(async ({ pageSize, pageToken, ...filter }) => {
      const { items, next } = await queries.certificates(filter, { size: pageSize, token: pageToken });
      return { certificates: items.map(certificateToProto), nextPageToken: next };
    }),
    renewCertificates: guard.unary(async (request, context) => renewCertificates(options, request, actorOf(context.caller))),
    apply: guard.unary(async ({ cluster, documents, dryRun, origin: given }, context) => {
      const sources = documents.map(({ source, yaml }) => ({ file: source, text: yaml }));
      const origin = oneOf(applyOrigins, 'origin', given ?? '', 'evercert apply');
      return applier.apply({ cluster, sources, dryRun, actor: actorOf(context.caller), origin });
    }),
    listManifests: guard.unary(async ({ cluster, kind, name }) => {
      if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
      const all = model.manifests.list(cluster === '' ? layout.manifests : `${layout.manifests}${cluster}/`);
      const found = all.filter(
        ({ manifest }) => (kind === '' || manifest.kind === kind) && (name === '' || manifest.metadata.name === name),
      );
      return { manifests: found.map((record) => manifestToProto(record, model.nodesOf(record.cluster))) };
    }),
    deleteManifest: guard.unary(async ({ cluster, kind, name, dryRun }, context) => ({
      affected: await applier.deleteManifest(cluster, kind, name, dryRun, actorOf(context.caller)),
    })),
    listRevocations: guard.unary(async ({ cluster, name }) => {
      if (cluster !== '' && !model.cluster(cluster)) throw clusterNotFound(cluster);
      const found = await queries.revocations(cluster, name);
      if (name !== '' && found.length === 0) throw revocationNotFound(cluster, name);
      return { revocations: found.map(revocationToProto) };
    }),
    deleteRevocation: guard.unary(async ({ cluster, name, dryRun }, context) => ({
      released: await revocationChanges.remove(cluster, name, dryRun, actorOf(context.caller)),
    })),
    createToken: guard.unary(async ({ lifetime, role, kubernetes, kubernetesGroups, ...order }, context) => {
      if (!kubernetes && kubernetesGroups.length > 0)
        throw new EvercertError('InvalidArgument', 'kubernetes_groups: only a token for the API server (kubernetes) has groups there');
      const lifetimeSeconds = lifetime && lifetime.seconds + lifetime.nanos / 1e9;
      const there = kubernetes ? { groups: kubernetesGroups } : undefined;
      const { token, record } = await clusterTokens.create(
        { ...order, role: roleFromProto(role), lifetimeSeconds, kubernetes: there },
        actorOf(context.caller),
      );
      return { token, info: tokenToProto(record), caPin: options.controlCa.pin(), caPins: options.controlCa.pins() };
    }),
    listTokens: guard.unary(async ({ cluster }) => ({
      tokens: model.tokens
        .list()
        .filter((token) => cluster === '' || token.cluster === cluster)
        .map(tokenToProto),
    })),
    deleteToken: guard.unary(async ({ id }, context) => {
      await clusterTokens.remove(id, actorOf(context.caller));
      return {};
    }),
    listEvents: guard.unary(async ({ pageSize, pageToken, ...filter }) => {
      const { items, next } = await queries.events(filter, { size: pageSize, token: pageToken });
      return { events: items.map(eventToProto), nextPageToken: next };
    }),
    ...replacementMethods(options),
    ...coordinatorMethods(options),
    ...auditMethods(options),
    ...rotationMethods(options),
    ...backupMethods(options),
    repair: guard.stream((call: Parameters<typeof repair>[0], context) => repair(call, context, options.leader)),
    watch: guard.endless((call: Parameters<typeof watch>[0], context) => watch(call, context, options)),
    getServerInfo: guard.unary(async (_request, context) => ({
      version,
      identity: actorOf(context.caller),
      caPin: options.controlCa.pin(),
      address: options.address(),
      caPins: options.controlCa.pins(),
      trustAnchors: options.controlCa.anchors(),
      coordinatorId: options.coordinatorId,
      leaderAddress: options.leadership.leaderAddress() ?? '',
    })),
    renewAdminCertificate: guard.unary(async ({ csr }, { caller }) => {
      if (caller.kind !== 'admin') throw new EvercertError('PermissionDenied', 'only an admin has an admin certificate');
      return { chain: await options.adminCertificates.renew(caller, csr), trustAnchors: options.controlCa.anchors() };
    }),
  };
}

interface RenewOrder {
  cluster: string;
  node: string;
  certificates: string[];
}

/** Marks certificates for renewal in the node's record: a node that is away is told when it comes back. */
async function renewCertificates(
  { registry, desired, hub, nowMs }: AdminServiceOptions,
  { cluster, node, certificates }: RenewOrder,
  actor: string,
): Promise<{ certificates: string[]; delivered: boolean }> {
  const declared = desired.plan(cluster, node)?.resolved.certificates.map(({ name }) => name);
  if (!declared) throw nodeNotFound(cluster, node);
  const unknown = certificates.filter((name) => !declared.includes(name));
  if (unknown.length > 0) {
    const identity = unknown.includes(identityName) ? ' (an identity renews by itself)' : '';
    throw new EvercertError(
      'NotFound',
      `certificates "${unknown.join('", "')}" not found on node ${node}${identity}: it has ${declared.join(', ')}`,
    );
  }
  // What was issued in this very millisecond is also meant.
  const before = nowMs() + 1;
  const marks = Object.fromEntries((certificates.length > 0 ? certificates : ['*']).map((name) => [name, before]));
  const names = certificates.length > 0 ? certificates : declared;
  await registry.update(
    cluster,
    node,
    (record) => ({ ...record, renewIfIssuedBeforeMs: { ...record.renewIfIssuedBeforeMs, ...marks } }),
    () => ({ cluster, node, actor, reason: 'RenewalRequested', message: `asked for new certificates: ${names.join(', ')}` }),
  );
  return { certificates: names, delivered: hub.isConnected(cluster, node) };
}
