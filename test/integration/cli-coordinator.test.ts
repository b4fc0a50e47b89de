import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parse, stringify } from 'yaml';
import { startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');

/** The real command against a real coordinator, with the credential that the coordinator wrote. */
describe('the evercert command with a coordinator', function () {
  this.timeout(120_000);
  let coordinator: TestCoordinator;
  let config: string;
  let home: string;
  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'evercert-home-'));
    coordinator = await startTestCoordinator();
    config = join(coordinator.dataDir, 'admin', 'config.yaml');
    const created = await cli(['cluster', 'create', 'demo', '--node-address-range', '10.0.0.0/16']);
    assert.equal(created.status, 0, created.stderr);
  });
  after(async () => {
    await coordinator.dispose();
    rmSync(home, { recursive: true });
  });

  const cli = (args: string[], input = ''): Promise<RunResult> =>
    run(evercert, args, { input, env: { EVERCERT_CONFIG: config, HOME: home } });
  const nodeManifest = (name: string, labels: Record<string, string> = {}): string =>
    stringify({
      apiVersion: 'evercert.io/v1',
      kind: 'Node',
      metadata: { name, labels },
      spec: { role: 'control-plane', addresses: ['10.0.0.1'] },
    });

  it('knows itself, the coordinator and the admin', async () => {
    const { stdout } = await cli(['version']);
    assert.match(
      stdout,
      /^Client Version: .*\nServer Version: .*\nServer Address: .*\nIdentity: admin\/.*\nCA Pin: sha256:[0-9a-f]{64}\n$/,
    );
  });

  it('lists the three CAs of the cluster, and its manifests', async () => {
    const names = (await cli(['get', 'cas', '-c', 'demo', '-o', 'name'])).stdout;
    assert.deepEqual(
      names.trim().split('\n').sort(),
      ['cluster-ca', 'etcd-ca', 'front-proxy-ca'].map((name) => `certificateauthority/${name}`),
    );
    const manifests = JSON.parse((await cli(['get', 'manifests', '-c', 'demo', '-o', 'json'])).stdout);
    assert.ok(manifests.items.some((item: { metadata: { name: string } }) => item.metadata.name === 'apiserver'));
  });

  it('diffs, applies and shows a node; what it shows can be edited and applied again', async () => {
    const args = ['-f', '-', '-c', 'demo'];
    assert.equal((await cli(['diff', ...args], nodeManifest('cp-1'))).status, 1);
    const applied = await cli(['apply', ...args], nodeManifest('cp-1'));
    assert.match(applied.stdout, /^node\/cp-1 created\n(certificate\/cp-1\/.* will be issued\n)+$/);
    assert.equal((await cli(['diff', ...args], nodeManifest('cp-1'))).status, 0);

    const shown = (await cli(['get', 'node', 'cp-1', '-c', 'demo', '-o', 'yaml'])).stdout;
    const edited = parse(shown);
    edited.metadata.labels = { zone: 'a' };
    const again = await cli(['apply', '-f', '-'], stringify(edited));
    assert.match(again.stdout, /^node\/cp-1 configured\n/, again.stderr);
    assert.equal((await cli(['get', 'nodes', '-l', 'zone=a', '-o', 'name'])).stdout, 'node/cp-1\n');

    const all = (await cli(['get', 'manifests', '-c', 'demo', '-o', 'yaml'])).stdout;
    assert.equal((await cli(['diff', ...args], all)).status, 0, 'a list as it was shown changes nothing');
    const cluster = (await cli(['get', 'cluster', 'demo', '-o', 'yaml'])).stdout;
    assert.equal((await cli(['diff', ...args], cluster)).status, 0);
  });

  it("exempts a node from replacement, shows it beside the phase, and has it in the node's log", async () => {
    const args = ['-c', 'demo'];
    assert.equal((await cli(['cordon', 'cp-1', '--reason', 'disk', ...args])).stdout, 'node/cp-1 cordoned\n');
    assert.match((await cli(['get', 'nodes', ...args])).stdout, /cp-1 +control-plane +Registered,Cordoned /);
    assert.match(
      (await cli(['describe', 'node', 'cp-1', ...args])).stdout,
      /\nCordoned: +by admin\/admin at .*: disk\n[\s\S]*\n {2}Reachable +Unknown +\d+s +NotJoined /,
    );
    assert.equal((await cli(['uncordon', 'node/cp-1', ...args])).stdout, 'node/cp-1 uncordoned\n');
    const log = (await cli(['logs', 'node/cp-1', ...args])).stdout;
    assert.match(log, /^\S+Z {2}certificate-renewal-controller {2}I {2}NodeCordoned: .*disk\n\S+ {2}\S+ {2}I {2}NodeUncordoned: /);
  });

  it('prints a token with which an agent can join, and lists it without the secret half', async () => {
    const created = await cli(['token', 'create', '-c', 'demo', '--role', 'worker', '--node-name', 'w-1', '--print-agent-config']);
    assert.equal(created.status, 0, created.stderr);
    const agent = parse(created.stdout);
    assert.match(agent.token, /^[a-z0-9]{6}\.[a-z0-9]{16}$/);
    assert.match(agent.coordinator.caPins[0], /^sha256:[0-9a-f]{64}$/);
    assert.equal(agent.node.name, 'w-1');
    const { stdout } = await cli(['get', 'tokens', '-c', 'demo', '-o', 'yaml']);
    assert.ok(stdout.includes(agent.token.slice(0, 6)) && !stdout.includes(agent.token.slice(7)));
  });

  it("answers refusals with the server's code and its exit code", async () => {
    const exists = await cli(['cluster', 'create', 'demo']);
    assert.equal(exists.status, 5);
    assert.match(exists.stderr, /^Error from server \(AlreadyExists\): /);
    assert.equal((await cli(['get', 'node', 'nope', '-c', 'demo'])).status, 4);
    assert.equal((await cli(['renew', 'node/nope', '-c', 'demo'])).status, 4);
    const bad = await cli(['apply', '-f', '-', '-c', 'demo'], nodeManifest('cp-2'));
    assert.notEqual(bad.status, 0, 'the address belongs to cp-1');
    assert.match(bad.stderr, /^Error from server \(/);
  });

  it('watches: the list first, then what changes', async () => {
    const child = spawn(evercert, ['get', 'nodes', '-c', 'demo', '-w', '--output-watch-events', '--no-headers'], {
      env: { ...process.env, EVERCERT_CONFIG: config },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
      const next = async (): Promise<string> =>
        String((await lines.next()).value)
          .split(/ +/)
          .slice(0, 2)
          .join(' ');
      assert.equal(await next(), 'ADDED cp-1');
      await cli(['apply', '-f', '-', '-c', 'demo'], nodeManifest('cp-9').replace('10.0.0.1', '10.0.0.9'));
      assert.equal(await next(), 'ADDED cp-9');
      const ended = once(child, 'exit');
      child.kill('SIGINT');
      assert.equal((await ended)[1], 'SIGINT');
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('deletes what it is told to, and then it is gone', async () => {
    assert.equal((await cli(['delete', 'node', 'cp-1', '-c', 'demo'])).status, 2);
    assert.equal((await cli(['delete', 'node', 'cp-1', '-c', 'demo', '--yes'])).status, 0);
    assert.equal((await cli(['get', 'node', 'cp-1', '-c', 'demo'])).status, 4);
    const manifest = await cli(['delete', 'keypairmanifest', 'sa', '-c', 'demo']);
    assert.equal(manifest.status, 0, manifest.stderr);
  });

  it('says in the event log who did it', async () => {
    const events = JSON.parse((await cli(['events', '-c', 'demo', '-o', 'json'])).stdout).items;
    assert.ok(events.length >= 3);
    assert.ok(events.some((event: { spec: { actor: string } }) => event.spec.actor?.startsWith('admin/')));
  });
});
