import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from '../support/live.ts';
import { type RunResult, repositoryRoot, run } from '../support/tools.ts';

const pin = `sha256:${'0'.repeat(64)}`;
/** As `evercert token create --print-agent-config` prints it. */
const agentYaml = `coordinator:
  endpoints:
    - coordinator.example.com:7443
  caPins:
    - ${pin}
node:
  name: w1
token: abcdef.0123456789abcdef
`;

describe('evercert-coordinator machine', () => {
  let folder: string;

  before(() => {
    folder = temporaryFolder('machine-command');
    for (const step of ['remove', 'create', 'allocate'])
      writeFileSync(join(folder, step), `#!/bin/sh\ncat > "${folder}/told-${step}"\n`, { mode: 0o755 });
    const named = { type: 'command', remove: join(folder, 'remove'), create: join(folder, 'create') };
    const provisioners = { same: named, other: { ...named, allocate: join(folder, 'allocate') } };
    writeFileSync(join(folder, 'coordinator.yaml'), JSON.stringify({ dataDir: join(folder, 'data'), provisioners }));
  });

  after(() => rmSync(folder, { recursive: true }));

  function machine(input: string, ...args: string[]): Promise<RunResult> {
    const program = join(repositoryRoot, 'coordinator/bin/evercert-coordinator');
    return run(program, ['--config', join(folder, 'coordinator.yaml'), 'machine', ...args, '--cluster', 'demo'], { input });
  }

  const told = (step: string): { node: object; idempotencyKey: string; join: object; newNode: object } =>
    JSON.parse(readFileSync(join(folder, `told-${step}`), 'utf8'));

  it("makes a machine by what the token's command prints", async () => {
    const { status, stdout, stderr } = await machine(agentYaml, 'create', '--provisioner', 'same', '--address', '192.0.2.1');
    assert.deepEqual([status, stdout], [0, 'done\n'], stderr);
    const { join, newNode } = told('create');
    assert.deepEqual(newNode, { name: 'w1', machine: '', labels: {}, addresses: ['192.0.2.1'], dnsNames: [] });
    const { tokenExpiresAt, ...facts } = join as { tokenExpiresAt: string };
    assert.deepEqual(facts, { token: 'abcdef.0123456789abcdef', endpoints: ['coordinator.example.com:7443'], caPins: [pin] });
    assert.ok(!`${stdout}${stderr}`.includes('0123456789abcdef'));
  });

  it('removes a machine, with another key each time', async () => {
    const keys = new Set<string>();
    for (let times = 0; times < 2; times += 1) {
      assert.equal((await machine('', 'remove', '--provisioner', 'same', '--node', 'w1')).status, 0);
      keys.add(told('remove').idempotencyKey);
    }
    assert.equal(keys.size, 2);
  });

  it('refuses what it cannot do, and says what it expected', async () => {
    const create = (input: string, provisioner: string): Promise<RunResult> => machine(input, 'create', '--provisioner', provisioner);
    for (const [result, status, text] of [
      [await create(agentYaml, 'cloud'), 4, /has no provisioner cloud; it has same, other/],
      [await create(agentYaml, 'other'), 6, /other names its machines itself/],
      [await create(agentYaml.replace('token', 'tokn'), 'same'), 2, /standard input:8:1.*tokn.*"token"/s],
      [await create('', 'same'), 2, /coordinator/],
    ] as const) {
      assert.equal(result.status, status, result.stderr);
      assert.match(result.stderr, text);
    }
  });
});
