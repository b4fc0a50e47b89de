/** An agent with real files, against a whole coordinator in this process. */
import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, stat, truncate, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { type AgentStatus, allReady, fetchStatus } from '@evercert/agent/status';
import { ClusterSpec, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { unary } from '@evercert/shared/grpc';
import { type Logger, silentLogger } from '@evercert/shared/logging';
import { certificatesFromPem, pairMatches, privateKeyFromPem, publicKeyPin } from '@evercert/shared/x509';
import { createToken, deadline, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';

const cluster = 'demo';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function within<T>(ms: number, what: string, look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    if (performance.now() > end) assert.fail(`not within ${ms} ms: ${what}`);
    await systemClock.sleep(50);
  }
}

describe('an agent with a coordinator', () => {
  let folder: string;
  let coordinator: TestCoordinator;
  let listen: string;
  const warnings: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: (message, fields) => void warnings.push(`${message} ${fields?.error ?? ''}`),
    child: () => logger,
  };
  let running: { abort: AbortController; ended: Promise<void> } | undefined;

  before(async () => {
    listen = `127.0.0.1:${await freePort()}`;
    coordinator = await startTestCoordinator({ config: { listen } });
  });
  after(() => coordinator.dispose());
  beforeEach(async () => {
    warnings.length = 0;
    folder = await mkdtemp(join(tmpdir(), 'evercert-agent-'));
  });
  afterEach(async () => {
    await stop();
    await rm(folder, { recursive: true });
  });

  const socket = (): string => join(folder, 'status.sock');
  const root = (path: string): string => join(folder, 'root', path);

  async function newCluster(name: string, leafLifetimeSeconds: number, identityLifetimeSeconds: number): Promise<void> {
    const spec = ClusterSpec.fromPartial({ nodeAddressRanges: ['127.0.0.0/8'], leafLifetimeSeconds, identityLifetimeSeconds });
    await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name, spec }, deadline);
  }

  function start(nodeName: string): void {
    const config = agentConfigSchema.parse({
      coordinator: { endpoints: ['127.0.0.1:1', listen], caPins: [publicKeyPin(coordinator.anchors[0]!)] },
      node: { name: nodeName, addresses: ['127.0.0.1'] },
      tokenFile: join(folder, 'token'),
      stateDir: join(folder, 'state'),
      rootDir: join(folder, 'root'),
      statusSocket: socket(),
      scanInterval: '2s',
    });
    const abort = new AbortController();
    const options = { config, clock: systemClock, random: Math.random, logger, env: process.env, pid: process.pid };
    const agent = new Agent({ ...options, onReady: () => {}, onStatus: () => {} });
    running = { abort, ended: agent.run(abort.signal) };
  }

  async function stop(): Promise<void> {
    running?.abort.abort();
    await running?.ended;
    running = undefined;
  }

  async function status(): Promise<AgentStatus | undefined> {
    try {
      return await fetchStatus(socket());
    } catch {
      // The agent is still starting.
      return undefined;
    }
  }

  const when = (what: string, ms: number, condition: (status: AgentStatus) => boolean): Promise<AgentStatus> =>
    within(ms, what, async () => {
      const seen = await status();
      return seen && condition(seen) ? seen : undefined;
    });

  async function joinCluster(name: string, role: Role, cluster = 'demo'): Promise<void> {
    const token = await createToken(coordinator, cluster, { role, nodeName: name });
    await writeFile(join(folder, 'token'), `${token}\n`);
    start(name);
    await when('all ready', 15_000, (seen) => seen.certificates.length > 0 && allReady(seen));
  }

  it('joins, holds what its role needs, and renews leaves and its identity without a gap', async () => {
    await newCluster(cluster, 12, 12);
    await joinCluster('cp-1', Role.CONTROL_PLANE);
    const first = await when('connected', 1000, ({ connection }) => connection.state === 'Connected');
    assert.ok(first.certificates.length >= 10);
    const certificate = certificatesFromPem(await readFile(root('/etc/kubernetes/pki/apiserver.crt')));
    assert.ok(pairMatches(certificate[0]!, privateKeyFromPem(await readFile(root('/etc/kubernetes/pki/apiserver.key')))));
    assert.equal((await stat(root('/etc/kubernetes/pki/sa.key'))).mode & 0o777, 0o600);
    const serials = new Map(first.certificates.map(({ name, serial }) => [name, serial]));
    const later = await when(
      'all renewed',
      15_000,
      ({ certificates, identity }) =>
        certificates.every(({ name, serial }) => serial !== serials.get(name)) && identity.serial !== first.identity.serial,
    );
    assert.ok(
      later.certificates.every(({ lapses, failures }) => lapses === 0 && failures === 0),
      warnings.join('\n'),
    );
    // The identity was renewed by a new connection, before the old one was given up.
    assert.equal(later.connection.since, first.connection.since);
    assert.equal(later.connection.state, 'Connected');
  });

  it('puts damaged files right within five seconds, with an event each at the coordinator', async () => {
    await joinCluster('worker-1', Role.WORKER);
    const path = root('/etc/kubernetes/pki/ca.crt');
    const good = await readFile(path);
    const damages: [string, () => Promise<void>][] = [
      ['deleted', () => unlink(path)],
      ['truncated', () => truncate(path, 10)],
      ['foreign', () => writeFile(path, 'something else')],
      ['with a wrong mode', () => chmod(path, 0o600)],
    ];
    for (const [what, damage] of damages) {
      await damage();
      await within(5000, `${what} file is right again`, async () => {
        const [content, info] = await Promise.all([readFile(path).catch(() => undefined), stat(path).catch(() => undefined)]);
        return content?.equals(good) && info && (info.mode & 0o777) === 0o644 ? true : undefined;
      });
    }
    await within(3000, 'events at the coordinator', async () => {
      const request = { cluster, node: 'worker-1', certificate: '', reason: '', pageSize: 200, pageToken: '', renewalLog: false };
      const { events } = await unary(coordinator.admin.listEvents.bind(coordinator.admin), request, deadline);
      return events.filter(({ reason, message }) => reason.startsWith('File') && message.includes('ca.crt')).length >= 4 ? true : undefined;
    });
  });

  it('starts and restores files without the coordinator, and renews all when it is back', async () => {
    await joinCluster('worker-2', Role.WORKER);
    await stop();
    await coordinator.stop();
    start('worker-2');
    await when('loaded from the cache', 5000, ({ certificates }) => certificates.length > 0);
    const path = root('/etc/kubernetes/pki/ca.crt');
    await unlink(path);
    await within(5000, 'file is back', () => stat(path).catch(() => undefined));
    await when('renewals fail', 12_000, ({ certificates }) => certificates.every(({ state }) => state === 'RenewalFailing'));
    coordinator = await startTestCoordinator({ dataDir: coordinator.dataDir, config: { listen } });
    const healed = await when('all ready again', 6000, allReady);
    assert.ok(healed.certificates.every(({ lapses }) => lapses === 0));
  });

  it('renews at once when an administrator asks for it', async () => {
    await newCluster('calm', 3600, 3600);
    await joinCluster('worker-3', Role.WORKER, 'calm');
    const before = (await status())?.certificates.map(({ serial }) => serial) ?? [];
    const request = { cluster: 'calm', node: 'worker-3', certificates: [] };
    await unary(coordinator.admin.renewCertificates.bind(coordinator.admin), request, deadline);
    await when('all renewed', 5000, (seen) => allReady(seen) && seen.certificates.every(({ serial }) => !before.includes(serial)));
  });

  it('says so when its identity has expired, keeps its files, and re-joins by a new token alone', async () => {
    await newCluster('brief', 3600, 10);
    await joinCluster('worker-4', Role.WORKER, 'brief');
    await stop();
    await systemClock.sleep(10_500);
    start('worker-4');
    const expired = await when('expired', 5000, (seen) => seen.identity.state === 'IdentityExpired' && seen.identity.code !== '');
    assert.match(expired.identity.message, /evercert repair brief --node worker-4.*make a token for this node/);
    assert.ok(expired.certificates.every(({ state }) => state === 'Ready'));
    await writeFile(join(folder, 'token'), await createToken(coordinator, 'brief', { role: Role.WORKER, nodeName: 'worker-4' }));
    await when('ready again', 10_000, (seen) => allReady(seen) && seen.connection.state === 'Connected');
  });
});
