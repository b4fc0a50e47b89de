import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CoordinatorApi, EnrollmentApi, RecoveryApi } from '@evercert/agent/coordinator-api';
import { IdentityStore, IdentitySupervisor, readToken, type TokenReading } from '@evercert/agent/identity';
import { FakeClock } from '@evercert/shared/clock';
import { type ErrorCode, EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import { createCsr, parseCertificate, parseCsr } from '@evercert/shared/x509';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';
import { EventLog, memoryFolder } from './support.ts';

const lifeMs = 60_000;
const tokenA: TokenReading = { token: { value: 'aaaaaa.aaaaaaaaaaaaaaaa', source: '/token', fingerprint: 'a' } };
const tokenB: TokenReading = { token: { value: 'bbbbbb.bbbbbbbbbbbbbbbb', source: '/token', fingerprint: 'b' } };
const noToken: TokenReading = { message: 'there is no bootstrap token' };

/** Lets real cryptography on the thread pool come to its end between two steps of the fake clock. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 4000;
  while (!condition() && performance.now() < end) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(condition(), `still waiting for ${condition}`);
}

describe('the identity supervisor', () => {
  let ca: TestCa;
  /** The coordinator's certificate. */
  let server: Buffer;
  before(async () => {
    const nowMs = new FakeClock().nowMs();
    ca = await createTestCa(nowMs);
    server = (await keyAndLeaf(ca, nowMs)).leaf;
  });

  let stop: (() => Promise<void>) | undefined;
  afterEach(async () => {
    await stop?.();
    stop = undefined;
  });

  function setUp(folder = memoryFolder(), clock = new FakeClock()) {
    const seen = { enrolled: [] as string[], renewed: 0, recoveries: [] as string[], keys: new Set<string>(), identities: [] as string[] };
    const world = {
      token: tokenA as TokenReading,
      failure: undefined as ErrorCode | undefined,
      loseReply: false,
      recovery: 'RecoveryNotOpen' as ErrorCode | 'granted',
    };
    const events = new EventLog();
    const answer = async (csr: Buffer) => {
      seen.keys.add(parseCsr(csr).spki.toString('hex'));
      if (world.failure) throw new EvercertError(world.failure, `the coordinator said ${world.failure}`);
      const chain = [await ca.sign(csr, { notBeforeMs: clock.nowMs() - 60_000, notAfterMs: clock.nowMs() + lifeMs })];
      if (world.loseReply) throw new EvercertError('Unavailable', 'the reply was lost');
      return { chain, trustAnchors: [ca.der], serverChain: [server] };
    };
    const enrollment: EnrollmentApi = {
      enroll: async ({ token, csr }) => {
        seen.enrolled.push(token);
        return { ...(await answer(csr)), cluster: 'demo', role: 'worker' };
      },
      fetchTrustAnchors: async () => [ca.der],
    };
    const api: Pick<CoordinatorApi, 'renewIdentity'> = {
      renewIdentity: async (csr: Buffer) => {
        seen.renewed += 1;
        return answer(csr);
      },
    };
    const recovery: RecoveryApi = {
      recover: async ({ certificate, csr }) => {
        seen.recoveries.push(parseCertificate(certificate).serial);
        if (world.recovery !== 'granted') {
          const hint = world.recovery === 'RecoveryNotOpen' ? { retryAfterMs: 3000 } : {};
          throw new EvercertError(world.recovery, `the coordinator said ${world.recovery}`, hint);
        }
        return { ...(await answer(csr)), issuedAtMs: clock.nowMs() };
      },
    };
    const store = new IdentityStore({ folder, logger: silentLogger, nodeName: 'node-1' });
    const supervisor = new IdentitySupervisor({
      store,
      enrollment,
      recovery,
      api,
      readToken: async () => world.token,
      nodeName: 'node-1',
      tokenFile: '/etc/token',
      clock,
      random: () => 0.5,
      logger: silentLogger,
      events,
      onIdentity: ({ serial }) => seen.identities.push(serial),
      onChange: () => {},
    });
    const abort = new AbortController();
    const start = async (): Promise<void> => {
      await store.load();
      const running = supervisor.run(abort.signal);
      stop = async () => {
        abort.abort();
        await running;
      };
    };
    /** Lets time pass in steps, each with a failed renewal, until the identity has ended. */
    const expire = async (): Promise<void> => {
      await clock.advance(41_000);
      while (supervisor.snapshot().state !== 'IdentityExpired') {
        const before = seen.renewed;
        await clock.advance(2500);
        await until(() => seen.renewed > before || supervisor.snapshot().state === 'IdentityExpired');
      }
    };
    return { clock, folder, store, supervisor, events, seen, world, start, expire };
  }

  it('joins with a token and has an identity that survives a restart', async () => {
    const { folder, clock, supervisor, seen, start } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.deepEqual(seen.enrolled, ['aaaaaa.aaaaaaaaaaaaaaaa']);
    assert.equal(supervisor.snapshot().cluster, 'demo');
    await stop?.();
    const again = setUp(folder, clock);
    await again.start();
    await until(() => again.supervisor.snapshot().state === 'Ready');
    assert.equal(again.supervisor.usable()?.serial, supervisor.usable()?.serial);
    assert.deepEqual(again.seen.enrolled, []);
  });

  it('uses the same key again after a lost reply', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    world.loseReply = true;
    await start();
    await until(() => seen.enrolled.length === 1 && supervisor.snapshot().code === 'Unavailable');
    assert.equal(supervisor.snapshot().state, 'Joining');
    world.loseReply = false;
    await clock.advance(1000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.equal(seen.keys.size, 1);
  });

  it('says what to do without a token and joins as soon as there is one', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    world.token = noToken;
    await start();
    await until(() => supervisor.snapshot().state === 'WaitingForToken');
    assert.match(supervisor.snapshot().message, /no bootstrap token/);
    assert.deepEqual(seen.enrolled, []);
    world.token = tokenB;
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'Ready');
  });

  for (const code of ['InvalidToken', 'TokenExpired', 'TokenUsedUp', 'TokenMismatch', 'AlreadyExists'] as const) {
    it(`is JoinRefused after ${code}, tries that token seldom, and joins once another is there`, async () => {
      const { clock, supervisor, seen, world, start } = setUp();
      world.failure = code;
      await start();
      await until(() => supervisor.snapshot().state === 'JoinRefused');
      assert.equal(supervisor.snapshot().code, code);
      assert.match(supervisor.snapshot().message, /put a new token for this node into \/etc\/token/);
      await clock.advance(60_000);
      assert.equal(seen.enrolled.length, 1);
      world.failure = undefined;
      world.token = tokenB;
      await clock.advance(5000);
      await until(() => supervisor.snapshot().state === 'Ready');
      assert.equal(seen.enrolled.length, 2);
    });
  }

  it('tries a refused token again after five minutes: the coordinator may know it by then', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    world.failure = 'InvalidToken';
    await start();
    await until(() => supervisor.snapshot().state === 'JoinRefused');
    world.failure = undefined;
    await clock.advance(5 * 60_000 + 5000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.equal(seen.enrolled.length, 2);
  });

  it('is JoinRefused by a wrong pin without holding that against the token', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    world.failure = 'PinMismatch';
    await start();
    await until(() => supervisor.snapshot().state === 'JoinRefused');
    await clock.advance(1000);
    await until(() => seen.enrolled.length >= 2);
  });

  it('renews in time, again and again, with a new key each time', async () => {
    const { clock, supervisor, seen, start } = setUp();
    await start();
    await until(() => seen.identities.length === 1);
    for (let life = 2; life <= 5; life += 1) {
      await until(() => supervisor.snapshot().state === 'Ready');
      await clock.advance(41_000);
      await until(() => seen.identities.length === life);
    }
    assert.equal(seen.renewed, 4);
    assert.equal(seen.keys.size, 5);
    assert.equal(seen.enrolled.length, 1);
  });

  it('keeps trying while renewals fail, then says that the identity expired, what to do, and re-joins by a token not yet refused', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    await start();
    await until(() => seen.identities.length === 1);
    world.failure = 'Unavailable';
    world.token = noToken;
    await clock.advance(41_000);
    await until(() => supervisor.snapshot().state === 'RenewalFailing');
    while (supervisor.snapshot().state !== 'IdentityExpired') {
      const before = seen.renewed;
      await clock.advance(2500);
      await until(() => seen.renewed > before || supervisor.snapshot().state === 'IdentityExpired');
    }
    assert.ok(seen.renewed >= 8, `${seen.renewed} tries`);
    await until(() => supervisor.snapshot().code === 'RecoveryNotOpen');
    assert.match(
      supervisor.snapshot().message,
      /expired at .*evercert repair demo --node node-1.*make a token for this node .*\/etc\/token/,
    );
    assert.equal(supervisor.usable(), undefined);
    world.failure = 'TokenUsedUp';
    world.token = tokenA;
    await clock.advance(5000);
    await until(() => supervisor.snapshot().code === 'TokenUsedUp');
    await clock.advance(30 * 60_000);
    assert.equal(seen.enrolled.length, 2);
    assert.deepEqual([...new Set(seen.recoveries)], [seen.identities[0]]);
    world.failure = undefined;
    world.token = tokenB;
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.notEqual(supervisor.usable(), undefined);
  });

  it('comes back on its expired identity once that is allowed, asking again as the coordinator wishes', async () => {
    const { clock, supervisor, seen, events, world, start, expire } = setUp();
    await start();
    await until(() => seen.identities.length === 1);
    world.failure = 'Unavailable';
    world.token = noToken;
    await expire();
    await until(() => supervisor.snapshot().code === 'RecoveryNotOpen');
    assert.equal(supervisor.snapshot().state, 'IdentityExpired');
    world.failure = undefined;
    const before = seen.recoveries.length;
    for (let i = 1; i <= 5; i++) {
      await clock.advance(3000);
      await until(() => seen.recoveries.length >= before + i);
    }
    assert.ok(seen.recoveries.length <= before + 6, `${seen.recoveries.length - before} tries in 15 s`);
    world.recovery = 'granted';
    await clock.advance(3000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.notEqual(supervisor.usable()?.serial, seen.identities[0]);
    assert.ok(events.reasons().includes('IdentityRecovered'));
    assert.equal(seen.keys.size, 2);
  });

  it('asks less often while the coordinator gives no hint, and never less than every 30 s', async () => {
    const { clock, seen, supervisor, world, start, expire } = setUp();
    await start();
    await until(() => seen.identities.length === 1);
    world.failure = 'Unavailable';
    world.recovery = 'Revoked';
    world.token = noToken;
    await expire();
    await until(() => supervisor.snapshot().code === 'Revoked');
    const before = seen.recoveries.length;
    await clock.advance(30_000);
    await until(() => seen.recoveries.length > before);
  });

  it('tries a token at once when an administrator at the node says so, although the identity is good', async () => {
    const { seen, supervisor, world, start } = setUp();
    await start();
    await until(() => seen.identities.length === 1 && supervisor.snapshot().state === 'Ready');
    world.token = tokenB;
    supervisor.tryNow({ token: true });
    await until(() => seen.identities.length === 2);
    assert.deepEqual(seen.enrolled, ['aaaaaa.aaaaaaaaaaaaaaaa', 'bbbbbb.bbbbbbbbbbbbbbbb']);
  });

  it('treats an identity as expired when the coordinator says so, whatever the own clock reads', async () => {
    const { supervisor, seen, world, start } = setUp();
    await start();
    await until(() => seen.identities.length === 1);
    world.token = noToken;
    supervisor.expiredByCoordinator(seen.identities[0]!);
    await until(() => supervisor.snapshot().state === 'IdentityExpired');
  });

  it('makes a new key after the coordinator refused the old one', async () => {
    const { clock, supervisor, seen, world, start } = setUp();
    world.failure = 'KeyInUse';
    await start();
    await until(() => supervisor.snapshot().state === 'JoinRefused');
    world.failure = undefined;
    world.token = tokenB;
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.equal(seen.keys.size, 2);
  });

  it('takes a damaged identity for none, and puts one right that was changed while it ran', async () => {
    const { folder, clock, store, supervisor, start } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    folder.files.set('identity/identity.json', Buffer.from('{'));
    assert.deepEqual(await store.restore(), ['identity/identity.json']);
    assert.deepEqual(await store.restore(), []);
    await stop?.();
    folder.files.set('identity/identity.json', Buffer.from('{'));
    const again = setUp(folder, clock);
    again.world.token = noToken;
    await again.start();
    await until(() => again.supervisor.snapshot().state === 'WaitingForToken');
  });

  it('never lets the trust anchors shrink to none, and adds found ones', async () => {
    const { store } = setUp();
    const other = await createTestCa(new FakeClock().nowMs());
    const shown = { serverChain: [server], atMs: new FakeClock().nowMs() };
    assert.equal(await store.adoptTrustAnchors([ca.der], shown), true);
    assert.equal(await store.adoptTrustAnchors([], shown), false);
    assert.equal(await store.adoptTrustAnchors([ca.der], shown), false);
    assert.equal(await store.addTrustAnchors([other.der]), true);
    assert.equal(store.trustAnchors.length, 2);
  });

  it('comes back on an identity that has not ended and that the coordinator does not take, and says so', async () => {
    const { clock, store, supervisor, start, world, seen } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    const { serial } = store.identity!;
    world.token = noToken;
    supervisor.notTakenByCoordinator(serial);
    await until(() => supervisor.snapshot().state === 'IdentityNotTaken' && supervisor.snapshot().code !== '');
    assert.match(supervisor.snapshot().message, /the coordinator does not take it: the control CA was replaced/);
    assert.equal(supervisor.usable(), undefined);
    world.recovery = 'granted';
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.notEqual(store.identity?.serial, serial);
    assert.deepEqual(new Set(seen.recoveries), new Set([serial]));
  });

  it('is renewed at once when the coordinator asks for it, and still when another answer has taken the wish back', async () => {
    const { clock, store, supervisor, start, world, seen } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    const { serial } = store.identity!;
    world.loseReply = true;
    supervisor.renewalRequested(serial);
    await until(() => seen.renewed === 1 && supervisor.snapshot().state === 'RenewalFailing');
    supervisor.renewalRequested('');
    world.loseReply = false;
    await clock.advance(10_000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.notEqual(store.identity?.serial, serial);
  });

  it('shows that the identity is revoked until that is lifted, and takes a token that is made meanwhile', async () => {
    const { clock, store, supervisor, start, world, seen } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    const { serial } = store.identity!;
    const revoked = new EvercertError('Revoked', 'identity is revoked by entry 1 of RenewRevocation incident');
    world.failure = 'TokenUsedUp';
    supervisor.revokedByCoordinator(serial, revoked);
    // The token of its first joining is still there, and of no use.
    await until(() => seen.enrolled.length === 2);
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'IdentityRevoked');
    assert.equal(supervisor.snapshot().message, revoked.message);
    supervisor.acceptedByCoordinator();
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.equal(store.identity?.serial, serial);

    supervisor.revokedByCoordinator(serial, revoked);
    await until(() => supervisor.snapshot().state === 'IdentityRevoked');
    world.failure = undefined;
    world.token = tokenB;
    await clock.advance(5000);
    await until(() => supervisor.snapshot().state === 'Ready');
    assert.notEqual(store.identity?.serial, serial);
    assert.deepEqual(seen.enrolled.slice(-1), ['bbbbbb.bbbbbbbbbbbbbbbb']);
  });

  it('refuses an identity for another key', async () => {
    const { store, clock } = setUp();
    const { leaf } = await keyAndLeaf(ca, clock.nowMs());
    const given = { chain: [leaf], trustAnchors: [ca.der], serverChain: [server] };
    const received = { ...given, cluster: 'demo', role: 'worker' as const, issuedAtMs: clock.nowMs() };
    await assert.rejects(store.install(received), { code: 'PairMismatch' });
    assert.equal(store.identity, undefined);
  });

  it('is not undone by a look at the files that comes while a new one is installed', async () => {
    const { folder, store, clock, supervisor, start } = setUp();
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    await stop?.();
    const looks: Promise<string[]>[] = [];
    const write = folder.write.bind(folder);
    folder.write = async (name, content) => {
      await write(name, content);
      looks.push(store.restore());
      await new Promise((resolve) => setImmediate(resolve));
    };
    const csr = await createCsr({ privateKey: await store.nextKey(), commonName: 'node-1' });
    const chain = [await ca.sign(csr, { notBeforeMs: clock.nowMs(), notAfterMs: clock.nowMs() + lifeMs })];
    const given = { chain, trustAnchors: [ca.der], serverChain: [server] };
    await store.install({ ...given, cluster: 'demo', role: 'worker', issuedAtMs: clock.nowMs() });
    assert.deepEqual((await Promise.all(looks)).flat(), []);
    const again = setUp(folder, clock);
    await again.store.load();
    assert.equal(again.store.identity?.serial, store.identity?.serial);
  });

  it('is renewed with a new key although a crash left its own in the place of the next one', async () => {
    const { folder, clock, supervisor, start } = setUp();
    const remove = folder.remove.bind(folder);
    folder.remove = async () => undefined;
    await start();
    await until(() => supervisor.snapshot().state === 'Ready');
    await stop?.();
    folder.remove = remove;
    assert.ok(folder.files.has('identity/next-key.pem'));
    const again = setUp(folder, clock);
    await again.store.load();
    assert.equal(folder.files.has('identity/next-key.pem'), false);
  });
});

describe('the bootstrap token', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-token-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  it('is read from its file first, then from the configuration', async () => {
    const tokenFile = join(folder, 'token');
    const fromConfig = await readToken({ token: 'cccccc.cccccccccccccccc', tokenFile });
    assert.equal('token' in fromConfig && fromConfig.token.source, 'the configuration');
    await writeFile(tokenFile, ' dddddd.dddddddddddddddd\n');
    const fromFile = await readToken({ token: 'cccccc.cccccccccccccccc', tokenFile });
    assert.equal('token' in fromFile && fromFile.token.value, 'dddddd.dddddddddddddddd');
  });

  it('is missed, or refused for its form, in words that do not tell it', async () => {
    const tokenFile = join(folder, 'token');
    const missing = await readToken({ tokenFile });
    assert.ok('message' in missing && missing.message.includes(tokenFile));
    await writeFile(tokenFile, 'not-a-token-but-a-secret');
    const wrong = await readToken({ tokenFile });
    assert.ok('message' in wrong && !wrong.message.includes('secret'));
  });
});
