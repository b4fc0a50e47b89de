import assert from 'node:assert/strict';
import { chainBehind, currentGeneration, trustAnchors } from '@evercert/coordinator/ca';
import { systemClock } from '@evercert/shared/clock';
import {
  createClientCredentials,
  createHotSwapServerCredentials,
  fetchServerChain,
  fetchTrustAnchors,
  type HotSwapCredentials,
  type ServerIdentity,
  unary,
} from '@evercert/shared/grpc';
import { publicKeyPin, verifyChain } from '@evercert/shared/x509';
import { Client, Server, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { ControlGenerations, leafBy, type TestLeaf } from '../../../support/control-generations.ts';

const same = (value: Buffer): Buffer => value;
const who = {
  who: {
    path: '/test.Who/Who',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
} as const;

describe('a coordinator across generations of the control CA', () => {
  const clock = systemClock;
  const nowMs = clock.nowMs();
  let server: Server;
  let credentials: HotSwapCredentials;
  let port: number;
  let first: ControlGenerations;
  /** Roots and identities, the oldest first. */
  const roots: Buffer[] = [];
  const identities: TestLeaf[] = [];

  before(async () => {
    first = await ControlGenerations.create({ clock });
    await note(first);
    server = new Server();
    server.addService(who, {
      // Whom TLS takes the caller for: nobody, or the holder of a certificate that it verified.
      who: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
        const peer = call.getAuthContext().sslPeerCertificate as { raw?: Buffer } | undefined;
        callback(null, Buffer.from(peer?.raw ? 'known' : 'nobody'));
      },
    });
    credentials = createHotSwapServerCredentials(await identityOf(first));
    port = await new Promise((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', credentials.credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
    });
  });

  after(() => server.forceShutdown());

  async function note(generations: ControlGenerations): Promise<void> {
    roots.push(generations.root);
    identities.push(await leafBy(await generations.authorities.issuer(generations.record), nowMs));
  }

  async function identityOf({ authorities, record }: ControlGenerations): Promise<ServerIdentity> {
    const { der, privateKey } = await leafBy(await authorities.issuer(record), nowMs);
    return { chain: [der, ...chainBehind(record, currentGeneration(record), nowMs)], privateKey, clientAnchors: trustAnchors(record) };
  }

  /** As whom a client with these roots is taken, and what it was shown. */
  async function ask(trustAnchors: Buffer[], identity?: TestLeaf): Promise<{ taken: string; chain: Buffer[] }> {
    const own = identity && { chain: [identity.der], privateKey: identity.privateKey };
    const client = createClientCredentials({ trustAnchors, ...own });
    const channel = new Client(`localhost:${port}`, client, { 'grpc.use_local_subchannel_pool': 1 });
    try {
      const { path, requestSerialize, responseDeserialize } = who.who;
      const answer = await unary<Buffer, Buffer>(
        (request, metadata, options, callback) =>
          channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, options, callback as never),
        Buffer.from('?'),
        { deadlineMs: 5000 },
      );
      return { taken: answer.toString(), chain: client.serverChain() };
    } finally {
      channel.close();
    }
  }

  const place = () => ({ host: '127.0.0.1', port, timeoutMs: 5000 });
  const byPin = (...pinned: (Buffer | undefined)[]) =>
    fetchTrustAnchors({ ...place(), pins: pinned.map((root) => publicKeyPin(root as Buffer)), clock });
  const old = () => roots[0] as Buffer;
  const present = () => roots.at(-1) as Buffer;

  it('is found by the old root alone before the new one signs, and takes identities of the old', async () => {
    await first.spread();
    credentials.swap(await identityOf(first));
    assert.equal((await ask([old()], identities[0])).taken, 'known');
    assert.deepEqual(await byPin(old()), [old()]);
  });

  it('is found by old, new and both once the new one signs, and takes identities of both, without a new listener', async () => {
    first.activate();
    await note(first);
    credentials.swap(await identityOf(first));
    for (const anchors of [[old()], [present()], [old(), present()], [present(), old()]]) {
      for (const identity of identities) assert.equal((await ask(anchors, identity)).taken, 'known');
    }
  });

  it('is found by the pin of either key, and what the pin finds suffices to connect', async () => {
    for (const pinned of [old(), present()]) {
      const anchors = await byPin(pinned);
      assert.deepEqual(anchors.map(publicKeyPin), [publicKeyPin(pinned)]);
      assert.equal((await ask(anchors, identities[1])).taken, 'known');
    }
  });

  it('shows a chain that both the old and the new set of roots verify', async () => {
    const { chain } = await ask([old()]);
    for (const anchors of [[old()], [present()], [present(), old()]]) verifyChain({ chain, anchors, atMs: nowMs, usage: 'server auth' });
    assert.deepEqual(await fetchServerChain({ ...place(), trustAnchors: [present()] }), chain);
  });

  it('takes no identity of a root that is retired, and is still found by it', async () => {
    first.retire();
    credentials.swap(await identityOf(first));
    assert.equal((await ask([old()], identities[0])).taken, 'nobody');
    assert.equal((await ask([old()], identities[1])).taken, 'known');
    assert.equal((await ask([present()], identities[1])).taken, 'known');
  });

  it('is found by everybody who slept through several rotations, up to four', async () => {
    for (let rotation = 0; rotation < 3; rotation++) await note(await first.rotate());
    credentials.swap(await identityOf(first));
    for (const root of roots) {
      assert.equal((await ask([root], identities.at(-1))).taken, 'known');
      assert.equal((await ask(await byPin(root), identities.at(-1))).taken, 'known');
    }
    await note(await first.rotate());
    credentials.swap(await identityOf(first));
    await assert.rejects(ask([old()]), { code: 'Unavailable' });
    assert.equal((await ask([roots[1] as Buffer])).taken, 'nobody');
  });

  it('leads nobody through a root that is compromised, nor past it', async () => {
    const before = present();
    await first.spread();
    first.activate().compromise();
    await note(first);
    credentials.swap(await identityOf(first));
    for (const root of roots.slice(0, -1)) {
      await assert.rejects(ask([root]), { code: 'Unavailable' });
      await assert.rejects(byPin(root), { code: 'PinMismatch' });
    }
    assert.equal((await ask([present(), before], identities.at(-1))).taken, 'known');
    assert.deepEqual(await byPin(before, present()), [present()]);
  });

  it('keeps a connection that is open through the swap of certificate and roots', async () => {
    const client = createClientCredentials({ trustAnchors: [present()] });
    const channel = new Client(`localhost:${port}`, client, { 'grpc.use_local_subchannel_pool': 1 });
    const { path, requestSerialize, responseDeserialize } = who.who;
    const call = (): Promise<Buffer> =>
      unary<Buffer, Buffer>(
        (request, metadata, options, callback) =>
          channel.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, metadata, options, callback as never),
        Buffer.from('?'),
        { deadlineMs: 5000 },
      );
    try {
      await call();
      const shown = client.serverChain();
      await note(await first.rotate());
      credentials.swap(await identityOf(first));
      await call();
      assert.deepEqual(client.serverChain(), shown);
    } finally {
      channel.close();
    }
  });
});
