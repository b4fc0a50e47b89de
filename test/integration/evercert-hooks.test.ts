import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { temporaryFolder } from '../support/live.ts';
import { installOperator, type Operator } from '../support/operator.ts';

const node = { name: 'worker-1', labels: {}, addresses: ['10.0.0.21', '10.0.0.22'], dnsNames: ['w.example.com'] };
const join_ = { token: 'abcdef.0123456789abcdef', tokenExpiresAt: '', endpoints: ['c.example.com:7443'], caPins: ['sha256:00'] };
const request = {
  apiVersion: 'provisioner.evercert.io/v1',
  action: 'remove',
  idempotencyKey: 'rp-1-1-remove',
  replacement: { id: 'rp-1', attempt: 1 },
  cluster: 'demo',
  node,
};
const create = { ...request, action: 'create', idempotencyKey: 'rp-1-1-create', newNode: { ...node, machine: '' }, join: join_ };

describe('the example executable with hooks', () => {
  let folder: string;
  let operator: Operator;

  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('calls a hook with all that it needs, and puts the token into a private folder that it deletes', async () => {
    await install({ create: 'env; ls -ld "$EVERCERT_JOIN" "$EVERCERT_JOIN"/*; cp -R "$EVERCERT_JOIN" "$OUT"; echo "made it"' });
    const { status, output, answer } = run(create);
    assert.deepEqual({ status, answer }, { status: 0, answer: { message: 'made it' } });
    for (const line of [
      'EVERCERT_NODE=worker-1',
      'EVERCERT_ADDRESSES=10.0.0.21 10.0.0.22',
      'EVERCERT_DNS_NAMES=w.example.com',
      'EVERCERT_ATTEMPT=1',
      'EVERCERT_KEY=rp-1-1-create',
    ])
      assert.ok(log().includes(`${line}\n`), line);
    assert.ok(!log().includes('0123456789abcdef') && !output.includes('0123456789abcdef'));
    assert.match(log(), /^drwx------ /m);
    assert.equal(log().match(/^-rw------- /gm)?.length, 2);
    assert.deepEqual(parse(readFileSync(join(folder, 'out', 'agent.yaml'), 'utf8')), {
      coordinator: { endpoints: join_.endpoints, caPins: join_.caPins },
      node: { name: 'worker-1', addresses: node.addresses },
      tokenFile: '/etc/evercert-agent/token',
    });
    assert.equal(readFileSync(join(folder, 'out', 'token'), 'utf8'), `${join_.token}\n`);
    assert.deepEqual(readdirSync(operator.stateDir), ['rp-1-1-create.json']);
  });

  it('does nothing twice under a key, and tells the same', async () => {
    await install({ remove: 'echo gone' });
    assert.deepEqual(run(request).answer, { message: 'gone' });
    assert.deepEqual(run(request).answer, { message: 'gone' });
    assert.equal(log(), 'gone\n');
    run({ ...request, idempotencyKey: 'rp-2-1-remove' });
    assert.equal(log(), 'gone\ngone\n');
  });

  it('passes on how a hook failed, and calls it again', async () => {
    await install({ remove: 'echo "no host has room"; exit 75' });
    for (let times = 0; times < 2; times += 1) {
      const { status, stderr } = run(request);
      assert.deepEqual({ status, stderr }, { status: 75, stderr: 'no host has room\n' });
    }
    assert.deepEqual(readdirSync(operator.stateDir), []);
  });

  it('skips what has no hook, but never a removal or a creation', async () => {
    await install({});
    assert.deepEqual(run({ ...request, action: 'drain', idempotencyKey: 'rp-1-1-drain' }), {
      status: 0,
      stderr: '',
      output: '{}\n',
      answer: {},
    });
    for (const each of [request, create, { ...create, action: 'discard' }]) {
      const { status, stderr } = run(each);
      assert.equal(status, 78);
      assert.match(stderr, /there is no executable/);
    }
  });

  it('refuses what it was not made for', async () => {
    await install({ remove: 'echo gone' });
    assert.equal(run('').status, 65);
    assert.equal(run({ ...request, apiVersion: 'provisioner.evercert.io/v9' }).status, 78);
    assert.equal(run({ ...request, idempotencyKey: '../../etc/passwd' }).status, 65);
    assert.throws(() => log());
  });

  /** What a hook writes is in the log too. */
  async function install(hooks: Record<string, string>): Promise<void> {
    folder = temporaryFolder('hooks');
    const wrapped = (text: string): string =>
      `#!/bin/sh\nOUT='${folder}/out'\n( ${text} ) >'${folder}/now'\ncode=$?\ncat '${folder}/now' | tee -a '${folder}/log'\nexit $code\n`;
    const texts = Object.entries(hooks).map(([name, text]) => [name, wrapped(text)]);
    operator = await installOperator(folder, Object.fromEntries(texts));
  }

  function log(): string {
    return readFileSync(join(folder, 'log'), 'utf8');
  }

  function run(input: unknown): { status: number | null; stderr: string; output: string; answer: unknown } {
    const [file = '', ...args] = operator.command;
    const text = input === '' ? '' : JSON.stringify(input);
    const { status, stdout, stderr } = spawnSync(file, args, { input: text, encoding: 'utf8' });
    return { status, stderr, output: stdout, answer: stdout === '' ? undefined : JSON.parse(stdout) };
  }
});
