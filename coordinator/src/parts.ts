import { randomBytes } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { kubernetesSource, RevocationChanges } from './apply/revocations.ts';
import { AuditLog } from './audit/index.ts';
import { Learning } from './backup/index.ts';
import { Authorities } from './ca/authorities.ts';
import { ControlCa } from './ca/control-ca.ts';
import { KeyPairs } from './clusters/key-pairs.ts';
import type { CoordinatorConfig } from './config.ts';
import { DesiredStates } from './desired/desired-states.ts';
import { AdminCertificates } from './enrollment/admin-certificates.ts';
import { NodeIdentities } from './enrollment/identities.ts';
import { LearnedIdentities } from './enrollment/learned-identities.ts';
import { TokenAdmin } from './enrollment/token-admin.ts';
import { EventRecorder } from './events/recorder.ts';
import { Admission } from './issuance/admission.ts';
import { Adoptions } from './issuance/adoption.ts';
import { DeclaredCertificates } from './issuance/declared.ts';
import { CertificateIssuer } from './issuance/issuer.ts';
import type { KeyProvider } from './keys/index.ts';
import { ClusterTokens, KubernetesBridges } from './kubernetes/index.ts';
import { Leader, newSuffix } from './leader.ts';
import { FollowedHealth } from './nodes/health/index.ts';
import { NodeHub } from './nodes/hub.ts';
import { NodeRegistry } from './nodes/registry.ts';
import { quorumObjection, RestartLeases } from './nodes/restart-lease.ts';
import { NodeStatuses } from './nodes/statuses.ts';
import { type Presence, startPresence } from './presence.ts';
import type { Provisioners } from './provisioning/provisioners.ts';
import { Queries } from './queries/queries.ts';
import { ClockMark, Nonces, Recovery, Refusals } from './recovery/index.ts';
import { quorumNow } from './repair/controller.ts';
import { RepairWindows } from './repair/windows.ts';
import { Availability } from './replacement/availability.ts';
import { ReplacementPauses } from './replacement/pauses.ts';
import { ReplacementRecords } from './replacement/records.ts';
import { NodeRemoval } from './replacement/removal.ts';
import { RemovedNodes } from './replacement/returned.ts';
import { ShownReplacements } from './replacement/shown.ts';
import { Revocations, refusalError } from './revocation/index.ts';
import { startRotating } from './rotating.ts';
import { Model } from './state/model.ts';
import type { RevocationRecord } from './state/records.ts';
import { startStatusService } from './status-service/index.ts';
import type { Store } from './store/index.ts';

export interface PartsOptions {
  config: CoordinatorConfig;
  store: Store;
  keys: KeyProvider;
  provisioners: Provisioners;
  clock: Clock;
  logger: Logger;
  /** `HOST:PORT` for agents and admins; known once the server listens. */
  address: () => string;
}

export type Parts = Awaited<ReturnType<typeof startParts>>;

/** Makes the domain's parts and starts them, each after those that it reads; nothing is served yet, and nothing runs yet that runs at the leader alone. */
export async function startParts(options: PartsOptions) {
  const { config, store, clock, logger, provisioners, address } = options;
  const presence = await startPresence({ config, store, clock, logger, random: Math.random, coordinatorId: newSuffix(), address });
  const state = await startState(options, presence);
  const issuing = issuingParts(options, { ...presence, ...state });
  await issuing.refusals.start();
  const following = await startFollowing(options, { ...presence, ...state, ...issuing });
  const led: LedParts = { ...presence, ...state, ...issuing, ...following };
  const { model, statuses, revocations, nowMs } = state;
  const revocationChanges = new RevocationChanges({ ...state, clock, keptElsewhere: led.keptElsewhere });
  return {
    ...led,
    provisioners,
    newSuffix,
    // A provider that is away for now tells nothing.
    keyProviderOf: (keyId: string) => options.keys.kindOf(keyId).catch(() => undefined),
    leader: new Leader(options, led),
    queries: new Queries({ store, model, statuses, revocations, nowMs, ...following }),
    revocationChanges,
    clusterTokens: new ClusterTokens({ tokens: issuing.tokens, bridges: following.bridges, model }),
    /** In the opposite order of the start. */
    async stop(): Promise<void> {
      await state.status.stop();
      await following.stop();
      await issuing.refusals.stop();
      await state.stop();
      await presence.stop();
    },
  };
}

/** What the parts that run at the leader alone are made of. */
export type LedParts = Omit<Presence & State & Issuing & Following, 'stop'>;

type State = Awaited<ReturnType<typeof startState>>;

/** What is kept in the store, and read from memory. */
async function startState({ config, store, keys, clock, logger }: PartsOptions, { sessions }: Presence) {
  const backdateMs = config.backdate * 1000;
  const nowMs = (): number => clock.nowMs();
  const events = new EventRecorder(store, clock, logger);
  const authorities = new Authorities({ keys, clock, backdateMs });
  const controlCa = new ControlCa({ store, authorities, clock, logger });
  await controlCa.start();
  const model = new Model(store, logger);
  await model.start();
  const revocations = new Revocations({ store, logger, clock });
  await revocations.start();
  const mark = new ClockMark({ store, clock, logger });
  await mark.start();
  const learning = new Learning({ store, logger, nowMs });
  await learning.start();
  const windows = new RepairWindows({ store, clock, logger, events, mark });
  await windows.start();
  const removed = new RemovedNodes({ store, clock, events, logger });
  await removed.start();
  const replacementRecords = new ReplacementRecords({ store, logger });
  await replacementRecords.start();
  const pauses = new ReplacementPauses({ store, model, events, clock, logger });
  await pauses.start();
  const status = await startStatusService({ config, store, model, authorities, revocations, events, clock, logger });
  const repairing = (cluster: string, node: string): boolean => windows.isOpen(cluster, node);
  const desired = new DesiredStates({ model, controlCa, revocations, repairing, nowMs, lists: status.lists, webUrl: status.url, learning });
  windows.subscribe((cluster, node) => desired.refresh(cluster, node));
  const statuses = new NodeStatuses({ store, clock, logger, sessions });
  await statuses.start();
  sessions.look((cluster, node) => statuses.heardHereMs(cluster, node));
  return {
    store,
    clock,
    backdateMs,
    nowMs,
    events,
    authorities,
    controlCa,
    model,
    revocations,
    mark,
    windows,
    learning,
    removed,
    replacementRecords,
    pauses,
    status,
    repairing,
    desired,
    statuses,
    audit: auditLog({ config, store, keys, clock, logger }, { controlCa, events, backdateMs }),
    async stop(): Promise<void> {
      await statuses.stop();
      await pauses.stop();
      await replacementRecords.stop();
      await removed.stop();
      await windows.stop();
      await learning.stop();
      await mark.stop();
      await revocations.stop();
      await model.stop();
      await controlCa.stop();
    },
  };
}

type Issuing = ReturnType<typeof issuingParts>;

/** What gives nodes their identities and certificates, and talks with them. */
function issuingParts({ config, store, keys, clock, logger }: PartsOptions, state: State & Presence) {
  const { model, events, desired, statuses, revocations, removed, authorities, controlCa, windows, mark } = state;
  const { backdateMs, repairing, nowMs, learning } = state;
  const registry = new NodeRegistry({ store, model, events });
  const keyPairs = new KeyPairs({ keys, model, desired });
  const admission = new Admission(config.admission);
  const issuer = new CertificateIssuer({ store, clock, events, backdateMs, admission });
  const declared = new DeclaredCertificates({ model, desired, authorities, issuer, store, revocations, repairing, nowMs });
  const adoptions = new Adoptions({ model, desired, store, revocations, events, clock, learning, backdateMs });
  const learned = new LearnedIdentities({ ...state, registry, logger });
  const wasRemoved = (cluster: string, node: string): boolean => removed.knows(cluster, node);
  const identities = new NodeIdentities({ store, model, registry, issuer, controlCa, revocations, wasRemoved, nowMs });
  const heartbeatIntervalSeconds = config.heartbeatInterval;
  const { coordinators, sessions, coordinatorId } = state;
  const endpoints = { all: () => coordinators.endpoints(), others: () => coordinators.others() };
  const hub = new NodeHub({
    model,
    desired,
    statuses,
    registry,
    events,
    clock,
    logger,
    random: Math.random,
    heartbeatIntervalSeconds,
    sessions,
    endpoints,
  });
  const refusals = new Refusals({ clock, logger, events, shared: { store, coordinator: coordinatorId } });
  const recovery = new Recovery({
    nonces: new Nonces({ clock, randomBytes }),
    windows,
    mark,
    refusals,
    identities,
    model,
    controlCa,
    nowMs,
    removed,
    revokedBy: (cluster, serial, issuedAtMs) => {
      const match = revocations.matchSerial(cluster, serial, issuedAtMs);
      return match && refusalError(cluster, { match, future: false }, clock.nowMs());
    },
    backdateMs,
  });
  const tokens = new TokenAdmin({ store, model, events, clock });
  const adminCertificates = new AdminCertificates({ controlCa, events, nowMs, backdateMs });
  return {
    registry,
    admission,
    issuer,
    wasRemoved,
    keyPairs,
    declared,
    adoptions,
    learned,
    identities,
    hub,
    refusals,
    recovery,
    tokens,
    adminCertificates,
  };
}

type Following = Awaited<ReturnType<typeof startFollowing>>;

/** What shows at every coordinator how things stand, and what all of them do where one alone decides. */
async function startFollowing({ config, store, clock, logger }: PartsOptions, parts: Presence & State & Issuing) {
  const { model, desired, statuses, revocations, windows, events, registry, removed, hub, mark, lease, replacementRecords, nowMs } = parts;
  const unreachableAfterMs = config.unreachableAfter * 1000;
  const health = new FollowedHealth({ store, model, desired, statuses, revocations, windows, logger, nowMs, unreachableAfterMs });
  await health.start();
  const shown = new ShownReplacements({ store, records: replacementRecords, logger, nowMs });
  await shown.start();
  const availability = new Availability({ store, clock, logger, mark, unreached: () => lease.problem() });
  if (store.shared) availability.follow();
  const repairFacts = { model, desired, statuses, hub, revocations, nowMs, unreachableAfterMs, controlCa: parts.controlCa };
  // Only etcd's members have a quorum to keep.
  const objection = (cluster: string, node: string, component: string): string | undefined =>
    component === 'etcd' ? quorumObjection(node, quorumNow(repairFacts, cluster)) : undefined;
  const bridges = new KubernetesBridges({ config: config.kubernetes, clock, logger, random: Math.random });
  const rotating = await startRotating({ ...parts, config, store, clock, logger, bridges, newSuffix });
  return {
    ...rotating,
    unreachableAfterMs,
    health,
    shown,
    availability,
    repairFacts,
    restarts: new RestartLeases({ store, clock, logger, events, objection }),
    removal: new NodeRemoval({ store, model, registry, desired, statuses, revocations, removed, events, clock }),
    bridges,
    /** Objects that are kept at a cluster's API server are changed there. */
    keptElsewhere: ({ cluster, source, namespace }: RevocationRecord): boolean => {
      const bridge = config.kubernetes[cluster];
      return source === kubernetesSource && bridge?.revocations === true && bridge.revocationNamespaces.includes(namespace);
    },
    async stop(): Promise<void> {
      await rotating.stopReadingRotations();
      bridges.stop();
      availability.end();
      await shown.stop();
      await health.stop();
    },
  };
}

function auditLog(
  { config, ...options }: Pick<PartsOptions, 'config' | 'store' | 'keys' | 'clock' | 'logger'>,
  parts: { controlCa: ControlCa; events: EventRecorder; backdateMs: number },
): AuditLog {
  const { directory, maxFileSize, maxFiles, checkpointInterval, checkpointEntries, maxStored } = config.audit;
  return new AuditLog({
    ...options,
    ...parts,
    keyLifetimeMs: config.serverCertificateLifetime * 1000,
    checkpoint: { everyMs: checkpointInterval * 1000, entries: checkpointEntries },
    keep: { ageMs: config.retention.audit * 1000, bytes: maxStored },
    files: directory === undefined ? undefined : { directory, maxFileBytes: maxFileSize, maxFiles },
  });
}
