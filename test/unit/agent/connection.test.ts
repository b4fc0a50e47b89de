/** The connection against gRPC servers on the loopback that play the coordinator. */
import assert from 'node:assert/strict';
import { Connection, type ConnectionOptions, Reporter } from '@evercert/agent/connection';
import { EventQueue } from '@evercert/agent/events';
import type { Identity, IdentityStore } from '@evercert/agent/identity';
import { type ConnectRequest, type ConnectResponse, type NodeServiceServer, NodeServiceService } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createHotSwapServerCredentials, toServiceError } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { parseCertificate } from '@evercert/shared/x509';
import { Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';

type Stream = ServerDuplexStream<ConnectRequest, ConnectResponse>;

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 400; turn += 1) {
    if (condition()) return;
    await systemClock.sleep(10);
  }
  assert.fail(`never: ${what}`);
}

describe('the connection', () => {
  let ca: TestCa;
  let other: TestCa;
  const cleanUp: (() => Promise<void> | void)[] = [];
  before(async () => {
    ca = await createTestCa(systemClock.nowMs());
    other = await createTestCa(systemClock.nowMs(), 'another control-ca');
  });
  afterEach(async () => {
    for (const clean of cleanUp.splice(0).reverse()) await clean();
  });

  /** A coordinator that welcomes every stream unless `refuse` is set. */
  async function startServer(signer = ca) {
    const { privateKey, leaf } = await keyAndLeaf(signer, systemClock.nowMs());
    const { credentials } = createHotSwapServerCredentials({ chain: [leaf, signer.der], privateKey, clientAnchors: [ca.der, other.der] });
    const server = new Server();
    const state = {
      streams: [] as Stream[],
      received: [] as ConnectRequest[],
      open: 0,
      mostOpen: 0,
      asked: 0,
      refuse: undefined as EvercertError | undefined,
    };
    const service: NodeServiceServer = {
      connect: (stream: Stream) => {
        if (state.refuse) {
          stream.emit('error', toServiceError(state.refuse));
          return;
        }
        state.streams.push(stream);
        state.open += 1;
        state.mostOpen = Math.max(state.mostOpen, state.open);
        const closed = (): void => {
          state.open -= 1;
        };
        stream.on('data', (message: ConnectRequest) => state.received.push(message));
        stream.on('end', () => stream.end());
        stream.on('error', () => {});
        stream.once('close', closed);
        const welcome = {
          cluster: 'demo',
          node: 'node-1',
          role: 2 as const,
          heartbeatInterval: { seconds: 0, nanos: 100_000_000 },
          serverTime: undefined,
        };
        stream.write({ message: { $case: 'welcome', value: welcome } });
      },
      // Never answers: what becomes of the call shows how the connection ends.
      issueCertificate: () => {
        state.asked += 1;
      },
      renewIdentity: (_call, callback) => callback(null, { chain: [], trustAnchors: [], issuedAt: undefined }),
      getKeyPair: (_call, callback) => callback(toServiceError(new EvercertError('NotFound', 'no such pair'))),
      adoptCertificate: (_call, callback) => callback(toServiceError(new EvercertError('NotFound', 'no such certificate'))),
      acquireRestartLease: (_call, callback) =>
        callback(toServiceError(new EvercertError('Conflict', 'cp-2 restarts etcd', { retryAfterMs: 2000 }))),
      releaseRestartLease: (_call, callback) => callback(null, {}),
    };
    server.addService(NodeServiceService, service);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    cleanUp.push(() => server.forceShutdown());
    return { endpoint: `127.0.0.1:${port}`, state, stop: () => server.forceShutdown() };
  }

  async function identity(): Promise<Identity> {
    const { privateKey, leaf } = await keyAndLeaf(ca, systemClock.nowMs());
    const { serial, notAfter } = parseCertificate(leaf);
    return {
      nodeName: 'node-1',
      cluster: 'demo',
      role: 'worker',
      privateKey,
      chain: [leaf],
      serial,
      issuedAtMs: systemClock.nowMs(),
      notAfterMs: notAfter.getTime(),
    };
  }

  async function connect(endpoints: string[], change: Partial<ConnectionOptions> = {}) {
    const world = {
      identity: await identity(),
      anchors: [ca.der],
      connected: 0,
      renewals: [] as string[][],
      expired: [] as string[],
      revoked: [] as string[],
    };
    const events = new EventQueue({ clock: systemClock, logger: silentLogger, newId: () => 'id' });
    const report = {
      certificates: [],
      bundles: [],
      keyPairs: [],
      revocationLists: [],
      components: [],
      appliedRevision: '7',
      identitySerial: '',
      controlCaPins: [],
    };
    const reporter = new Reporter({ clock: systemClock, random: () => 0.5, events, report: () => report });
    const store = {
      get trustAnchors() {
        return world.anchors;
      },
      addTrustAnchors: async (found: Buffer[]) => {
        world.anchors = [...world.anchors, ...found];
        return true;
      },
    };
    const connection = new Connection({
      endpoints,
      store: store as unknown as IdentityStore,
      usableIdentity: () => world.identity,
      enrollment: { enroll: () => assert.fail(), fetchTrustAnchors: async () => [other.der] },
      reporter,
      hello: () => ({ facts: undefined, desiredRevision: '7' }),
      timeLeftMs: () => 0,
      clock: systemClock,
      random: () => 0.1,
      logger: silentLogger,
      onDesiredState: () => {},
      onRenewNow: ({ certificates }) => world.renewals.push(certificates),
      onConnected: () => {
        world.connected += 1;
      },
      onIdentityExpired: (serial) => world.expired.push(serial),
      onIdentityRevoked: (serial, error) => world.revoked.push(`${serial} ${error.code}`),
      onChange: () => {},
      ...change,
    });
    const abort = new AbortController();
    const running = connection.run(abort.signal);
    cleanUp.push(async () => {
      abort.abort();
      await running;
    });
    return { connection, world };
  }

  it('says hello, reports and sends heartbeats, and passes on what it is told', async () => {
    const { endpoint, state } = await startServer();
    const { connection, world } = await connect([endpoint]);
    await until('heartbeats', () => state.received.filter(({ message }) => message?.$case === 'heartbeat').length >= 2);
    assert.deepEqual(state.received[0]?.message, { $case: 'hello', value: { facts: undefined, desiredRevision: '7' } });
    assert.ok(state.received.some(({ message }) => message?.$case === 'report' && message.value.appliedRevision === '7'));
    assert.equal(connection.snapshot().state, 'Connected');
    state.streams[0]?.write({ message: { $case: 'renewNow', value: { certificates: ['a'], reason: '' } } });
    await until('renewal asked for', () => world.renewals.length === 1);
    await assert.rejects(connection.getKeyPair('sa', { deadlineMs: 1000 }), { code: 'NotFound' });
  });

  it('goes to the next endpoint when one cannot be reached', async () => {
    const { endpoint } = await startServer();
    const { connection } = await connect(['127.0.0.1:1', endpoint]);
    await assert.rejects(connection.renewIdentity(Buffer.alloc(0), { deadlineMs: 1000 }), { code: 'Unavailable' });
    await until('connected', () => connection.snapshot().state === 'Connected');
    assert.equal(connection.snapshot().endpoint, endpoint);
  });

  it('comes back when the coordinator did, not before the time that it asked for', async () => {
    const { endpoint, state } = await startServer();
    const { world } = await connect([endpoint]);
    await until('connected', () => world.connected === 1);
    const saidAt = performance.now();
    state.streams[0]?.write({
      message: { $case: 'goodbye', value: { reason: 'it stops', retryAfter: { seconds: 0, nanos: 400_000_000 } } },
    });
    await until('connected again', () => world.connected === 2);
    assert.ok(performance.now() - saidAt >= 400);
  });

  it('opens a connection with the renewed identity before it gives the old one up', async () => {
    const { endpoint, state } = await startServer();
    const { connection, world } = await connect([endpoint]);
    await until('connected', () => world.connected === 1);
    world.identity = await identity();
    connection.identityChanged();
    await until('only the new one is open', () => world.connected === 2 && state.open === 1);
    assert.equal(state.mostOpen, 2);
    assert.equal(connection.snapshot().state, 'Connected');
  });

  it('ends calls under way as Unavailable when the coordinator goes', async () => {
    const { endpoint, state } = await startServer();
    const { connection, world } = await connect([endpoint]);
    await until('connected', () => world.connected === 1);
    const request = { name: 'a', csr: Buffer.alloc(0), specHash: '', reason: 'Initial' as const };
    const call = assert.rejects(connection.issueCertificate(request, { deadlineMs: 10_000 }), { code: 'Unavailable' });
    await until('the call is under way', () => state.asked === 1);
    state.streams[0]?.end();
    await call;
  });

  it('finds a control CA that was replaced by its pin', async () => {
    const { endpoint } = await startServer(other);
    const { connection } = await connect([endpoint]);
    await until('connected', () => connection.snapshot().state === 'Connected');
  });

  it('tells that the coordinator takes the identity for expired', async () => {
    const { endpoint, state } = await startServer();
    state.refuse = new EvercertError('IdentityExpired', 'it has expired');
    const { connection, world } = await connect([endpoint]);
    await until('told', () => world.expired.length > 0);
    assert.equal(world.expired[0], world.identity.serial);
    await until('shown', () => connection.snapshot().lastErrorCode === 'IdentityExpired');
  });

  it('tells that the coordinator refuses the identity as revoked, and connects by itself once that is lifted', async () => {
    const { endpoint, state } = await startServer();
    state.refuse = new EvercertError('Revoked', 'entry 1 of RenewRevocation incident');
    const { connection, world } = await connect([endpoint]);
    await until('told', () => world.revoked.length > 0);
    assert.equal(world.revoked[0], `${world.identity.serial} Revoked`);
    state.refuse = undefined;
    await until('connected', () => connection.snapshot().state === 'Connected');
  });
});
