import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { AdminServiceService, EnrollmentServiceService, NodeServiceService, RecoveryServiceService } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { formatHostPort, parseHostPort } from '@evercert/shared/config';
import { toEvercertError } from '@evercert/shared/errors';
import { createHotSwapServerCredentials } from '@evercert/shared/grpc';
import type { Logger } from '@evercert/shared/logging';
import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { Applier } from './apply/apply.ts';
import { RevocationChanges } from './apply/revocations.ts';
import { Authorities, trustAnchors } from './ca/authorities.ts';
import { Clusters } from './clusters/clusters.ts';
import { KeyPairs } from './clusters/key-pairs.ts';
import type { CoordinatorConfig } from './config.ts';
import { DesiredStates } from './desired/desired-states.ts';
import { NodeIdentities } from './enrollment/identities.ts';
import { TokenAdmin } from './enrollment/token-admin.ts';
import { EventRecorder } from './events/recorder.ts';
import { Admission } from './issuance/admission.ts';
import { DeclaredCertificates } from './issuance/declared.ts';
import { CertificateIssuer } from './issuance/issuer.ts';
import type { KeyProvider } from './keys/index.ts';
import { NodeCordons } from './nodes/cordons.ts';
import { NodeHealth } from './nodes/health/index.ts';
import { NodeHub } from './nodes/hub.ts';
import { NodeRegistry } from './nodes/registry.ts';
import { NodeStatuses } from './nodes/statuses.ts';
import type { Provisioners } from './provisioning/provisioners.ts';
import { Queries } from './queries/queries.ts';
import { ClockMark, Nonces, Recovery, Refusals } from './recovery/index.ts';
import { Repairs } from './repair/controller.ts';
import { RepairWindows } from './repair/windows.ts';
import { Retention } from './retention.ts';
import { Revocations, refusalError } from './revocation/index.ts';
import { adminService } from './rpc/admin-service.ts';
import { Callers } from './rpc/callers.ts';
import { Guard } from './rpc/guard.ts';
import { enrollmentService, nodeService } from './rpc/node-services.ts';
import { recoveryService } from './rpc/recovery-service.ts';
import { AdminCredential, adminProfile } from './server/admin-credential.ts';
import { addReflection, Health } from './server/extras.ts';
import { issueOwn, OwnRenewal, serverIdentity, serverProfile, swapServerIdentity } from './server/own-identity.ts';
import { Model } from './state/model.ts';
import { startStatusService } from './status-service/index.ts';
import type { Store } from './store/index.ts';

export interface CoordinatorParts {
  config: CoordinatorConfig;
  store: Store;
  keys: KeyProvider;
  /** Stay open; whoever has opened them closes them after `stop`. */
  provisioners: Provisioners;
  clock: Clock;
  logger: Logger;
}

export interface RunningCoordinator {
  /** `HOST:PORT` that it really listens on. */
  readonly address: string;
  /** The same for CRL and OCSP; undefined: they are not served. */
  readonly webAddress: string | undefined;
  /** Sends agents away, lets calls under way end, closes the store. Idempotent. */
  stop(): Promise<void>;
}

/** Wires the coordinator's parts together and serves. */
export async function startCoordinator({ config, store, keys, clock, logger }: CoordinatorParts): Promise<RunningCoordinator> {
  const backdateMs = config.backdate * 1000;
  const events = new EventRecorder(store, clock, logger);
  const authorities = new Authorities({ keys, store, clock, backdateMs });
  const controlCa = await authorities.controlCa();
  const controlAnchors = (): Buffer[] => trustAnchors(controlCa);
  const [controlDer = Buffer.alloc(0)] = controlAnchors();

  const model = new Model(store, logger);
  await model.start();
  const revocations = new Revocations({ store, logger, clock });
  await revocations.start();
  const mark = new ClockMark({ store, clock, logger });
  await mark.start();
  const windows = new RepairWindows({ store, clock, logger, events, mark });
  await windows.start();
  const nowMs = (): number => clock.nowMs();
  const repairing = (cluster: string, node: string): boolean => windows.isOpen(cluster, node);
  const status = await startStatusService({ config, store, model, authorities, revocations, events, clock, logger });
  const desired = new DesiredStates({ model, controlAnchors, revocations, repairing, nowMs, lists: status.lists, webUrl: status.url });
  windows.subscribe((cluster, node) => desired.refresh(cluster, node));
  const statuses = new NodeStatuses({ store, clock, logger });
  await statuses.start();
  const registry = new NodeRegistry({ store, model, events });
  const keyPairs = new KeyPairs({ keys, model, desired });
  const issuer = new CertificateIssuer({ store, clock, events, backdateMs, admission: new Admission(config.admission) });
  const declared = new DeclaredCertificates({ model, desired, authorities, issuer, store, revocations, repairing, nowMs });
  const identities = new NodeIdentities({ store, model, registry, issuer, authorities, controlCa, revocations, nowMs });
  const hub = new NodeHub({
    model,
    desired,
    statuses,
    registry,
    events,
    clock,
    logger,
    random: Math.random,
    heartbeatIntervalSeconds: config.heartbeatInterval,
  });
  const refusals = new Refusals({ clock, logger, events });
  const recovery = new Recovery({
    nonces: new Nonces({ clock, randomBytes }),
    windows,
    mark,
    refusals,
    identities,
    model,
    controlAnchors,
    revokedBy: (cluster, serial, issuedAtMs) => {
      const match = revocations.matchSerial(cluster, serial, issuedAtMs);
      return match && refusalError(cluster, { match, future: false }, clock.nowMs());
    },
    backdateMs,
  });
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
  const health = new NodeHealth({
    store,
    model,
    desired,
    statuses,
    revocations,
    windows,
    events,
    clock,
    logger,
    unreachableAfterMs,
  });
  await health.start();
  const queries = new Queries({ store, model, health, statuses, revocations, nowMs });

  const own = {
    issuer: await authorities.issuer(controlCa),
    controlCa: controlDer,
    controlCaNotAfterMs: controlCa.notAfterMs,
    clock,
    backdateMs,
  };
  const makeServer = () => issueOwn(own, serverProfile(config.serverNames), config.serverCertificateLifetime * 1000);
  const first = await makeServer();
  const credentials = createHotSwapServerCredentials(serverIdentity(first, controlDer));

  const guard = new Guard(new Callers({ model, clock, revocations, backdateMs }), logger, clock);
  const server = new Server({
    interceptors: [guard.interceptor],
    'grpc.max_receive_message_length': 4 * 1024 * 1024,
    'grpc.max_concurrent_streams': 256,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  const guarded = guard.on(server);
  const nodeServices = { guard, hub, identities, declared, keyPairs, events, revocations, controlAnchors };
  guarded.addService(EnrollmentServiceService, { ...enrollmentService(nodeServices) });
  guarded.addService(NodeServiceService, { ...nodeService(nodeServices) });
  guarded.addService(RecoveryServiceService, { ...recoveryService({ guard, recovery, controlAnchors }) });
  const serving = new Health();
  serving.addTo(server, guard);
  if (config.reflection) addReflection(server, guard);

  const revocationChanges = new RevocationChanges({ store, model, desired, revocations, events, clock });
  let boundPort = 0;
  const address = (): string => config.advertise ?? formatHostPort(config.serverNames[0] ?? 'localhost', boundPort);
  guarded.addService(AdminServiceService, {
    ...adminService({
      guard,
      store,
      model,
      statuses,
      queries,
      clusters: new Clusters({ store, model, authorities, keyPairs, events, clock, webUrl: status.url }),
      applier: new Applier({ store, model, registry, keyPairs, revocations: revocationChanges, events, clock, webUrl: status.url }),
      revocations,
      revocationChanges,
      tokens: new TokenAdmin({ store, model, events, clock }),
      registry,
      cordons: new NodeCordons({ registry, events, nowMs }),
      health,
      desired,
      hub,
      repairs,
      events,
      controlCa,
      address,
      nowMs,
    }),
  });
  // Everything is in place before the first connection is taken.
  const { host, port } = listenAddress(config.listen);
  boundPort = await bind(server, formatHostPort(host, port), credentials.credentials);

  const renewalParts = { clock, logger, events };
  const serverRenewal = new OwnRenewal(
    { what: 'server certificate', make: makeServer, install: swapServerIdentity(credentials, controlDer) },
    renewalParts,
  );
  serverRenewal.follow(first);
  const adminRenewal = await keepAdminCredential(config, { own, address: address(), parts: renewalParts });
  const retention = new Retention({
    store,
    clock,
    logger,
    certificatesMs: config.retention.certificates * 1000,
    eventsMs: config.retention.events * 1000,
  });
  retention.start();
  serving.set(true);
  logger.info('serving', { listen: formatHostPort(host, boundPort), address: address() });

  const stop = async (): Promise<void> => {
    serving.set(false);
    serverRenewal.stop();
    adminRenewal.stop();
    hub.sayGoodbye('the coordinator stops');
    await shutDown(server, clock, config.shutdownGrace * 1000);
    await status.stop();
    await retention.stop();
    await health.stop();
    await statuses.stop();
    await windows.stop();
    await mark.stop();
    await revocations.stop();
    await model.stop();
    await store.close();
  };
  let stopping: Promise<void> | undefined;
  return {
    address: formatHostPort(host, boundPort),
    webAddress: status.address,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

interface AdminParts {
  own: Parameters<typeof issueOwn>[0];
  address: string;
  parts: ConstructorParameters<typeof OwnRenewal>[1];
}

/** Makes the local admin's credential at the first start, and keeps it alive. */
async function keepAdminCredential(config: CoordinatorConfig, { own, address, parts }: AdminParts): Promise<OwnRenewal> {
  await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
  const credential = new AdminCredential({ dataDir: config.dataDir, controlCa: own.controlCa, address });
  const make = () => issueOwn(own, adminProfile('admin'), config.adminCertificateLifetime * 1000);
  const renewal = new OwnRenewal({ what: 'local admin credential', make, install: (made) => credential.install(made) }, parts);
  const current = await credential.current(own.clock.nowMs());
  if (current) {
    renewal.follow({ ...current, issuedAtMs: current.notBeforeMs + own.backdateMs });
    return renewal;
  }
  const made = await make();
  await credential.install(made);
  parts.events.record({
    actor: 'coordinator',
    reason: 'AdminCredentialCreated',
    serial: made.serial,
    message: `wrote an admin credential to ${join(config.dataDir, 'admin')}`,
  });
  renewal.follow(made);
  return renewal;
}

function listenAddress(listen: string): { host: string; port: number } {
  const { host = '0.0.0.0', port = 7443 } = parseHostPort(listen) ?? {};
  return { host, port };
}

function bind(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error)
        reject(
          toEvercertError(
            error,
            'Unavailable',
            `cannot listen on ${address} (see who has the port with 'ss -ltnp', or set 'listen' to another)`,
          ),
        );
      else resolve(port);
    });
  });
}

/** Lets calls under way end, for a while; streams of agents that do not go are cut then. */
function shutDown(server: Server, clock: Clock, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(graceMs, () => {
      server.forceShutdown();
      resolve();
    });
    server.tryShutdown(() => {
      timer.cancel();
      resolve();
    });
  });
}
