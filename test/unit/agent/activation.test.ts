import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:net';
import { createServer as createTlsServer, type TlsOptions, type Server as TlsServer } from 'node:tls';
import { Activator, createVerifier, type Look, parseVerifyUrl } from '@evercert/agent/activation';
import type { InstalledPair } from '@evercert/agent/files';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { silentLogger } from '@evercert/shared/logging';
import type { ReloadSpec } from '@evercert/shared/manifest';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import { createTestCa, keyAndLeaf } from './pki.ts';
import { desired, EventLog, someKey } from './support.ts';

const command: ReloadSpec = { type: 'command', argv: ['true'], timeoutSeconds: 5 };

function installed(serial: string, lifeMs: number, startMs: number): InstalledPair {
  return {
    name: 'a',
    specHash: 'a-1',
    serial,
    issuedAtMs: startMs,
    notBeforeMs: startMs,
    notAfterMs: startMs + lifeMs,
    installedAtMs: startMs,
    chain: [],
    privateKey: someKey,
  };
}

describe('the activator', () => {
  function setUp(change: Parameters<typeof desired>[1]) {
    const clock = new FakeClock();
    const events = new EventLog();
    const log: string[] = [];
    const world = { looks: [] as Look['result'][], reloadFailures: 0 };
    let shown: string | undefined;
    const activator = new Activator({
      reload: async () => {
        log.push('reload');
        if (world.reloadFailures > 0) {
          world.reloadFailures -= 1;
          throw new EvercertError('ReloadFailed', 'no');
        }
      },
      verify: async () => ({ result: world.looks.length > 1 ? world.looks.shift()! : (world.looks[0] ?? 'Served'), message: 'seen' }),
      clock,
      random: () => 0.5,
      logger: silentLogger,
      events,
      setServed: (_name, serial, served) => log.push(`${serial} ${served}`),
      setError: (_name, error) => {
        const news = shown !== error?.message;
        shown = error?.message;
        return news;
      },
      setActivated: (_name, serial) => log.push(`${serial} activated`),
    });
    const pair = (serial: string, lifeMs = 96 * 3_600_000): InstalledPair => installed(serial, lifeMs, clock.nowMs());
    return { clock, events, log, world, activator, certificate: desired('a', change), pair, error: () => shown };
  }

  it('reloads, then looks until the component serves the certificate', async () => {
    const { clock, log, world, activator, certificate, pair } = setUp({ reload: command, verify: 'tls://127.0.0.1:1' });
    world.looks = ['Unreachable', 'NotServed', 'Served'];
    activator.activate(certificate, pair('s1'));
    await clock.advance(60_000);
    assert.deepEqual(log, ['reload', 's1 activated', 's1 Served']);
    await activator.stop();
  });

  it('does neither without a reload and a place to look', async () => {
    const { clock, log, activator, certificate, pair } = setUp({});
    activator.activate(certificate, pair('s1'));
    await clock.advance(1000);
    assert.deepEqual(log, ['s1 activated']);
  });

  it('repeats a failed reload until it succeeds, and reports the failure once', async () => {
    const { clock, events, log, world, activator, certificate, pair, error } = setUp({ reload: command });
    world.reloadFailures = 4;
    activator.activate(certificate, pair('s1'));
    await clock.advance(0);
    assert.equal(error(), 'no');
    await clock.advance(60_000);
    assert.deepEqual(log, [...Array<string>(5).fill('reload'), 's1 activated']);
    assert.deepEqual(events.reasons(), ['ReloadFailed']);
    assert.equal(error(), undefined);
  });

  it('reloads three times more when another certificate is served, then reports it', async () => {
    const { clock, events, log, world, activator, certificate, pair, error } = setUp({ reload: command, verify: 'tls://127.0.0.1:1' });
    world.looks = ['NotServed'];
    activator.activate(certificate, pair('s1'));
    await clock.advance(10 * 60_000);
    assert.equal(log.filter((line) => line === 'reload').length, 4);
    assert.equal(log.at(-1), 's1 NotServed');
    assert.deepEqual(events.reasons(), ['NotServed']);
    assert.equal(error(), 'seen');
    assert.equal(clock.pending, 0);
  });

  it('does not reload a component that cannot be reached, and sees it when it comes up', async () => {
    const { clock, events, log, world, activator, certificate, pair } = setUp({ reload: command, verify: 'tls://127.0.0.1:1' });
    world.looks = ['Unreachable'];
    activator.activate(certificate, pair('s1'));
    await clock.advance(10 * 60_000);
    assert.equal(log.filter((line) => line === 'reload').length, 1);
    assert.deepEqual(events.reasons(), ['Unreachable']);
    world.looks = ['Served'];
    await activator.glance(certificate, pair('s1'));
    assert.equal(log.at(-1), 's1 Served');
  });

  it('gives an older pair up when a newer one is installed', async () => {
    const { clock, log, world, activator, certificate, pair } = setUp({ reload: command, verify: 'tls://127.0.0.1:1' });
    world.looks = ['NotServed'];
    activator.activate(certificate, pair('s1'));
    await clock.advance(1000);
    world.looks = ['Served'];
    activator.activate(certificate, pair('s2'));
    await clock.advance(10 * 60_000);
    assert.deepEqual(log, ['reload', 's1 activated', 'reload', 's2 activated', 's2 Served']);
  });

  it('looks no longer than a quarter of a short life', async () => {
    const { clock, log, world, activator, certificate, pair } = setUp({ verify: 'tls://127.0.0.1:1' });
    world.looks = ['NotServed'];
    activator.activate(certificate, pair('s1', 40_000));
    await clock.advance(10_000);
    assert.equal(log.at(-1), 's1 NotServed');
    await activator.stop();
  });
});

describe('the look at a component', () => {
  const servers: (Server | TlsServer)[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  });

  async function listen(server: Server | TlsServer): Promise<string> {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return `tls://127.0.0.1:${(server.address() as { port: number }).port}`;
  }

  async function setUp(options: TlsOptions = {}) {
    const nowMs = systemClock.nowMs();
    const ca = await createTestCa(nowMs);
    const make = async (): Promise<InstalledPair> => {
      const { privateKey, leaf } = await keyAndLeaf(ca, nowMs);
      return { ...installed('s', 3_600_000, nowMs), chain: [leaf], privateKey };
    };
    const pair = await make();
    const serve = (served: InstalledPair): Promise<string> =>
      listen(
        createTlsServer(
          { cert: certificatesToPem(served.chain), key: privateKeyToPem(served.privateKey), ca: certificatesToPem([ca.der]), ...options },
          (socket) => socket.on('error', () => {}),
        ),
      );
    return { pair, make, serve, look: createVerifier({ clock: systemClock }) };
  }

  it('sees that the certificate is served', async () => {
    const { pair, serve, look } = await setUp();
    assert.deepEqual(await look(await serve(pair), pair), { result: 'Served', message: '' });
  });

  it('presents the pair where a client certificate is demanded', async () => {
    const { pair, serve, look } = await setUp({ requestCert: true, rejectUnauthorized: true, maxVersion: 'TLSv1.2' });
    assert.equal((await look(await serve(pair), pair)).result, 'Served');
  });

  it('sees that another certificate is served', async () => {
    const { pair, make, serve, look } = await setUp();
    assert.equal((await look(await serve(await make()), pair)).result, 'NotServed');
  });

  it('says what stands in the way of a look', async () => {
    const { pair, look } = await setUp();
    const closing = await listen(createServer((socket) => socket.destroy()));
    assert.equal((await look(closing, pair)).result, 'Unreachable');
    assert.match((await look('tls://127.0.0.1:1', pair)).message, /127\.0\.0\.1:1 cannot be looked at: .*ECONNREFUSED/);
    assert.match((await look('http://127.0.0.1', pair)).message, /tls:\/\/HOST:PORT was expected/);
  });

  const urls: [string, unknown][] = [
    ['tls://127.0.0.1:2379', { host: '127.0.0.1', port: 2379 }],
    ['tls://[::1]:443', { host: '::1', port: 443 }],
    ['tls://node-1.example:6443', { host: 'node-1.example', port: 6443 }],
    ['tls://node:0', undefined],
    ['tls://node:65536', undefined],
    ['tls://node', undefined],
    ['tls://a/b:1', undefined],
  ];
  for (const [url, expected] of urls)
    it(`reads ${url} as ${JSON.stringify(expected)}`, () => assert.deepEqual(parseVerifyUrl(url), expected));
});
