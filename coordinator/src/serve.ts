import { join } from 'node:path';
import { AdminServiceService, EnrollmentServiceService, NodeServiceService, RecoveryServiceService } from '@evercert/proto';
import type { Clock } from '@evercert/shared/clock';
import { formatHostPort, parseHostPort } from '@evercert/shared/config';
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { Applier } from './apply/apply.ts';
import { Clusters } from './clusters/clusters.ts';
import { ClusterImports } from './clusters/import.ts';
import type { CoordinatorConfig } from './config.ts';
import { NodeCordons } from './nodes/cordons.ts';
import type { Parts } from './parts.ts';
import { adminService } from './rpc/admin-service.ts';
import { CallLog } from './rpc/call-log.ts';
import { Callers } from './rpc/callers.ts';
import { Guard } from './rpc/guard.ts';
import { enrollmentService, nodeService } from './rpc/node-services.ts';
import { recoveryService } from './rpc/recovery-service.ts';
import { addReflection, Health } from './server/extras.ts';

export interface ServeOptions {
  config: CoordinatorConfig;
  clock: Clock;
  logger: Logger;
  parts: Parts;
  credentials: ServerCredentials;
  /** `HOST:PORT` for agents and admins. */
  address: () => string;
}

export interface RunningServer {
  /** `HOST:PORT` that it listens on. */
  listening: string;
  /** The first server name with the port. */
  advertised: string;
  setServing(serving: boolean): void;
  /** Lets calls under way end, for a while. */
  shutDown(): Promise<void>;
}

/** Puts the guard and the services in front of the parts, and listens. */
export async function serve({ config, clock, logger, parts, credentials, address }: ServeOptions): Promise<RunningServer> {
  const { model, revocations, removed, backdateMs, controlCa } = parts;
  const calls = new CallLog({ events: parts.events, reads: config.audit.reads });
  const guard = new Guard(
    new Callers({ model, clock, revocations, removed, backdateMs, controlCa, learned: parts.learned }),
    logger,
    clock,
    calls,
  );
  const unsubscribe = controlCa.subscribe(() => guard.recheckStreams());
  const server = new Server({
    interceptors: [guard.interceptor],
    'grpc.max_receive_message_length': 4 * 1024 * 1024,
    'grpc.max_concurrent_streams': 256,
    'grpc.keepalive_time_ms': 60_000,
    'grpc.keepalive_timeout_ms': 20_000,
  });
  const guarded = guard.on(server);
  guarded.addService(EnrollmentServiceService, { ...enrollmentService({ guard, ...parts }) });
  guarded.addService(NodeServiceService, { ...nodeService({ guard, ...parts }) });
  guarded.addService(RecoveryServiceService, { ...recoveryService({ guard, ...parts }) });
  guarded.addService(AdminServiceService, {
    ...adminService({ guard, address, backup: besideStore(config), ...parts, ...changing(parts) }),
  });
  const health = new Health();
  health.addTo(server, guard);
  if (config.reflection) addReflection(server, guard);

  const { host, port } = listenAddress(config.listen);
  const boundPort = await bind(server, formatHostPort(host, port), credentials);
  return {
    listening: formatHostPort(host, boundPort),
    advertised: formatHostPort(config.serverNames[0] ?? 'localhost', boundPort),
    setServing: (serving) => health.set(serving),
    shutDown: () => {
      unsubscribe();
      guard.endEndless();
      return shutDown(server, clock, config.shutdownGrace * 1000);
    },
  };
}

/** What belongs into a backup beside the store. */
function besideStore({ caKeys, dataDir }: CoordinatorConfig): { caKeys: CoordinatorConfig['caKeys']; keysDirectory: string } {
  return { caKeys, keysDirectory: join(dataDir, 'keys') };
}

/** What only the admin API needs. */
function changing(parts: Parts) {
  const {
    store,
    model,
    authorities,
    keyPairs,
    events,
    clock,
    registry,
    revocationChanges,
    nowMs,
    replacementRecords,
    rotationRecords,
    status,
    provisioners,
  } = parts;
  const webUrl = status.url;
  const replacing = (cluster: string): readonly { id: string }[] => replacementRecords.running(cluster);
  const rotating = (cluster: string): readonly { id: string; authority: string }[] => rotationRecords.running(cluster);
  const clusters = new Clusters({ store, model, authorities, keyPairs, events, clock, replacing, rotating, webUrl });
  return {
    clusters,
    imports: new ClusterImports({ store, model, authorities, keyPairs, clusters, nowMs, webUrl }),
    applier: new Applier({ store, model, registry, keyPairs, revocations: revocationChanges, events, clock, webUrl, provisioners }),
    cordons: new NodeCordons({ registry, nowMs }),
  };
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
