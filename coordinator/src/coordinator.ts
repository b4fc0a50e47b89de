import type { Clock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { version } from '@evercert/shared/version';
import type { CoordinatorConfig } from './config.ts';
import { MirrorKeeper, mirrorFile } from './emergency/index.ts';
import type { KeyProvider } from './keys/index.ts';
import { startParts } from './parts.ts';
import { noProvisioners, type Provisioners } from './provisioning/provisioners.ts';
import { serve } from './serve.ts';
import { startOwnCertificates } from './server/own-certificates.ts';
import { describeLocation, type Store } from './store/index.ts';

export interface CoordinatorParts {
  config: CoordinatorConfig;
  store: Store;
  keys: KeyProvider;
  clock: Clock;
  logger: Logger;
  /** Who makes and removes workers' machines; whoever opened them closes them, after the coordinator has stopped. Default: nobody. */
  provisioners?: Provisioners;
}

export interface RunningCoordinator {
  /** `HOST:PORT` that it really listens on. */
  readonly address: string;
  /** The same for CRL and OCSP; undefined: they are not served. */
  readonly webAddress: string | undefined;
  /** Begins no further step of anything and gives the leadership up, sends agents to other coordinators, lets calls under way end, closes the store. Idempotent. */
  stop(): Promise<void>;
}

/** Wires the coordinator's parts together and serves. */
export async function startCoordinator(options: CoordinatorParts): Promise<RunningCoordinator> {
  const { config, store, keys, clock, logger, provisioners = noProvisioners } = options;
  let address = '';
  const parts = await startParts({ config, store, keys, provisioners, clock, logger, address: () => address });
  const own = await startOwnCertificates({ config, clock, logger, parts });
  // Everything is in place before the first connection is taken.
  const server = await serve({ config, clock, logger, parts, credentials: own.credentials, address: () => address });
  address = config.advertise ?? server.advertised;
  await own.keepAdminCredential(address);
  // A store of one's own is on this disk anyway.
  const mirror = store.shared
    ? new MirrorKeeper({ store, storeName: describeLocation(config), path: mirrorFile(config.dataDir), clock, logger })
    : undefined;
  mirror?.start();
  const tellOthers = (): void => own.tellOthers(parts.coordinators.endpoints());
  const followOthers = parts.coordinators.informer.subscribe(tellOthers);
  await parts.join();
  tellOthers();
  parts.leadership.run(parts.leader);
  // Nobody else can lead: it serves whole from its first call on.
  if (!store.shared) await parts.leader.started;
  const leaveToOthers = parts.lease.subscribe(() => {
    const reached = parts.lease.isHeld();
    server.setServing(reached);
    if (!reached) parts.hub.sayGoodbye('this coordinator does not reach its store');
  });
  server.setServing(true);
  logger.info('serving', { listen: server.listening, address, coordinator: parts.coordinatorId });
  const tell = (reason: string, message: string): void => {
    const details = { coordinator: parts.coordinatorId, version, address };
    parts.events.record({ actor: 'coordinator', reason, message: `coordinator ${parts.coordinatorId} ${message}`, details });
  };
  tell('CoordinatorStarted', `serves at ${address}`);

  const stop = async (): Promise<void> => {
    tell('CoordinatorStopping', 'stops');
    leaveToOthers();
    followOthers();
    // First of all: no step is begun any more here, and another coordinator goes on.
    await parts.leadership.stop();
    await parts.coordinators.leave();
    server.setServing(false);
    own.stop();
    parts.hub.sayGoodbye('the coordinator stops');
    await server.shutDown();
    await mirror?.stop();
    await parts.stop();
    await keys.close();
    await store.close();
  };
  let stopping: Promise<void> | undefined;
  return {
    address: server.listening,
    webAddress: parts.status.address,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}
