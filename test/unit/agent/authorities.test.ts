import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { createServer as createTlsServer, type TlsOptions, type Server as TlsServer } from 'node:tls';
import { BundleActivator, compareAuthorities, createBundleVerifier, namedAuthorities } from '@evercert/agent/authorities';
import type { DesiredBundle } from '@evercert/agent/desired';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  newSerial,
  parseName,
  privateKeyToPem,
  signerFor,
} from '@evercert/shared/x509';
import fc from 'fast-check';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';
import { EventLog, memoryFolder } from './support.ts';

const listen = (server: Server): Promise<number> =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port)));

describe('the CAs that a server names to its clients', () => {
  let ca: TestCa;
  let other: TestCa;
  let options: TlsOptions;
  const servers: Server[] = [];
  before(async () => {
    ca = await createTestCa(systemClock.nowMs(), 'cluster-ca');
    other = await createTestCa(systemClock.nowMs(), 'front-proxy-ca');
    const { privateKey, leaf } = await keyAndLeaf(ca, systemClock.nowMs());
    options = { key: privateKeyToPem(privateKey), cert: certificatesToPem([leaf]), ca: certificatesToPem([ca.der, other.der]) };
  });
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });
  const serve = async (more: TlsOptions): Promise<number> => {
    const server: TlsServer = createTlsServer({ ...options, requestCert: true, ...more });
    server.on('tlsClientError', () => {});
    servers.push(server);
    return listen(server);
  };
  const ask = async (port: number) => (await namedAuthorities({ host: '127.0.0.1', port }, systemClock))?.map((der) => parseName(der).text);

  for (const [what, more] of [
    ['TLS 1.2 and 1.3', {}],
    ['TLS 1.2 alone', { maxVersion: 'TLSv1.2' }],
    ['TLS 1.3 alone', { minVersion: 'TLSv1.3' }],
    ['TLS 1.3 with AES-256', { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_256_GCM_SHA384' }],
    ['TLS 1.3 with ChaCha20', { minVersion: 'TLSv1.3', ciphers: 'TLS_CHACHA20_POLY1305_SHA256' }],
    ['TLS 1.3 with P-256', { minVersion: 'TLSv1.3', ecdhCurve: 'P-256' }],
    ['TLS 1.3 with P-384', { minVersion: 'TLSv1.3', ecdhCurve: 'P-384' }],
  ] as [string, TlsOptions][]) {
    it(`are read from a server that speaks ${what}`, async () => {
      assert.deepEqual((await ask(await serve(more)))?.sort(), ['CN=cluster-ca', 'CN=front-proxy-ca']);
    });
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    it(`are undefined where ${version} asks for no certificate`, async () => {
      assert.equal(await ask(await serve({ requestCert: false, minVersion: version, maxVersion: version })), undefined);
    });
  }

  for (const [what, answer] of [
    ['hangs up', ''],
    ['speaks something else', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['sends a message that ends in the middle', '\x16\x03\x03\x00\x06\x0d\x00\x00\x02\x40\x01'],
    ['sends an alert', '\x15\x03\x03\x00\x02\x02\x28'],
  ] as const) {
    it(`cannot be told of a server that ${what}`, async () => {
      const server = createServer((socket) => void socket.on('error', () => {}).end(Buffer.from(answer, 'latin1')));
      servers.push(server);
      const port = await listen(server);
      await assert.rejects(namedAuthorities({ host: '127.0.0.1', port }, systemClock), { code: 'Unavailable' });
    });
  }

  it('cannot be told where nothing listens, nor of a server that stays silent', async () => {
    const server = createServer();
    servers.push(server);
    const port = await listen(server);
    const clock = new FakeClock();
    const silent = assert.rejects(namedAuthorities({ host: '127.0.0.1', port }, clock), { code: 'Unavailable', message: /no TLS answer/ });
    await once(server, 'connection');
    await clock.advance(6000);
    await silent;
    await assert.rejects(namedAuthorities({ host: '127.0.0.1', port: 1 }, systemClock), { code: 'Unavailable' });
  });

  it('are compared with the bundle by a verifier that never throws', async () => {
    const verify = createBundleVerifier({ clock: systemClock });
    const port = await serve({});
    assert.deepEqual(await verify(`tls://127.0.0.1:${port}`, [ca.der]), { result: 'Served', message: '' });
    const stranger = await createTestCa(systemClock.nowMs(), 'etcd-ca');
    assert.equal((await verify(`tls://127.0.0.1:${port}`, [stranger.der])).result, 'NotServed');
    assert.equal((await verify('tls://127.0.0.1:1', [ca.der])).result, 'Unreachable');
    assert.equal((await verify('https://127.0.0.1:1', [ca.der])).result, 'Unreachable');
  });

  it('never end in anything but an error of ours, whatever a server sends', async () => {
    let bytes = Buffer.alloc(0);
    const server = createServer((socket) => void socket.on('error', () => {}).end(bytes));
    servers.push(server);
    const port = await listen(server);
    const message = fc
      .tuple(fc.constantFrom(21, 22, 23, 20), fc.uint8Array({ maxLength: 60 }))
      .map(([type, body]) => Buffer.concat([Buffer.from([type, 3, 3, 0, body.length]), body]));
    await fc.assert(
      fc.asyncProperty(message, async (sent) => {
        bytes = sent;
        await namedAuthorities({ host: '127.0.0.1', port }, systemClock).then(
          () => {},
          (error: unknown) => assert.ok(error instanceof EvercertError),
        );
      }),
      { numRuns: 60 },
    );
  });
});

describe('the comparison of a bundle with the CAs that are named', () => {
  const root = async (commonName: string, uniqueAttribute?: string): Promise<Buffer> => {
    const signer = signerFor((await generateKeyPair('ecdsa-p256')).privateKey);
    const times = { notBefore: new Date(0), notAfter: new Date(4e12) };
    return createRootCertificate({ commonName, signer, serial: newSerial(), ...times, ...(uniqueAttribute && { uniqueAttribute }) });
  };
  let first: Buffer;
  let second: Buffer;
  let frontProxy: Buffer;
  before(async () => {
    first = await root('kubernetes-ca', '1');
    second = await root('kubernetes-ca', '2');
    frontProxy = await root('front-proxy-ca');
  });
  const look = (bundle: Buffer[], named: Buffer[] | undefined) => compareAuthorities('api:6443', bundle, named?.map(subjectOf));

  it('is satisfied when all of the bundle are named, whoever else is', () => {
    assert.equal(look([first], [first]).result, 'Served');
    assert.equal(look([first], [frontProxy, first]).result, 'Served');
    assert.equal(look([first, second], [second, frontProxy, first]).result, 'Served');
  });

  it('tells a CA that is not accepted yet, and one that still is', () => {
    assert.match(look([first, second], [first]).message, /does not accept clients of "CN=kubernetes-ca,.*2"/);
    const stale = look([second], [first, second]);
    assert.equal(stale.result, 'NotServed');
    assert.match(stale.message, /still accepts clients of "CN=kubernetes-ca,.*1"/);
  });

  it('tells a server that asks for nothing, or names nobody', () => {
    assert.match(look([first], undefined).message, /asks clients for no certificate/);
    assert.match(look([first], []).message, /names no CA/);
  });
});

/** The subject of a self-signed certificate, by what precedes its public key. */
function subjectOf(der: Buffer): Buffer {
  // Certificate, TBSCertificate, then version, serial, algorithm, issuer: a root's issuer is its subject.
  const enter = (at: number): number => at + headerLength(der, at);
  const skip = (at: number): number => at + headerLength(der, at) + contentLength(der, at);
  let at = enter(enter(0));
  for (let i = 0; i < 3; i += 1) at = skip(at);
  return der.subarray(at, skip(at));
}

function headerLength(der: Buffer, at: number): number {
  const first = der[at + 1] ?? 0;
  return first < 0x80 ? 2 : 2 + (first & 0x7f);
}

function contentLength(der: Buffer, at: number): number {
  const first = der[at + 1] ?? 0;
  return first < 0x80 ? first : der.readUIntBE(at + 2, first & 0x7f);
}

describe('what makes components take up a trust bundle', () => {
  const bundle = (change: Partial<DesiredBundle> = {}): DesiredBundle => ({
    name: 'cluster-ca',
    issuer: 'cluster-ca',
    version: 1,
    certificates: [],
    file: { path: '/pki/ca.crt', mode: 0o644 },
    reload: { type: 'command', argv: ['/bin/true'], timeoutSeconds: 5 },
    verify: 'tls://127.0.0.1:6443',
    ...change,
  });
  function setUp(folder = memoryFolder()) {
    const clock = new FakeClock();
    const events = new EventLog();
    const world = { reloads: 0, result: 'Served' as 'Served' | 'NotServed' | 'Unreachable', failures: 0 };
    const activator = new BundleActivator({
      reload: async () => {
        world.reloads += 1;
        if (world.failures-- > 0) throw new EvercertError('ReloadFailed', 'no');
      },
      verify: async () => ({ result: world.result, message: world.result === 'Served' ? '' : 'seen' }),
      folder,
      clock,
      events,
      onChange: () => {},
    });
    return { activator, clock, events, world, folder };
  }

  it('reloads, then looks until the component accepts clients by it', async () => {
    const { activator, clock, world, events } = setUp();
    await activator.writing(bundle());
    world.result = 'NotServed';
    assert.equal(activator.served('cluster-ca', 1).reloadOwed, true, 'nobody has told it');
    activator.written(bundle());
    await clock.advance(1000);
    assert.deepEqual(activator.served('cluster-ca', 1), { served: 'NotServed', servedMessage: 'seen', reloadOwed: false });
    world.result = 'Served';
    await clock.advance(5000);
    assert.deepEqual(activator.served('cluster-ca', 1), { served: 'Served', servedMessage: '', reloadOwed: false });
    assert.equal(world.reloads, 1);
    assert.deepEqual(events.reasons(), []);
  });

  it('reloads three times at most when the component does not take it up, and says so', async () => {
    const { activator, clock, world, events } = setUp();
    world.result = 'NotServed';
    activator.written(bundle());
    await clock.advance(400_000);
    assert.equal(world.reloads, 3);
    assert.deepEqual(events.reasons(), ['BundleNotServed']);
    await activator.scan();
    assert.equal(world.reloads, 3);
  });

  it('tells a component after a crash between the writing and the reload, and one whose reload failed', async () => {
    const crashed = setUp();
    await crashed.activator.writing(bundle());
    const next = setUp(crashed.folder);
    next.world.failures = 1;
    await next.activator.declared([bundle()]);
    await next.activator.scan();
    await next.clock.advance(1);
    assert.deepEqual(next.events.reasons(), ['ReloadFailed']);
    await next.activator.scan();
    await next.clock.advance(1);
    assert.equal(next.world.reloads, 2);
    assert.deepEqual(next.folder.files, new Map());
  });

  it('only looks where it has written nothing', async () => {
    const { activator, world, clock } = setUp();
    world.result = 'NotServed';
    await activator.declared([bundle()]);
    await activator.scan();
    await clock.advance(400_000);
    assert.equal(world.reloads, 0);
    assert.equal(activator.served('cluster-ca', 1).served, 'NotServed');
    assert.equal(activator.served('cluster-ca', 2).served, '');
    await activator.declared([]);
    assert.equal(activator.served('cluster-ca', 1).served, '');
  });
});
