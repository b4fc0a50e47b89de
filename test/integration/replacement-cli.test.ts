import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CreateCall, type NodeProvisioner, provisionersOf } from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { parse } from 'yaml';
import { createToken, enroll, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { Role } from '../support/node-calls.ts';
import { TestAgent } from '../support/test-agent.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');

/** Machines are nothing but what the test makes of the token that they get. */
class PaperMachines implements NodeProvisioner {
  readonly type = 'paper';
  readonly sameName = true;
  readonly actions: string[] = [];
  created: CreateCall | undefined;

  #done(action: string): Promise<{ message: string }> {
    this.actions.push(action);
    return Promise.resolve({ message: '' });
  }

  cordon = () => this.#done('cordon');
  uncordon = () => this.#done('uncordon');
  drain = () => this.#done('drain');
  remove = () => this.#done('remove');
  discard = () => this.#done('discard');
  close = () => Promise.resolve();
  allocate = ({ node }: { node: CreateCall['node'] }) => Promise.resolve({ ...node, machine: '' });
  create(call: CreateCall): Promise<{ message: string }> {
    this.created = call;
    return this.#done('create');
  }
}

/** The real command against a real coordinator, from a worker that is held back for one reason after the other until it is replaced. */
describe('the replacement of a worker on the command line', function () {
  this.timeout(120_000);
  const machines = new PaperMachines();
  let home: string;
  let coordinator: TestCoordinator;
  let old: TestAgent;
  let replacementId: string;

  const cli = (args: string[], input = ''): Promise<RunResult> =>
    run(evercert, ['--cluster', 'demo', ...args], {
      input,
      env: { EVERCERT_CONFIG: join(coordinator.dataDir, 'admin', 'config.yaml'), HOME: home },
    });
  const ok = async (args: string[], input = ''): Promise<string> => {
    const { status, stdout, stderr } = await cli(args, input);
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  };
  const document = (text: string): string =>
    `apiVersion: evercert.io/v1\nkind: Cluster\nmetadata: { name: demo }\nspec:\n  replacement: ${text}\n`;
  /** `Held/DryRun`, as the controller decided last. */
  const verdict = async (): Promise<string> => {
    const { replacement } = JSON.parse(await ok(['get', 'node', 'w-1', '-o', 'json'])).status;
    return `${replacement?.verdict}/${replacement?.reason}`;
  };
  const until = async (ask: () => Promise<string>, wanted: string): Promise<void> => {
    const limitMs = systemClock.monotonicMs() + 25_000;
    for (let last = await ask(); last !== wanted; last = await ask()) {
      assert.ok(systemClock.monotonicMs() < limitMs, `waited for ${wanted}, it is ${last}`);
      await systemClock.sleep(200);
    }
  };

  before(async () => {
    home = mkdtempSync(join(tmpdir(), 'evercert-home-'));
    const provisioners = provisionersOf(new Map([['machines', machines]]));
    coordinator = await startTestCoordinator({ provisioners, config: { backdate: '1s' } });
    await ok([
      ...['cluster', 'create', 'demo', '--control-plane-endpoint', 'api.example.com', '--leaf-lifetime', '15s'],
      ...['--replacement-provisioner', 'nowhere', '--replacement-grace', '1s', '--max-unhealthy', '1'],
    ]);
    const token = await createToken(coordinator, 'demo', { role: Role.WORKER, nodeName: 'w-1' });
    old = new TestAgent(await enroll(coordinator, { token, name: 'w-1' }));
    await old.connect();
    await old.obtainAll();
    old.report();
    await until(async () => (await ok(['get', 'node', 'w-1', '--no-headers'])).split(/ +/)[2] ?? '', 'Ready');
  });

  after(async () => {
    old?.disconnect();
    old?.node.client.close();
    await coordinator?.dispose();
    rmSync(home, { recursive: true });
  });

  it('shows the policy, and has nothing to decide of a worker that is well', async () => {
    const { spec } = parse(await ok(['get', 'cluster', 'demo', '-o', 'yaml']));
    assert.deepEqual([spec.replacement.provisioner, spec.replacement.grace, spec.replacement.maxUnhealthy], ['nowhere', '1s', 1]);
    assert.match(await ok(['describe', 'cluster', 'demo']), /\nReplacement: +by provisioner nowhere, mode active, 1s after/);
    assert.match(await ok(['replacement', 'status']), /\nOther Nodes: +1, with nothing to decide/);
    assert.match(await ok(['get', 'certificates', '--node', 'w-1']), /w-1 +kubelet-client .* Ready /);
  });

  it('tells why an expired worker is not replaced: no such provisioner, then a dry run', async () => {
    await until(verdict, 'Held/ProvisionerUnknown');
    assert.match(await ok(['get', 'nodes', '-o', 'wide']), / Held\/ProvisionerUnknown /);
    const plan = JSON.parse(await ok(['replacement', 'status', '-o', 'json'])).status;
    assert.deepEqual([plan.workers, plan.unhealthy, plan.maxUnhealthy], [1, 1, 1]);
    assert.deepEqual([plan.nodes[0].name, plan.nodes[0].replacement.reason], ['w-1', 'ProvisionerUnknown']);
    const wrong = await cli(['apply', '-f', '-', '--dry-run'], document('{ maxUnhealthy: 10% }'));
    assert.match(
      wrong.stderr,
      /^Warning: cluster demo: the provisioner "nowhere" is not configured at this coordinator \(it has machines\)/,
    );
    assert.match(wrong.stderr, /\nWarning: cluster demo: maxUnhealthy 10% of 1 worker is none/);
    const applied = await cli(['apply', '-f', '-'], document('{ provisioner: machines, mode: dry-run }'));
    assert.deepEqual([applied.stdout, applied.stderr], ['cluster/demo configured\n', '']);
    await until(verdict, 'Held/DryRun');
    assert.match(await ok(['describe', 'node', 'w-1']), /\nReplacement: +Held\/DryRun, since .*\n.*Not replaced: it would be replaced now/);
    assert.match(await ok(['get', 'certificates', '--node', 'w-1']), /w-1 +kubelet-client .* Expired /);
    await until(
      async () => String((await ok(['events', '--node', 'w-1', '--reason', 'ReplacementWouldStart'])).includes('would be')),
      'true',
    );
    assert.deepEqual(machines.actions, []);
  });

  it('is held back by a pause, and by a cordon with an end', async () => {
    assert.equal(await ok(['replacement', 'pause', '--reason', 'network']), 'replacement in cluster demo paused\n');
    assert.equal(await ok(['replacement', 'pause']), 'replacement in cluster demo already paused\n');
    await ok(['apply', '-f', '-'], document('{ mode: active }'));
    await until(verdict, 'Held/Paused');
    assert.match(await ok(['replacement', 'status']), /\nPaused: +cluster demo, by admin\/admin at .*: network\n/);
    assert.match(await ok(['cordon', 'w-1', '--for', '1h', '--reason', 'disk']), /^node\/w-1 cordoned until 20\S+Z\n$/);
    assert.equal(await ok(['replacement', 'resume']), 'replacement in cluster demo resumed\n');
    await until(verdict, 'Held/Cordoned');
    assert.match(await ok(['describe', 'node', 'w-1']), /\nCordoned: +by admin\/admin at .*, until \S+ \(in 59m\d*s\): disk\n/);
    assert.deepEqual(machines.actions, []);
  });

  it('is replaced when nothing holds it back, step by step', async () => {
    await ok(['uncordon', 'w-1']);
    await until(async () => String(machines.created !== undefined), 'true');
    assert.deepEqual(machines.actions, ['cordon', 'drain', 'remove', 'create']);
    assert.match(await ok(['get', 'nodes', '-o', 'wide']), /w-1 +worker +Replacing .* Replacing\/Join /);
    const [row] = (await ok(['get', 'rp', '--no-headers'])).split('\n');
    replacementId = row?.split(/ +/)[0] ?? '';
    assert.match(row ?? '', /^rp-[a-z0-9]{10} +w-1 +w-1 +Running +Join +1 /);
    assert.match(await ok(['replacement', 'status']), new RegExp(`\nUnder Way:\n.*\n {2}${replacementId} +w-1 `));
    assert.equal(await ok(['__complete', '--', 'describe', 'rp', '--cluster', 'demo', 'rp-']), `${replacementId}\n`);
    const { created } = machines;
    assert.ok(created);
    const agent = new TestAgent(await enroll(coordinator, { token: created.join.token, name: created.newNode.name }));
    try {
      await agent.connect();
      await agent.obtainAll();
      agent.report();
      await until(async () => parse(await ok(['get', 'rp', replacementId, '-o', 'yaml'])).status.state, 'Succeeded');
    } finally {
      agent.disconnect();
      agent.node.client.close();
    }
  });

  it('tells the story afterwards, and that it cannot be cancelled any more', async () => {
    const story = await ok(['describe', 'replacement', replacementId]);
    for (const step of ['Cordon', 'Drain', 'Remove', 'Create', 'Join', 'Verify'])
      assert.match(story, new RegExp(`\n {2}${step} +1 +Done .* ${replacementId}-1-${step.toLowerCase()} `));
    assert.equal((await cli(['replacement', 'cancel', replacementId])).status, 6);
    assert.equal((await cli(['replacement', 'cancel', 'rp-0000000000'])).status, 4);
    assert.match(await ok(['describe', 'node', 'w-1']), new RegExp(`\nReplacements:\n.*\n {2}${replacementId} +w-1 +w-1 +Succeeded `));
  });

  it('shows the old machine that comes back with its old identity, and is refused', async () => {
    old.disconnect();
    await assert.rejects(old.connect(), { code: 'Unauthenticated' });
    await until(async () => String((await ok(['describe', 'node', 'w-1'])).includes('\nRemoved Machines That Returned:\n')), 'true');
    assert.match(await ok(['describe', 'node', 'w-1']), /\n {2}Warning +RemovedNodeReturned +.* refused the machine that was node w-1/);
  });
});
