import { randomBytes, randomInt } from 'node:crypto';
import type { Clock } from '@evercert/shared/clock';
import { faultPoint } from '@evercert/shared/fault-points';
import type { Logger } from '@evercert/shared/logging';
import { kubernetesSource, RevocationChanges } from './apply/revocations.ts';
import { AuditReader } from './audit/index.ts';
import { Authorities } from './ca/authorities.ts';
import { ControlCa } from './ca/control-ca.ts';
import { KeyPairs } from './clusters/key-pairs.ts';
import type { CoordinatorConfig } from './config.ts';
import { DesiredStates } from './desired/desired-states.ts';
import { AdminCertificates } from './enrollment/admin-certificates.ts';
import { NodeIdentities } from './enrollment/identities.ts';
import { TokenAdmin } from './enrollment/token-admin.ts';
import { EventRecorder } from './events/recorder.ts';
import { Admission } from './issuance/admission.ts';
import { Adoptions } from './issuance/adoption.ts';
import { DeclaredCertificates } from './issuance/declared.ts';
import { CertificateIssuer } from './issuance/issuer.ts';
import type { KeyProvider } from './keys/index.ts';
import { ClusterTokens, KubernetesBridges, revocationsFeature, signersFeature, tokensFeature } from './kubernetes/index.ts';
import { NodeHealth } from './nodes/health/index.ts';
import { NodeHub } from './nodes/hub.ts';
import { NodeRegistry } from './nodes/registry.ts';
import { quorumObjection, RestartLeases } from './nodes/restart-lease.ts';
import { NodeStatuses } from './nodes/statuses.ts';
import type { Provisioners } from './provisioning/provisioners.ts';
import { Queries } from './queries/queries.ts';
import { ClockMark, Nonces, Recovery, Refusals } from './recovery/index.ts';
import { Repairs } from './repair/controller.ts';
import { RepairWindows } from './repair/windows.ts';
import { Availability } from './replacement/availability.ts';
import { Replacements } from './replacement/controller.ts';
import { replacementFactsOf } from './replacement/facts.ts';
import { ReplacementPauses } from './replacement/pauses.ts';
import { ReplacementRecords } from './replacement/records.ts';
import { NodeRemoval } from './replacement/removal.ts';
import { RemovedNodes } from './replacement/returned.ts';
import { NodeSwap } from './replacement/swap.ts';
import { Revocations, refusalError } from './revocation/index.ts';
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

/** Makes the domain's parts and starts them, each after those that it reads; nothing is served yet, and nobody is replaced yet. */
export async function startParts(options: PartsOptions) {
  const state = await startState(options);
  const issuing = issuingParts(options, state);
  const health = await startHealth(options, state, issuing);
  const replacing = replacingParts(options, { ...state, ...issuing, ...health });
  const { model, store, statuses, revocations } = state;
  const queries = new Queries({ store, model, statuses, revocations, nowMs: state.nowMs, ...health, ...replacing });
  const { replacements, availability } = replacing;
  const revocationChanges = revocationChangesOf(options, state);
  const bridges = kubernetesBridges(options, { ...state, ...issuing, revocationChanges });
  const clusterTokens = new ClusterTokens({ tokens: issuing.tokens, bridges, model });
  return {
    ...state,
    ...issuing,
    ...health,
    ...replacing,
    queries,
    audit: new AuditReader(store),
    revocationChanges,
    bridges,
    clusterTokens,
    /** Replacement: once the coordinator serves, so that new nodes can join. */
    async startReplacing(): Promise<void> {
      await availability.start();
      replacements.start();
    },
    /** First of all: no step is begun any more, and the calls under way are broken off. */
    async stopReplacing(): Promise<void> {
      await replacements.stop();
    },
    /** In the opposite order of the start. */
    async stop(): Promise<void> {
      await state.status.stop();
      await health.health.stop();
      await availability.stop();
      await state.stop();
    },
  };
}

type State = Awaited<ReturnType<typeof startState>>;

/** What is kept in the store, and read from memory. */
async function startState({ config, store, keys, clock, logger }: PartsOptions) {
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
  const desired = new DesiredStates({ model, controlCa, revocations, repairing, nowMs, lists: status.lists, webUrl: status.url });
  windows.subscribe((cluster, node) => desired.refresh(cluster, node));
  const statuses = new NodeStatuses({ store, clock, logger });
  await statuses.start();
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
    removed,
    replacementRecords,
    pauses,
    status,
    repairing,
    desired,
    statuses,
    async stop(): Promise<void> {
      await statuses.stop();
      await pauses.stop();
      await replacementRecords.stop();
      await removed.stop();
      await windows.stop();
      await mark.stop();
      await revocations.stop();
      await model.stop();
      await controlCa.stop();
    },
  };
}

type Issuing = ReturnType<typeof issuingParts>;

/** What gives nodes their identities and certificates, and talks with them. */
function issuingParts({ config, store, keys, clock, logger }: PartsOptions, state: State) {
  const { model, events, desired, statuses, revocations, removed, authorities, controlCa, windows, mark } = state;
  const { backdateMs, repairing, nowMs } = state;
  const registry = new NodeRegistry({ store, model, events });
  const keyPairs = new KeyPairs({ keys, model, desired });
  const issuer = new CertificateIssuer({ store, clock, events, backdateMs, admission: new Admission(config.admission) });
  const declared = new DeclaredCertificates({ model, desired, authorities, issuer, store, revocations, repairing, nowMs });
  const adoptions = new Adoptions({ model, desired, store, revocations, events, clock });
  const wasRemoved = (cluster: string, node: string): boolean => removed.knows(cluster, node);
  const identities = new NodeIdentities({ store, model, registry, issuer, controlCa, revocations, wasRemoved, nowMs });
  const heartbeatIntervalSeconds = config.heartbeatInterval;
  const endpoints = { all: () => [], others: () => [] };
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
    endpoints,
  });
  const refusals = new Refusals({ clock, logger, events });
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
  return { registry, issuer, wasRemoved, keyPairs, declared, adoptions, identities, hub, refusals, recovery, tokens, adminCertificates };
}

/** What knows how nodes are, and brings them back. */
async function startHealth({ config, store, clock, logger }: PartsOptions, state: State, { hub, registry, refusals }: Issuing) {
  const { model, desired, statuses, revocations, windows, events, nowMs } = state;
  const unreachableAfterMs = config.unreachableAfter * 1000;
  const repairs = new Repairs({
    facts: { model, desired, statuses, hub, revocations, nowMs, unreachableAfterMs },
    model,
    registry,
    windows,
    refusals,
    events,
    clock,
    limits: { silentAfterMs: config.repair.silentAfter * 1000, nodeMs: config.repair.nodeTimeout * 1000 },
  });
  const health = new NodeHealth({ store, model, desired, statuses, revocations, windows, events, clock, logger, unreachableAfterMs });
  await health.start();
  // Only etcd's members have a quorum to keep.
  const objection = (cluster: string, node: string, component: string): string | undefined =>
    component === 'etcd' ? quorumObjection(node, repairs.quorum(cluster)) : undefined;
  const restarts = new RestartLeases({ store, clock, logger, events, objection });
  return { health, repairs, restarts };
}

/** What removes nodes, and has them replaced. */
function replacingParts({ store, provisioners, clock, logger, address }: PartsOptions, parts: State & Issuing & { health: NodeHealth }) {
  const { model, registry, desired, statuses, revocations, removed, events, pauses, tokens, replacementRecords, health, mark, nowMs } =
    parts;
  const removal = new NodeRemoval({ store, model, registry, desired, statuses, revocations, removed, events, clock });
  const availability = new Availability({ store, clock, logger, mark });
  const stepOf = (cluster: string, id: string): string => replacementRecords.get(cluster, id)?.record.step ?? '';
  const sources = { model, health, desired, revocations, stepOf, nowMs };
  const replacements = new Replacements({
    store,
    model,
    registry,
    records: replacementRecords,
    pauses,
    swap: new NodeSwap({ registry, model, removal, tokens, pauses, events, clock }),
    provisioners,
    health,
    availability,
    factsOf: (node) => replacementFactsOf(sources, node),
    events,
    clock,
    logger,
    random: Math.random,
    newId: () => `rp-${newSuffix()}`,
    join: () => ({ endpoints: [address()], caPins: parts.controlCa.pins() }),
    fault: faultPoint,
  });
  return { provisioners, removal, newSuffix, availability, replacements };
}

function revocationChangesOf({ config, store, clock }: PartsOptions, { model, desired, revocations, events }: State): RevocationChanges {
  const keptElsewhere = ({ cluster, source, namespace }: RevocationRecord): boolean => {
    const bridge = config.kubernetes[cluster];
    return source === kubernetesSource && bridge?.revocations === true && bridge.revocationNamespaces.includes(namespace);
  };
  return new RevocationChanges({ store, model, desired, revocations, events, clock, keptElsewhere });
}

/** What works at the API servers of clusters; each feature is a controller there, switched on in the configuration. */
function kubernetesBridges(
  { config, clock, logger }: PartsOptions,
  parts: State & Issuing & { revocationChanges: RevocationChanges },
): KubernetesBridges {
  const features = [signersFeature(parts), tokensFeature(parts), revocationsFeature({ ...parts, changes: parts.revocationChanges })];
  return new KubernetesBridges({ config: config.kubernetes, features, clock, logger, random: Math.random });
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789';

/** Ten characters: 51 bits, for names that are also compared when they are first written. */
function newSuffix(): string {
  return Array.from({ length: 10 }, () => alphabet[randomInt(alphabet.length)]).join('');
}
