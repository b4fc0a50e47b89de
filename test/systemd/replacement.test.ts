import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { type AdminApi, freePort, LocalCoordinator, prepareRunFolder, type RunFolder } from '@evercert/local';
import { ClusterSpec, type Node, type Replacement } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { until } from '../support/live.ts';
import { needTool, repositoryRoot, runOk } from '../support/tools.ts';
import { makeImage, needMachines } from './debian.ts';
import { Inside } from './inside.ts';
import { NspawnFixture } from './nspawn-fixture.ts';
import type { RunningMachine } from './nspawn-machines.ts';

const cluster = 'demo';
const bridge = `evr${process.pid}`;
const hostAddress = '198.18.78.1';
const addresses = { w1: '198.18.78.11', w2: '198.18.78.12' } as const;
type Name = keyof typeof addresses;

/** Every leaf and identity. */
const lifeSeconds = 60;
const policy = {
  provisioner: 'machines',
  mode: 'active',
  graceSeconds: 3,
  maxUnhealthy: '1',
  maxConcurrent: 1,
  maxPerHour: 10,
  drainTimeoutSeconds: 5,
  joinTimeoutSeconds: 120,
  backoffSeconds: 5,
  maxBackoffSeconds: 60,
  maintenanceWindows: [],
};

describe('replacement of machines that boot systemd', function () {
  this.timeout(420_000);
  let openssl: string;
  let fixture: NspawnFixture;
  let folder: RunFolder;
  let coordinator: LocalCoordinator;
  let admin: AdminApi;
  let door: Server;
  const sockets = new Set<Socket>();

  before(async function () {
    this.timeout(900_000);
    needMachines(this);
    openssl = needTool(this, 'openssl');
    fixture = new NspawnFixture();
    await makeImage(fixture.image);
    for (const args of [`link add ${bridge} type bridge`, `address add ${hostAddress}/24 dev ${bridge}`, `link set ${bridge} up`]) {
      await runOk('ip', args.split(' '));
    }
    await startCoordinator();
    for (const name of Object.keys(addresses) as Name[]) await makeFirst(name);
    for (const name of Object.keys(addresses) as Name[]) await untilPhase(name, 'Ready', 90_000);
  });

  after(async function () {
    this.timeout(60_000);
    door?.close();
    // Machines whose network was cut have never closed theirs.
    for (const socket of sockets) socket.destroy();
    await coordinator?.stop();
    const left = await fixture?.reset();
    await runOk('ip', ['link', 'delete', bridge]);
    folder?.release();
    fixture?.dispose();
    assert.deepEqual(left, []);
  });

  async function startCoordinator(): Promise<void> {
    const taken = new Set<number>();
    const port = await freePort(hostAddress, Math.random, taken);
    const webPort = await freePort('127.0.0.1', Math.random, taken);
    folder = prepareRunFolder(undefined, systemClock.nowMs());
    const network = { bridge, subnets: ['198.18.78.0/24'], gateway: hostAddress };
    const config = {
      serverNames: ['localhost', '127.0.0.1', hostAddress],
      advertise: `${hostAddress}:${port}`,
      heartbeatInterval: '2s',
      unreachableAfter: '10s',
      provisioners: { machines: fixture.config({ network, agent: { scanInterval: '5s' } }) },
    };
    const notify = (): undefined => undefined;
    coordinator = new LocalCoordinator({ folder, port, webPort, config, autoRestart: false, clock: systemClock, notify });
    await coordinator.start();
    // The coordinator listens on the loopback alone, as everything in tests; the machines come in by the bridge.
    door = createServer((socket) => {
      const inner = connect(port, '127.0.0.1');
      for (const [one, other] of [
        [socket, inner],
        [inner, socket],
      ] as const) {
        sockets.add(one);
        one.on('close', () => sockets.delete(one));
        one.on('error', () => other.destroy()).pipe(other);
      }
    }).listen(port, hostAddress);
    await once(door, 'listening');
    admin = await coordinator.admin();
    const spec = { leafLifetimeSeconds: lifeSeconds, identityLifetimeSeconds: lifeSeconds, replacement: policy };
    await admin.createCluster(cluster, ClusterSpec.fromPartial({ ...spec, controlPlaneEndpoint: `${hostAddress}:6443` }));
  }

  /** As an operator makes the first machines. */
  async function makeFirst(name: Name): Promise<void> {
    const evercert = [
      join(repositoryRoot, 'cli/bin/evercert'),
      '--config',
      join(coordinator.adminDir, 'config.yaml'),
      '--cluster',
      cluster,
    ];
    const token = ['token', 'create', '--role', 'worker', '--node-name', name, '--address', addresses[name], '--print-agent-config'];
    const agent = await runOk(evercert[0]!, [...evercert.slice(1), ...token]);
    const machine = ['machine', 'create', '--provisioner', 'machines', '--cluster', cluster, '--address', addresses[name]];
    const made = await runOk(
      join(repositoryRoot, 'coordinator/bin/evercert-coordinator'),
      ['--config', coordinator.configPath, ...machine],
      {
        input: agent.stdout,
        timeoutMs: 120_000,
      },
    );
    assert.match(made.stdout, new RegExp(`^machine demo\\.${name} has booted`));
  }

  /** Undefined before it has joined. */
  async function node(name: Name): Promise<Node | undefined> {
    return (await admin.listNodes(cluster)).find((each) => each.name === name);
  }

  async function untilPhase(name: Name, phase: string, timeoutMs: number): Promise<void> {
    let last: Node | undefined;
    const isSo = async (): Promise<boolean> => {
      last = await node(name);
      return last?.status?.phase === phase;
    };
    await until(`${name} to be ${phase}`, timeoutMs, isSo, 250).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${JSON.stringify([last?.status?.phase, last?.status?.message, last?.replacement])}`);
    });
  }

  async function replacementOf(name: Name): Promise<Replacement | undefined> {
    const { replacements } = await admin.call(admin.client.listReplacements, { cluster, id: '', node: name });
    return replacements[0];
  }

  function machine(name: Name): RunningMachine {
    const found = fixture.machines().find((each) => each.name === name);
    assert.ok(found, `there is a machine ${name}`);
    return found;
  }

  /** Breaks one, and follows it until another is in its place. The other machine is to notice nothing. */
  async function isReplaced(name: Name, other: Name, breakIt: (machine: RunningMachine) => Promise<unknown>): Promise<void> {
    const old = { ...machine(name), machineId: machineIdOf(machine(name)) };
    const untouched = machine(other).id;
    await breakIt(old);
    await untilPhase(name, 'Expired', 2 * lifeSeconds * 1000);
    await until(`the replacement of ${name} to be done`, 180_000, async () => (await replacementOf(name))?.state === 'Succeeded', 500);
    await untilPhase(name, 'Ready', 5000);

    const present = machine(name);
    assert.notEqual(present.id, old.id);
    assert.notEqual(machineIdOf(present), old.machineId);
    assert.equal((await replacementOf(name))?.attempt, 1);
    assert.deepEqual(
      fixture
        .machines()
        .map((each) => each.name)
        .sort(),
      ['w1', 'w2'],
    );
    assert.equal(machine(other).id, untouched);
    assert.equal((await node(other))?.status?.phase, 'Ready');
    await assertWell(present);
  }

  /** Its unit is active, and OpenSSL finds every certificate in its files valid by the CA that lies beside them. */
  async function assertWell({ initPid, root }: RunningMachine): Promise<void> {
    const inside = new Inside(initPid);
    assert.equal((await inside.run('systemctl', 'is-active', 'evercert-agent')).trim(), 'active');
    const ca = join(root, 'etc/kubernetes/pki/ca.crt');
    const certificates = certificatesIn(root).filter((path) => path !== ca);
    assert.ok(certificates.length >= 2, certificates.join(', '));
    for (const path of certificates) {
      const { stdout } = await runOk(openssl, ['verify', '-x509_strict', '-CAfile', ca, path]);
      assert.equal(stdout.trim(), `${path}: OK`);
    }
  }

  it('takes the place of a worker whose network is cut', async () => {
    await isReplaced('w1', 'w2', () => runOk('ip', ['link', 'set', 'vb-demo.w1', 'down']));
  });

  it('takes the place of a worker whose agent is masked', async () => {
    await isReplaced('w2', 'w1', ({ initPid }) => new Inside(initPid).run('systemctl', 'mask', '--now', 'evercert-agent'));
  });

  it('leaves machines running when the coordinator stops, and renewing when it is back', async () => {
    const before = fixture.machines().map(({ id }) => id);
    await coordinator.stop();
    assert.deepEqual(
      fixture.machines().map(({ id }) => id),
      before,
    );
    await coordinator.start();
    admin = await coordinator.admin();
    const contents = (): string[] => (['w1', 'w2'] as const).map((name) => readFileSync(firstCertificate(machine(name)), 'utf8'));
    const [first, second] = contents();
    await until('both to have renewed', lifeSeconds * 1000, () => contents()[0] !== first && contents()[1] !== second, 500);
    for (const name of ['w1', 'w2'] as const) {
      await untilPhase(name, 'Ready', 30_000);
      await assertWell(machine(name));
    }
  });

  it('leaves nothing behind', async () => {
    const remove = ['machine', 'remove', '--provisioner', 'machines', '--cluster', cluster];
    for (const name of ['w1', 'w2']) {
      await runOk(join(repositoryRoot, 'coordinator/bin/evercert-coordinator'), [
        '--config',
        coordinator.configPath,
        ...remove,
        '--node',
        name,
      ]);
    }
    assert.deepEqual(fixture.leftovers(), []);
  });
});

function machineIdOf({ root }: RunningMachine): string {
  return readFileSync(join(root, 'etc/machine-id'), 'utf8');
}

function firstCertificate({ root }: RunningMachine): string {
  const [path] = certificatesIn(root).filter((each) => each.endsWith('-current.pem'));
  assert.ok(path, 'there is a certificate of kubelet');
  return path;
}

/** What components read: no folder of versions, none of kubelet's dated files, and nothing that is only a key. */
function certificatesIn(root: string): string[] {
  const folders = ['etc/kubernetes/pki', 'var/lib/kubelet/pki'].map((path) => join(root, path));
  return folders
    .flatMap((folder) => readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)))
    .filter((path) => !path.slice(root.length).includes('/.') && /(?:\.crt|-current\.pem)$/.test(path));
}
