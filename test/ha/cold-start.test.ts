import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type EventRecord, layout } from '@evercert/coordinator';
import { openEtcdStore } from '@evercert/coordinator/store';
import { type EtcdEndpoint, etcdArguments, etcdClientFiles, freePort, memberHealth, SupervisedProcess, waitUntil } from '@evercert/local';
import { ClusterSpec } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import {
  certificatesFromPem,
  certificatesToPem,
  pairMatches,
  parseCertificate,
  privateKeyFromPem,
  privateKeyToPem,
} from '@evercert/shared/x509';
import type { TestNode } from '../support/coordinator.ts';
import { type IssuedPair, type RevocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const names = ['cp-1', 'cp-2', 'cp-3'];
const files = { 'etcd-peer': 'etcd/peer', 'etcd-server': 'etcd/server', 'apiserver-etcd-client': 'apiserver-etcd-client' };
const lifeSeconds = 75;
const program = join(repositoryRoot, 'coordinator', 'src', 'main.ts');

/** The etcd that holds the coordinator's state serves with certificates that the coordinator issued: once all have expired, neither can start without the other. */
describe('a cold start of coordinators and etcd when every certificate has expired', function () {
  this.timeout(300_000);
  const folder = mkdtempSync(join(tmpdir(), 'evercert-cold-'));
  const endpoints: EtcdEndpoint[] = [];
  const members = new Map<string, SupervisedProcess>();
  const nodes = new Map<string, TestNode>();
  let cluster: RevocableCluster;
  let coordinator: SupervisedProcess;
  let configFile: string;
  let keys: Map<string, string>;

  const pkiDir = (name: string): string => join(folder, name, 'pki');
  const certificateFile = (name: string, certificate: keyof typeof files): string => join(pkiDir(name), `${files[certificate]}.crt`);
  const log = join(folder, 'coordinator.log');

  function put(path: string, content: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(`${path}.new`, content, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  function write(name: string, certificate: keyof typeof files, pair: IssuedPair): void {
    put(certificateFile(name, certificate), certificatesToPem([pair.certificate]));
    put(join(pkiDir(name), `${files[certificate]}.key`), privateKeyToPem(pair.privateKey));
  }

  const healthy = async (name: string): Promise<boolean> => {
    const { address, clientPort } = endpoints.find((each) => each.name === name)!;
    return (await memberHealth({ target: `${address}:${clientPort}`, files: etcdClientFiles(pkiDir(name), 'founding') }, systemClock))
      .healthy;
  };
  const untilHealthy = (): Promise<void> =>
    waitUntil(systemClock, async () => (await Promise.all(names.map(healthy))).every(Boolean), {
      timeoutMs: 40_000,
      what: 'etcd to be healthy',
    });

  const command = (args: string[]): Promise<RunResult> => run(process.execPath, [program, '--config', configFile, ...args]);

  async function serving(): Promise<void> {
    const told = (): string => readFileSync(log, 'utf8');
    const ended = (): boolean => !coordinator.running || told().includes('"message":"serving"');
    await waitUntil(systemClock, ended, { timeoutMs: 60_000, what: 'the coordinator to serve' }).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${told()}`);
    });
    assert.ok(coordinator.running, told());
  }

  async function startCoordinator(): Promise<void> {
    rmSync(log, { force: true });
    const spec = {
      name: 'coordinator',
      command: process.execPath,
      args: [program, '--config', configFile],
      cwd: folder,
      logPath: log,
      graceMs: 10_000,
      autoRestart: false,
    };
    coordinator = new SupervisedProcess(spec, systemClock, () => undefined);
    await coordinator.start();
  }

  before(async function () {
    const etcd = needTool(this, 'etcd');
    const taken = new Set<number>();
    const port = await freePort('127.0.0.1', Math.random, taken);
    cluster = await startRevocableCluster({ listen: `127.0.0.1:${port}` }, ClusterSpec.fromPartial({ leafLifetimeSeconds: lifeSeconds }));
    for (const [index, name] of names.entries()) {
      const address = `127.0.0.${31 + index}`;
      const ports = { clientPort: await freePort(address, Math.random, taken), peerPort: await freePort(address, Math.random, taken) };
      endpoints.push({ name, address, ...ports });
      nodes.set(name, await cluster.join(name, address));
      for (const [path, ca] of [
        ['ca.crt', 'cluster-ca'],
        ['etcd/ca.crt', 'etcd-ca'],
      ] as const) {
        const response = await fetch(`${cluster.url}/ca/demo/${ca}.crt`);
        put(join(pkiDir(name), path), certificatesToPem([Buffer.from(await response.arrayBuffer())]));
      }
      for (const certificate of Object.keys(files) as (keyof typeof files)[])
        write(name, certificate, await cluster.issue(nodes.get(name)!, certificate));
    }
    for (const name of names) {
      const dataDir = join(folder, name, 'data');
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      const endpoint = endpoints.find((each) => each.name === name)!;
      const args = etcdArguments({ endpoint, members: endpoints, pkiDir: pkiDir(name), dataDir, clusterToken: 'cold' });
      const spec = { name, command: etcd, args, cwd: folder, logPath: join(folder, `${name}.log`), graceMs: 5000, autoRestart: false };
      members.set(name, new SupervisedProcess(spec, systemClock, () => undefined));
    }
    await Promise.all([...members.values()].map((member) => member.start()));
    await untilHealthy();
    await cluster.coordinator.stop();

    const { dataDir } = cluster.coordinator;
    const common = { dataDir, listen: `127.0.0.1:${port}`, web: { enabled: false }, serverNames: ['localhost', '127.0.0.1'] };
    const old = join(folder, 'sqlite.yaml');
    writeFileSync(old, JSON.stringify(common));
    configFile = join(folder, 'etcd.yaml');
    const pki = pkiDir('cp-1');
    const store = {
      etcd: {
        endpoints: endpoints.map(({ address, clientPort }) => `${address}:${clientPort}`),
        caFile: join(pki, 'ca.crt'),
        certFile: join(pki, 'apiserver-etcd-client.crt'),
        keyFile: join(pki, 'apiserver-etcd-client.key'),
        requestTimeout: '1s',
      },
    };
    writeFileSync(configFile, JSON.stringify({ ...common, store, caKeys: { file: { shared: true } } }));
    const migrated = await command(['store', 'migrate', '--from', old, '--to', configFile]);
    assert.equal(migrated.status, 0, `${migrated.stdout}${migrated.stderr}`);
    await startCoordinator();
    await serving();
  });

  after(async () => {
    await coordinator?.kill();
    for (const member of members.values()) await member.kill();
    for (const node of nodes.values()) node.client.close();
    rmSync(folder, { recursive: true, force: true });
    if (cluster) rmSync(cluster.coordinator.dataDir, { recursive: true, force: true });
  });

  it('keeps a last known state beside the store that it shares', async () => {
    const file = join(cluster.coordinator.dataDir, 'last-known-state.json');
    await waitUntil(systemClock, () => existsSync(file), { timeoutMs: 20_000, what: file });
    const { entries } = JSON.parse(readFileSync(file, 'utf8')) as { entries: { key: string }[] };
    for (const key of [layout.authority('demo', 'etcd-ca'), ...names.map((name) => layout.current('demo', name, 'etcd-peer'))]) {
      assert.ok(
        entries.some((entry) => entry.key === key),
        `${key} is missing`,
      );
    }
  });

  it('cannot go on by itself once everything has expired, and says why', async () => {
    await coordinator.kill();
    const ends = names.flatMap((name) =>
      Object.keys(files).map((certificate) => notAfterMs(certificateFile(name, certificate as keyof typeof files))),
    );
    await systemClock.sleep(Math.max(0, Math.max(...ends) - systemClock.nowMs() + 1000));
    for (const member of members.values()) await member.kill();
    for (const member of members.values()) await member.start();
    await systemClock.sleep(3000);
    assert.deepEqual(await Promise.all(names.map(healthy)), [false, false, false]);
    const failed = await command([]);
    assert.equal(failed.status, 7, failed.stderr);
    assert.match(
      failed.stderr,
      /etcd at .*(?:waits for a quorum|certificate has expired).*'When all certificates have expired' in docs\/store\.md/,
    );
  });

  it('signs certificates without the store, for the keys that the nodes have, and for nobody else', async () => {
    keys = new Map(names.map((name) => [name, readFileSync(join(pkiDir(name), 'etcd/peer.key'), 'utf8')]));
    for (const name of names) {
      const out = join(folder, `emergency-${name}`);
      const { status, stdout, stderr } = await command([
        'emergency-certificates',
        '--cluster',
        'demo',
        '--node',
        name,
        '--out',
        out,
        '--lifetime',
        '1h',
      ]);
      assert.equal(status, 0, `${stdout}${stderr}`);
      assert.match(stdout, /etcd-server: \/etc\/kubernetes\/pki\/etcd\/server\.crt until /);
      assert.deepEqual(
        readdirSync(out, { recursive: true }).filter((path) => String(path).endsWith('.key')),
        [],
      );
      const [leaf] = certificatesFromPem(readFileSync(join(out, 'etc/kubernetes/pki/etcd/peer.crt')));
      assert.ok(pairMatches(leaf!, privateKeyFromPem(keys.get(name)!)));
      // As its help says.
      cpSync(join(out, 'etc/kubernetes/pki'), pkiDir(name), { recursive: true, force: true });
    }
    const stranger = await command(['emergency-certificates', '--cluster', 'demo', '--node', 'cp-9', '--out', join(folder, 'x')]);
    assert.equal(stranger.status, 4);
    assert.match(stranger.stderr, /known control-plane nodes: demo\/cp-1, demo\/cp-2, demo\/cp-3/);
  });

  it('comes up with them, and tells the store of what was signed', async () => {
    await untilHealthy();
    await startCoordinator();
    await serving();
    const pki = pkiDir('cp-1');
    const store = await openEtcdStore({
      endpoints: endpoints.map(({ address, clientPort }) => `${address}:${clientPort}`),
      files: {
        caFile: join(pki, 'ca.crt'),
        certFile: join(pki, 'apiserver-etcd-client.crt'),
        keyFile: join(pki, 'apiserver-etcd-client.key'),
      },
      clock: systemClock,
      logger: silentLogger,
    });
    try {
      const { serial } = parseCertificate(certificatesFromPem(readFileSync(certificateFile('cp-2', 'etcd-server')))[0]!);
      assert.ok(await store.get(layout.certificate('demo', serial)));
      const events = (await store.range({ prefix: layout.eventsOf('demo') })).entries.map(
        ({ value }) => JSON.parse(Buffer.from(value).toString()) as EventRecord,
      );
      assert.ok(events.some((event) => event.serial === serial && /in an emergency/.test(event.message)));
    } finally {
      await store.close();
    }
    assert.deepEqual(readdirSync(join(cluster.coordinator.dataDir, 'emergency')), []);
  });

  it('renews as ever from then on', async () => {
    for (const name of names) write(name, 'etcd-server', await cluster.issue(nodes.get(name)!, 'etcd-server'));
    await untilHealthy();
    assert.ok(notAfterMs(certificateFile('cp-3', 'etcd-server')) < systemClock.nowMs() + lifeSeconds * 1000 + 1000);
  });

  function notAfterMs(path: string): number {
    return parseCertificate(certificatesFromPem(readFileSync(path))[0]!).notAfter.getTime();
  }
});
