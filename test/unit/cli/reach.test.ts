/** A context with several coordinators, against gRPC servers on the loopback that play them. */
import assert from 'node:assert/strict';
import { connectAdmin } from '@evercert/cli';
import { AdminServiceService, CreateTokenRequest, CreateTokenResponse, RepairRequest } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { createHotSwapServerCredentials, toServiceError } from '@evercert/shared/grpc';
import { Server, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData } from '@grpc/grpc-js';
import { createTestCa, keyAndLeaf, type TestCa } from '../agent/pki.ts';

const nobody = '127.0.0.1:1';

describe('a context with several coordinators', () => {
  let ca: TestCa;
  const cleanUp: (() => void)[] = [];
  before(async () => {
    ca = await createTestCa(systemClock.nowMs());
  });
  afterEach(() => {
    for (const clean of cleanUp.splice(0).reverse()) clean();
  });

  async function startServer() {
    const { privateKey, leaf } = await keyAndLeaf(ca, systemClock.nowMs());
    const { credentials } = createHotSwapServerCredentials({ chain: [leaf, ca.der], privateKey, clientAnchors: [ca.der] });
    const server = new Server();
    const state = { calls: [] as string[], fail: undefined as EvercertError | undefined };
    const unary =
      (name: string, answer: object) =>
      (_call: ServerUnaryCall<unknown, unknown>, callback: sendUnaryData<object>): void => {
        state.calls.push(name);
        if (state.fail) callback(toServiceError(state.fail));
        else callback(null, answer);
      };
    const repair = (call: ServerWritableStream<unknown, object>): void => {
      state.calls.push('repair');
      if (state.fail) {
        call.emit('error', toServiceError(state.fail));
        return;
      }
      call.write({ event: { $case: 'summary', value: { outcomes: [] } } });
      call.end();
    };
    const service = {
      listTokens: unary('listTokens', { tokens: [] }),
      createToken: unary('createToken', CreateTokenResponse.fromPartial({ token: 't' })),
      repair,
    };
    server.addService(AdminServiceService, service as never);
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
    );
    cleanUp.push(() => server.forceShutdown());
    return { address: `127.0.0.1:${port}`, state };
  }

  async function connect(endpoints: string[]) {
    const { privateKey, leaf } = await keyAndLeaf(ca, systemClock.nowMs());
    const material = { server: endpoints[0] ?? '', endpoints, trustAnchors: [ca.der], chain: [leaf], privateKey };
    const api = connectAdmin(material, { requestTimeoutMs: 5000 });
    cleanUp.push(() => api.close());
    return api;
  }

  const createToken = CreateTokenRequest.fromPartial({ cluster: 'demo' });
  const notLeader = (leader?: string): EvercertError =>
    new EvercertError('NotLeader', 'another one leads', leader === undefined ? {} : { metadata: { leader } });

  it('goes to the first that takes a connection, and stays there', async () => {
    const { address, state } = await startServer();
    const api = await connect([nobody, address]);
    await api.call('createToken', createToken);
    await api.call('listTokens', { cluster: '' });
    assert.deepEqual(state.calls, ['createToken', 'listTokens']);
    assert.equal(api.server, address);
  });

  it('says which could not be reached, when none could', async () => {
    const api = await connect([nobody, '127.0.0.1:2']);
    await assert.rejects(api.call('listTokens', { cluster: '' }), {
      code: 'Unavailable',
      metadata: { server: `${nobody}, 127.0.0.1:2` },
    });
  });

  it('asks another one what changes nothing, and never makes a change twice', async () => {
    const first = await startServer();
    const second = await startServer();
    first.state.fail = new EvercertError('StoreFailure', 'etcd is away');
    const api = await connect([first.address, second.address]);
    await assert.rejects(api.call('createToken', createToken), { code: 'StoreFailure' });
    assert.deepEqual(second.state.calls, []);
    await api.call('listTokens', { cluster: '' });
    assert.deepEqual(second.state.calls, ['listTokens']);
  });

  it('goes to the leader by itself, whether the context names it or not', async () => {
    const leader = await startServer();
    const follower = await startServer();
    follower.state.fail = notLeader(leader.address);
    const api = await connect([follower.address]);
    await api.call('createToken', createToken);
    assert.deepEqual([follower.state.calls, leader.state.calls], [['createToken'], ['createToken']]);
    const another = await connect([follower.address]);
    const messages: unknown[] = [];
    for await (const message of another.repair(RepairRequest.fromPartial({ cluster: 'demo' }))) messages.push(message);
    assert.equal(messages.length, 1);
  });

  it('follows once: two that send each other callers are an error, and so is a leader that nobody knows', async () => {
    const one = await startServer();
    const other = await startServer();
    one.state.fail = notLeader(other.address);
    other.state.fail = notLeader(one.address);
    const api = await connect([one.address]);
    await assert.rejects(api.call('createToken', createToken), { code: 'NotLeader' });
    assert.deepEqual([one.state.calls.length, other.state.calls.length], [1, 1]);
    for (const leader of [undefined, 'unix:/run/x', '', 'no port']) {
      one.state.fail = notLeader(leader);
      const again = await connect([one.address]);
      await assert.rejects(again.call('createToken', createToken), { code: 'NotLeader' });
    }
  });
});
