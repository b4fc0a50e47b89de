import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { InstalledPair } from '@evercert/agent/files';
import { createProbe, HealthChecker, judge, type ProbeAnswer } from '@evercert/agent/health';
import { FakeClock, systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import { createTestCa, keyAndLeaf, type TestCa } from './pki.ts';

describe("the judgement of etcd's health", () => {
  const cases: [number, string, ProbeAnswer['state']][] = [
    [200, '{"health":"true"}', 'Healthy'],
    [200, '{"health":"true","reason":""}', 'Healthy'],
    [200, '{"health":"false"}', 'Unhealthy'],
    [200, '{"health":"false","reason":"NO LEADER"}', 'Unhealthy'],
    [503, '{"health":"false"}', 'Unhealthy'],
    [200, 'ok', 'Healthy'],
    [404, '', 'Unhealthy'],
  ];
  for (const [status, body, state] of cases)
    it(`takes ${status} ${body} for ${state}`, () => assert.equal(judge(status, body).state, state));
});

describe('the probe of a health endpoint', () => {
  let ca: TestCa;
  let pair: InstalledPair;
  let server: Server;
  let url: string;

  before(async () => {
    const nowMs = systemClock.nowMs();
    ca = await createTestCa(nowMs);
    const { leaf, privateKey } = await keyAndLeaf(ca, nowMs);
    const meta = { specHash: '', serial: '', issuedAtMs: nowMs, notBeforeMs: nowMs, notAfterMs: nowMs + 60_000, installedAtMs: nowMs };
    pair = { ...meta, name: 'etcd-healthcheck-client', chain: [leaf], privateKey };
    const tls = { cert: certificatesToPem([leaf]), key: privateKeyToPem(privateKey), ca: certificatesToPem([ca.der]), requestCert: true };
    server = createServer(tls, (_, response) => response.end('{"health":"true"}'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/health`;
  });
  after(() => server.close());

  for (const bad of ['garbage', 'http://127.0.0.1:1/', 'https://127.0.0.1:99999/', 'file:///etc/passwd', '']) {
    it(`finds ${JSON.stringify(bad)} unreachable, and does not throw`, async () => {
      const probe = createProbe({ clock: systemClock });
      assert.equal((await probe({ url: bad, trustAnchors: [ca.der], pair })).state, 'Unreachable');
    });
  }

  it('shows its certificate and believes the server that its anchors vouch for', async () => {
    assert.deepEqual(await createProbe({ clock: systemClock })({ url, trustAnchors: [ca.der], pair }), { state: 'Healthy', message: '' });
  });

  it('believes no other server', async () => {
    const other = await createTestCa(systemClock.nowMs(), 'other');
    assert.equal((await createProbe({ clock: systemClock })({ url, trustAnchors: [other.der], pair })).state, 'Unreachable');
  });

  it('tells of a port on which nobody listens', async () => {
    const answer = await createProbe({ clock: systemClock })({ url: 'https://127.0.0.1:1/health', trustAnchors: [ca.der], pair });
    assert.equal(answer.state, 'Unreachable');
    assert.match(answer.message, /ECONNREFUSED/);
  });
});

describe('the health checker', () => {
  function setUp() {
    const clock = new FakeClock();
    const world = { answer: { state: 'Healthy', message: '' } as ProbeAnswer, asked: 0, changes: 0, pair: {} as InstalledPair | undefined };
    const checker = new HealthChecker({
      probe: async () => {
        world.asked += 1;
        return world.answer;
      },
      pairOf: () => world.pair,
      clock,
      logger: silentLogger,
      onChange: () => (world.changes += 1),
    });
    const check = {
      component: 'etcd',
      url: 'https://127.0.0.1:2379/health',
      clientCertificate: 'c',
      issuer: 'cluster-ca',
      trustAnchors: [],
    };
    return { clock, world, checker, check };
  }

  it('looks every few seconds while connected, and not else', async () => {
    const { clock, world, checker, check } = setUp();
    checker.apply([check]);
    await clock.advance(10_000);
    assert.equal(world.asked, 0);
    checker.setConnected(true);
    await clock.advance(9000);
    assert.ok(world.asked >= 3 && world.asked <= 5, `${world.asked} looks`);
    checker.setConnected(false);
    const before = world.asked;
    await clock.advance(10_000);
    assert.ok(world.asked <= before + 1);
  });

  it('tells a change at once, and now and then that all is as before', async () => {
    const { clock, world, checker, check } = setUp();
    checker.setConnected(true);
    checker.apply([check]);
    await clock.advance(0);
    assert.equal(world.changes, 1);
    world.answer = { state: 'Unhealthy', message: 'no leader' };
    await clock.advance(3000);
    assert.equal(world.changes, 2);
    assert.deepEqual(
      checker.snapshots().map(({ name, state, message }) => [name, state, message]),
      [['etcd', 'Unhealthy', 'no leader']],
    );
    await clock.advance(20_000);
    assert.ok(world.changes >= 5 && world.changes <= 7, `${world.changes} changes`);
  });

  it('says so while it has nothing to ask with, and forgets what is declared no more', async () => {
    const { clock, world, checker, check } = setUp();
    world.pair = undefined;
    checker.setConnected(true);
    checker.apply([check]);
    await clock.advance(0);
    assert.equal(checker.snapshots()[0]?.state, 'Unreachable');
    assert.equal(world.asked, 0);
    checker.apply([]);
    assert.deepEqual(checker.snapshots(), []);
    await checker.stop();
  });
});
