import type { KeyObject } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { configSchema, type RunningCoordinator, startCoordinator } from '@evercert/coordinator';
import { type KeyProvider, openKeyProvider } from '@evercert/coordinator/keys';
import { noProvisioners, type Provisioners } from '@evercert/coordinator/provisioning';
import { openSqliteStore, type Store } from '@evercert/coordinator/store';
import { AdminServiceClient, EnrollmentServiceClient, NodeServiceClient, Role } from '@evercert/proto';
import { type Clock, systemClock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { type Logger, silentLogger } from '@evercert/shared/logging';
import { certificatesFromPem, createCsr, generateKeyPair, privateKeyFromPem } from '@evercert/shared/x509';

export interface TestCoordinator extends RunningCoordinator {
  dataDir: string;
  port: number;
  anchors: Buffer[];
  admin: AdminServiceClient;
  /** Its own, open. */
  store: Store;
  keys: KeyProvider;
  /** Stops it and removes its folder. */
  dispose(): Promise<void>;
  /** Stops it and starts another on the same folder. */
  restart(): Promise<TestCoordinator>;
}

export interface TestCoordinatorOptions {
  dataDir?: string;
  config?: Record<string, unknown>;
  clock?: Clock;
  logger?: Logger;
  provisioners?: Provisioners;
}

/** A whole coordinator in this process, on a free port of the loopback, with a real store and real keys. */
export async function startTestCoordinator(options: TestCoordinatorOptions = {}): Promise<TestCoordinator> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'evercert-coordinator-')));
  const clock = options.clock ?? systemClock;
  const logger = options.logger ?? silentLogger;
  const config = configSchema.parse({
    dataDir,
    listen: '127.0.0.1:0',
    web: { listen: '127.0.0.1:0' },
    serverNames: ['localhost', '127.0.0.1'],
    shutdownGrace: '1s',
    ...options.config,
  });
  const store = await openSqliteStore({ file: join(dataDir, 'store.db'), clock, logger });
  const keys = await openKeyProvider(config, { store, clock, logger, env: {} });
  const provisioners = options.provisioners ?? noProvisioners;
  const running = await startCoordinator({ config, store, keys, provisioners, clock, logger });
  const anchors = certificatesFromPem(await readFile(join(dataDir, 'admin', 'ca.crt')));
  const chain = certificatesFromPem(await readFile(join(dataDir, 'admin', 'admin.crt')));
  const privateKey = privateKeyFromPem(await readFile(join(dataDir, 'admin', 'admin.key')));
  const admin = new AdminServiceClient(running.address, createClientCredentials({ trustAnchors: anchors, chain, privateKey }));
  const stop = async (): Promise<void> => {
    admin.close();
    await running.stop();
  };
  return {
    dataDir,
    port: Number(running.address.split(':').at(-1)),
    anchors,
    admin,
    store,
    keys,
    address: running.address,
    webAddress: running.webAddress,
    stop,
    async dispose() {
      await stop();
      await rm(dataDir, { recursive: true, force: true });
    },
    async restart() {
      await stop();
      return startTestCoordinator({ ...options, dataDir });
    },
  };
}

export interface TestNode {
  name: string;
  privateKey: KeyObject;
  chain: Buffer[];
  client: NodeServiceClient;
}

export const deadline = { deadlineMs: 10_000 };

export async function createToken(
  coordinator: TestCoordinator,
  cluster: string,
  request: { role?: Role; nodeName?: string; maxUses?: number; addresses?: string[] } = {},
): Promise<string> {
  const { token } = await unary(
    coordinator.admin.createToken.bind(coordinator.admin),
    {
      cluster,
      role: request.role ?? Role.CONTROL_PLANE,
      nodeName: request.nodeName ?? '',
      lifetime: undefined,
      maxUses: request.maxUses ?? 1,
      description: '',
      labels: {},
      addresses: request.addresses ?? [],
      dnsNames: [],
      kubernetes: false,
      kubernetesGroups: [],
    },
    deadline,
  );
  return token;
}

export interface EnrollOptions {
  token: string;
  name: string;
  key?: { privateKey: KeyObject };
  role?: Role;
  addresses?: string[];
}

/** How a coordinator is reached, in this process or in another. */
export type CoordinatorAddress = Pick<TestCoordinator, 'address' | 'anchors'>;

/** Enrols a node as an agent would, and opens its client. */
export async function enroll(coordinator: CoordinatorAddress, { token, name, key, role, addresses }: EnrollOptions): Promise<TestNode> {
  const { privateKey } = key ?? (await generateKeyPair('ecdsa-p256'));
  const client = new EnrollmentServiceClient(coordinator.address, createClientCredentials({ trustAnchors: coordinator.anchors }));
  try {
    const csr = await createCsr({ privateKey, commonName: name });
    const facts = { hostname: name, addresses: addresses ?? [], agentVersion: 'test', os: '' };
    const { chain } = await unary(
      client.enroll.bind(client),
      { token, nodeName: name, csr, facts, role: role ?? Role.UNSPECIFIED },
      deadline,
    );
    return { name, privateKey, chain, client: nodeClient(coordinator, chain, privateKey) };
  } finally {
    client.close();
  }
}

export function nodeClient(coordinator: CoordinatorAddress, chain: Buffer[], privateKey: KeyObject): NodeServiceClient {
  return new NodeServiceClient(coordinator.address, createClientCredentials({ trustAnchors: coordinator.anchors, chain, privateKey }), {
    'grpc.use_local_subchannel_pool': 1,
  });
}
