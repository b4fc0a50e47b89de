/** Agents as processes of their own, awake and asleep while the control CA is rotated. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { AdminServiceClient, ClusterSpec, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { certificatesFromPem, privateKeyFromPem, publicKeyPin } from '@evercert/shared/x509';
import { createToken, deadline, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { repositoryRoot, run } from '../support/tools.ts';

const program = join(repositoryRoot, 'agent', 'bin', 'evercert-agent');

/** One node's agent, with folders that outlive its processes. */
class AgentProcess {
  readonly #folder: string;
  readonly #config: string;
  #child: ChildProcess | undefined;

  constructor(folder: string) {
    this.#folder = folder;
    this.#config = join(folder, 'agent.yaml');
  }

  async configure(name: string, address: string, coordinator: { endpoint: string; pin: string; token: string }): Promise<void> {
    const config = {
      coordinator: { endpoints: [coordinator.endpoint], caPins: [coordinator.pin] },
      node: { name, addresses: [address] },
      token: coordinator.token,
      tokenFile: join(this.#folder, 'token'),
      stateDir: join(this.#folder, 'state'),
      rootDir: join(this.#folder, 'root'),
      statusSocket: this.#socket,
      scanInterval: '1s',
    };
    await writeFile(this.#config, JSON.stringify(config));
  }

  get #socket(): string {
    return join(this.#folder, 's.sock');
  }

  start(): void {
    this.#child = spawn(program, ['--config', this.#config], { stdio: 'ignore' });
  }

  /** As by a power cut. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  status(): Promise<AgentStatus | undefined> {
    return fetchStatus(this.#socket).catch(() => undefined);
  }

  async until(what: string, condition: (status: AgentStatus) => boolean, ms = 30_000): Promise<AgentStatus> {
    const end = performance.now() + ms;
    for (let last: AgentStatus | undefined; ; ) {
      last = (await this.status()) ?? last;
      if (last && condition(last)) return last;
      if (performance.now() > end)
        assert.fail(`never: ${what}; ${JSON.stringify(last && [last.identity, last.connection, last.controlTrust])}`);
      await systemClock.sleep(50);
    }
  }

  recover(...args: string[]): ReturnType<typeof run> {
    return run(program, ['recover', '--config', this.#config, ...args], { timeoutMs: 90_000 });
  }
}

describe('agents while the control CA is rotated', function () {
  this.timeout(120_000);
  let coordinator: TestCoordinator;
  let folder: string;
  const agents: AgentProcess[] = [];
  let made = 0;
  let firstPin: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'evercert-agents-'));
    coordinator = await startTestCoordinator({
      config: { rotation: { awayAfter: '1s', checkEvery: '1s' }, heartbeatInterval: '1s', adminCertificateLifetime: '600s' },
    });
    firstPin = publicKeyPin(coordinator.anchors[0] as Buffer);
    await newCluster('lasting', { identityLifetimeSeconds: 3600 });
    await newCluster('brief', { identityLifetimeSeconds: 12, workerRecovery: 'automatic' });
  });
  after(async () => {
    for (const agent of agents) await agent.kill();
    await coordinator.dispose();
    await rm(folder, { recursive: true });
  });

  async function newCluster(name: string, change: Parameters<typeof ClusterSpec.fromPartial>[0]): Promise<void> {
    const spec = ClusterSpec.fromPartial({ nodeAddressRanges: ['127.0.0.0/8'], leafLifetimeSeconds: 3600, ...change });
    await unary(coordinator.admin.createCluster.bind(coordinator.admin), { name, spec }, deadline);
  }

  /** The local credential as it is now. */
  async function asAdmin<T>(call: (admin: AdminServiceClient) => Promise<T>): Promise<T> {
    const read = (name: string): Promise<Buffer> => readFile(join(coordinator.dataDir, 'admin', name));
    const [ca, chain, key] = [await read('ca.crt'), await read('admin.crt'), await read('admin.key')];
    const identity = { trustAnchors: certificatesFromPem(ca), chain: certificatesFromPem(chain), privateKey: privateKeyFromPem(key) };
    const admin = new AdminServiceClient(coordinator.address, createClientCredentials(identity), { 'grpc.use_local_subchannel_pool': 1 });
    try {
      return await call(admin);
    } finally {
      admin.close();
    }
  }

  const presentPin = (): Promise<string> => asAdmin(async (admin) => (await unary(admin.getServerInfo.bind(admin), {}, deadline)).caPin);

  async function joined(cluster: string): Promise<AgentProcess> {
    const agent = await newAgent(cluster, await presentPin());
    await agent.until('connected', ({ connection }) => connection.state === 'Connected');
    return agent;
  }

  async function newAgent(cluster: string, pin: string): Promise<AgentProcess> {
    const number = ++made;
    const agent = new AgentProcess(await mkdtemp(join(folder, `${number}-`)));
    agents.push(agent);
    const name = `worker-${number}`;
    const token = await asAdmin((admin) => createToken({ ...coordinator, admin }, cluster, { role: Role.WORKER, nodeName: name }));
    await agent.configure(name, `127.0.1.${number}`, { endpoint: coordinator.address, pin, token });
    agent.start();
    return agent;
  }

  /** A whole rotation by the coordinator's own machine. */
  async function rotate(reason: 'requested' | 'compromise' = 'requested'): Promise<void> {
    const request = {
      cluster: '',
      certificateAuthorities: ['control-ca'],
      reason,
      note: '',
      keyAlgorithm: '',
      intermediate: false,
      // Credentials of admins elsewhere, of which nobody keeps a list, are given up then.
      deadline: { seconds: 3, nanos: 0 },
      dryRun: false,
    };
    const { rotations } = await asAdmin((admin) => unary(admin.rotateCertificateAuthority.bind(admin), request, deadline));
    const id = rotations[0]?.id ?? '';
    const end = performance.now() + 45_000;
    for (let last = ''; last !== 'Completed'; ) {
      if (performance.now() > end) assert.fail(`the rotation is still ${last}`);
      await systemClock.sleep(100);
      const list = { cluster: '', id, all: true };
      const found = await asAdmin((admin) => unary(admin.listCertificateAuthorityRotations.bind(admin), list, deadline)).catch(
        () => undefined,
      );
      const [now] = found?.rotations ?? [];
      if (now) last = `${now.stage}${now.stage === 'Completed' ? '' : ` (${now.waitingFor} ${now.lastError})`}`;
    }
  }

  const back = (pin: string) => (status: AgentStatus) =>
    status.identity.state === 'Ready' && status.connection.state === 'Connected' && status.controlTrust.pins.join() === pin;

  it('goes over with those that are awake, and those that slept through one or two rotations come back by themselves', async () => {
    const [awake, one, two, ended] = await Promise.all([joined('lasting'), joined('lasting'), joined('lasting'), joined('brief')]);
    const identity = (await awake?.status())?.identity.serial;
    for (const agent of [two, ended]) await agent?.kill();
    await rotate();
    const afterOne = await presentPin();
    await awake?.until('over', back(afterOne));
    await one?.until('over', back(afterOne));
    await one?.kill();
    await rotate();
    const pin = await presentPin();
    assert.equal(new Set([firstPin, afterOne, pin]).size, 3);
    const over = await awake?.until('over', back(pin));
    assert.notEqual(over?.identity.serial, identity);
    for (const agent of [one, two, ended]) agent?.start();
    for (const agent of [one, two, ended]) await agent?.until('back', back(pin));
    for (const agent of [awake, one, two, ended]) await agent?.kill();
  });

  it('takes a new node that knows only the pin of a CA that was replaced, as long as that one is not compromised', async () => {
    const agent = await newAgent('lasting', firstPin);
    await agent.until('joined', back(await presentPin()));
    await agent.kill();
  });

  it('keeps who slept through a compromise away from whoever has the old key, and says what an administrator has to do', async () => {
    const agent = await joined('lasting');
    const name = `worker-${made}`;
    const other = await joined('lasting');
    const otherName = `worker-${made}`;
    for (const each of [agent, other]) await each.kill();
    await rotate('compromise');
    const pin = await presentPin();
    // Before it is started at all: then it meets nobody by the old key.
    const whileOff = await other.recover('--ca-pin', pin);
    assert.equal(whileOff.status, 0, whileOff.stdout + whileOff.stderr);
    assert.match(whileOff.stdout, /No agent runs; it will trust this control CA and no other/);
    other.start();
    await other.until('told', ({ identity }) => identity.code === 'RecoveryNotOpen' && identity.state === 'IdentityNotTaken');
    agent.start();
    const { connection } = await agent.until('told', (status) => status.connection.lastErrorCode === 'PinMismatch');
    assert.match(connection.lastError, /run 'evercert-agent recover --ca-pin PIN' here/);
    const byPin = await agent.recover('--ca-pin', pin);
    assert.equal(byPin.status, 1, byPin.stdout + byPin.stderr);
    assert.match(byPin.stdout, /no repair window is open for node/);
    await asAdmin(async (admin) => {
      const repair = admin.repair({ cluster: 'lasting', nodes: [name, otherName], dryRun: false, window: { seconds: 60, nanos: 0 } });
      repair.on('error', () => {});
      for (const each of [agent, other]) await each.until('back', back(pin));
      repair.cancel();
    });
    for (const each of [agent, other]) await each.kill();
  });
});
