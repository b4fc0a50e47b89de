/** The connection against gRPC servers on the loopback that play the coordinator. */
import assert from 'node:assert/strict';
import { Connection, type ConnectionOptions, Endpoints, Reporter } from '@evercert/agent/connection';
import { EventQueue } from '@evercert/agent/events';
import type { Identity, IdentityStore } from '@evercert/agent/identity';
import { type ConnectRequest, type ConnectResponse, type NodeServiceServer, NodeServiceService } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createHotSwapServerCredentials, toServiceError } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { identityNotValid } from '@evercert/shared/wire';
import { parseCertificate } from '@evercert/shared/x509';
import { Server, type ServerDuplexStream } from '@grpc/grpc-js';
import { SeverableProxy } from '../../support/severable-proxy.ts';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';
import { memoryFolder } from './support.ts';

type Stream = ServerDuplexStream<ConnectRequest, ConnectResponse>;

const request = { name: 'a', csr: Buffer.alloc(0), specHash: '', reason: 'Initial' as const };

function goodbye({ retryMs = 0, endpoints = [] as string[] }): ConnectResponse {
  const retryAfter = { seconds: Math.floor(retryMs / 1000), nanos: (retryMs % 1000) * 1_000_000 };
  return { message: { $case: 'goodbye', value: { reason: 'it stops', retryAfter, endpoints } } };
}

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
      named: [] as string[],
      waiting: [] as (() => void)[],
      issue: undefined as EvercertError | 'answer' | undefined,
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
          endpoints: state.named,
        };
        stream.write({ message: { $case: 'welcome', value: welcome } });
      },
      // Without an order it never answers: what becomes of the call shows how the connection ends.
      issueCertificate: (_call, callback) => {
        state.asked += 1;
        const answer = (): void => callback(null, { chain: [], issuedAt: undefined, notAfter: undefined });
        if (state.issue === 'answer') answer();
        else if (!state.issue) state.waiting.push(answer);
        else if (state.issue) callback(toServiceError(state.issue));
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
    const answerAll = (): void => {
      for (const answer of state.waiting.splice(0)) answer();
    };
    return { endpoint: `127.0.0.1:${port}`, state, answerAll };
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

  async function connect(configured: string[], change: Partial<ConnectionOptions> = {}) {
    const folder = memoryFolder();
    const endpoints = new Endpoints({ configured, nodeName: 'node-1', folder, clock: systemClock, logger: silentLogger });
    const world = {
      folder,
      endpoints,
      identity: await identity(),
      anchors: [ca.der],
      connected: 0,
      renewals: [] as string[][],
      expired: [] as string[],
      revoked: [] as string[],
      notTaken: [] as string[],
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
      onIdentityNotTaken: (serial) => world.notTaken.push(serial),
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
    await assert.rejects(connection.api.getKeyPair('sa', { deadlineMs: 1000 }), { code: 'NotFound' });
  });

  it('goes to the next endpoint when one cannot be reached', async () => {
    const { endpoint } = await startServer();
    const { connection } = await connect(['127.0.0.1:1', endpoint]);
    await assert.rejects(connection.api.renewIdentity(Buffer.alloc(0), { deadlineMs: 1000 }), { code: 'Unavailable' });
    await until('connected', () => connection.snapshot().state === 'Connected');
    assert.equal(connection.snapshot().endpoint, endpoint);
  });

  it('comes back when the coordinator did, not before the time that it asked for', async () => {
    const { endpoint, state } = await startServer();
    const { world } = await connect([endpoint]);
    await until('connected', () => world.connected === 1);
    const saidAt = performance.now();
    state.streams[0]?.write(goodbye({ retryMs: 400 }));
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

  it('repeats a call that its connection was lost under, as soon as there is another', async () => {
    const { endpoint, state } = await startServer();
    const { connection, world } = await connect([endpoint]);
    await until('connected', () => world.connected === 1);
    const call = connection.api.issueCertificate(request, { deadlineMs: 10_000 });
    await until('the call is under way', () => state.asked === 1);
    state.issue = 'answer';
    state.streams[0]?.end();
    await call;
    assert.equal(state.asked, 2);
  });

  it('goes to the coordinator that a goodbye names, before it gives the old one up, whatever the wait that it asks for', async () => {
    const leaving = await startServer();
    const next = await startServer();
    const { connection, world } = await connect([leaving.endpoint]);
    await until('connected', () => world.connected === 1);
    leaving.state.issue = 'answer';
    const saidAt = performance.now();
    leaving.state.streams[0]?.write(goodbye({ retryMs: 60_000, endpoints: ['nonsense', next.endpoint] }));
    while (world.connected < 2) {
      await connection.api.issueCertificate(request, { deadlineMs: 5000 });
      assert.equal(connection.snapshot().state, 'Connected');
      next.state.issue = 'answer';
    }
    assert.ok(performance.now() - saidAt < 5000);
    assert.equal(connection.snapshot().endpoint, next.endpoint);
    assert.ok(connection.snapshot().endpoints.includes(next.endpoint));
    await until('written', () => world.folder.files.has('endpoints.json'));
  });

  it('lets a call that is under way at a goodbye come to its end', async () => {
    const leaving = await startServer();
    const next = await startServer();
    const { connection, world } = await connect([leaving.endpoint]);
    await until('connected', () => world.connected === 1);
    const call = connection.api.issueCertificate(request, { deadlineMs: 5000 });
    await until('the call is under way', () => leaving.state.asked === 1);
    leaving.state.streams[0]?.write(goodbye({ endpoints: [next.endpoint] }));
    await until('moved', () => connection.snapshot().endpoint === next.endpoint);
    leaving.answerAll();
    await call;
    assert.equal(next.state.asked, 0);
  });

  for (const code of ['StoreFailure', 'Overloaded'] as const) {
    it(`moves to another coordinator and asks there, if there is one, after ${code}`, async () => {
      const broken = await startServer();
      const better = await startServer();
      const { connection, world } = await connect([broken.endpoint]);
      await until('connected', () => world.connected === 1);
      better.state.issue = 'answer';
      broken.state.issue = new EvercertError(code, 'not now', { retryAfterMs: 60_000 });
      await assert.rejects(connection.api.issueCertificate(request, { deadlineMs: 5000 }), { code, retryAfterMs: 60_000 });
      world.endpoints.learn([better.endpoint]);
      await connection.api.issueCertificate(request, { deadlineMs: 5000 });
      assert.equal(connection.snapshot().endpoint, better.endpoint);
      await until('only the better one is connected', () => broken.state.open === 0 && better.state.open === 1);
    });
  }

  it('notices a connection that is cut without a word, and goes elsewhere', async () => {
    const first = await startServer();
    const proxy = await SeverableProxy.open(first.endpoint);
    cleanUp.push(() => proxy.close());
    const { connection, world } = await connect([proxy.address], { silenceMs: 100 });
    await until('connected', () => world.connected === 1);
    const second = await startServer();
    second.state.issue = 'answer';
    world.endpoints.learn([second.endpoint]);
    proxy.sever();
    const severedAt = performance.now();
    await connection.api.issueCertificate(request, { deadlineMs: 5000 });
    assert.ok(performance.now() - severedAt < 3000);
    assert.equal(connection.snapshot().endpoint, second.endpoint);
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

  it('tells that the identity opens no connection', async () => {
    const { endpoint, state } = await startServer();
    state.refuse = new EvercertError('Unauthenticated', 'by a control CA that is over', { metadata: { reason: identityNotValid } });
    const { world } = await connect([endpoint]);
    await until('told', () => world.notTaken.length > 0);
    assert.equal(world.notTaken[0], world.identity.serial);
  });

  it('leaves whoever proved himself by what is not trusted any more, and finds another by its pin', async () => {
    const { endpoint } = await startServer();
    const { connection, world } = await connect([endpoint]);
    await until('connected', () => connection.snapshot().state === 'Connected');
    world.anchors = [];
    connection.distrusted();
    await until('left', () => connection.snapshot().state !== 'Connected');
    // What the pin finds is not what this server stands under.
    await until('looked for', () => world.anchors.length > 0);
    assert.notEqual(connection.snapshot().state, 'Connected');
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
