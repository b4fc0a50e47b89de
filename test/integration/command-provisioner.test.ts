import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type ActionCall,
  type CreateCall,
  type NodeProvisioner,
  openProvisioners,
  type Provisioners,
  provisionersSchema,
} from '@evercert/coordinator/provisioning';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import type { LogFields, Logger } from '@evercert/shared/logging';
import { temporaryFolder, until } from '../support/live.ts';
import { withCode } from '../support/node-calls.ts';
import { installProgram } from '../support/operator.ts';

const secret = '0123456789abcdef';
const token = `abcdef.${secret}`;
const node = { name: 'worker-1', labels: { zone: 'a' }, addresses: ['127.0.0.9'], dnsNames: ['worker-1.example.com'] };
const newNode = { ...node, machine: '' };
const join_ = { token, tokenExpiresAtMs: Date.parse('2027-01-01T00:00:00Z'), endpoints: ['127.0.0.1:7443'], caPins: ['sha256:00'] };

describe('the command provisioner', () => {
  let folder: string;
  let opened: Provisioners[];
  let lines: string[];

  beforeEach(() => {
    folder = temporaryFolder('command');
    opened = [];
    lines = [];
  });

  afterEach(async () => {
    await Promise.all(opened.map((each) => each.close()));
    rmSync(folder, { recursive: true, force: true });
  });

  it('tells the executable all that there is to know on standard input, the token only for create', async () => {
    const driver = await driverOf(`cat >'${folder}/input'`);
    await driver.remove(call('remove'));
    const common = {
      apiVersion: 'provisioner.evercert.io/v1',
      timeoutSeconds: 300,
      replacement: { id: 'rp-1', attempt: 1 },
      cluster: 'demo',
      node,
    };
    assert.deepEqual(input(), { ...common, action: 'remove', idempotencyKey: 'rp-1-1-remove' });
    await driver.create(create());
    const join = { token, tokenExpiresAt: '2027-01-01T00:00:00.000Z', endpoints: ['127.0.0.1:7443'], caPins: ['sha256:00'] };
    assert.deepEqual(input(), { ...common, action: 'create', idempotencyKey: 'rp-1-1-create', newNode, join });
    await driver.discard({ ...call('discard'), newNode });
    assert.deepEqual(input(), { ...common, action: 'discard', idempotencyKey: 'rp-1-1-discard', newNode });
  });

  it('gives it a clean environment, a folder and descriptors of its own, and no token in its arguments', async () => {
    process.env['EVERCERT_TEST_WANTED'] = 'wanted';
    process.env['EVERCERT_TEST_UNWANTED'] = 'unwanted';
    const here = join(folder, 'here');
    const descriptor = openSync(here, 'w');
    const driver = await driverOf(
      `cat /proc/self/environ >'${folder}/env'; cat /proc/$$/cmdline >'${folder}/argv'; pwd >'${folder}/cwd'; ls -l /proc/$$/fd >'${folder}/fds'`,
      {
        env: ['EVERCERT_TEST_WANTED', 'EVERCERT_TEST_UNSET'],
      },
    );
    await driver.create(create());
    closeSync(descriptor);
    const names = read('env')
      .split('\0')
      .map((line) => line.split('=')[0]);
    assert.deepEqual(names.filter((name) => !['', '_', 'PWD', 'SHLVL', 'OLDPWD'].includes(name as string)).sort(), [
      'EVERCERT_TEST_WANTED',
      'LANG',
      'PATH',
    ]);
    assert.equal(read('cwd'), '/\n');
    assert.ok(!read('argv').includes(secret));
    assert.ok(!read('fds').includes(here), 'what this process has open is not passed on');
    assert.ok(
      lines.some((line) => line.includes('EVERCERT_TEST_UNSET')),
      'a variable that is not set is told of',
    );
  });

  for (const [title, script, code, text] of [
    [
      'asks to come back later',
      'echo \'{"retryAfterSeconds": 7, "message": "no host has room"}\'; exit 75',
      'Unavailable',
      /exit code 75.*no host has room/,
    ],
    ['finds a service away', 'echo the cloud is away >&2; exit 69', 'Unavailable', /exit code 69.*the cloud is away/],
    ['needs a person', 'echo the quota is used up >&2; exit 78', 'FailedPrecondition', /a person must act.*the quota is used up/],
    ['fails', 'echo first >&2; echo last >&2; exit 3', 'Internal', /exit code 3: last/],
    ['dies by a signal', 'kill -SEGV $$', 'Internal', /SIGSEGV/],
    ['writes what is no JSON', 'echo done', 'FailedPrecondition', /no JSON object.*"done"; expected one object/],
    ['writes no object', 'echo 17', 'FailedPrecondition', /expected object/],
    [
      'writes an unknown field',
      'echo \'{"mesage": "x"}\'',
      'FailedPrecondition',
      /mesage.*known fields: message, retryAfterSeconds, machine/,
    ],
    ['writes too much', 'head -c 70000 /dev/zero | tr "\\0" x', 'FailedPrecondition', /more than 64 KiB/],
  ] as const) {
    it(`has an error of its own when the executable ${title}`, async () => {
      const driver = await driverOf(script);
      const error = await failureOf(driver.remove(call('remove')));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, text);
      assert.equal(error.retryAfterMs, title.includes('later') ? 7000 : undefined);
    });
  }

  it('passes on what the executable has to say, on one line', async () => {
    const driver = await driverOf('printf %s \'{"message": "gone\\nreally"}\'');
    assert.deepEqual(await driver.remove(call('remove')), { message: 'gone\\nreally' });
  });

  it('does not mind an executable that neither reads nor writes', async () => {
    const driver = await driverOf('exec <&-; exit 0');
    const labels = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`label-${index}`, 'x'.repeat(100)]));
    assert.deepEqual(await driver.remove({ ...call('remove'), node: { ...node, labels } }), { message: '' });
  });

  it('keeps the token out of log and errors', async () => {
    const driver = await driverOf(`cat >&2; echo '${token} ${secret}' >&2; echo '{"message": "token ${token}"}'; exit "$1"`, {}, ['0']);
    assert.deepEqual(await driver.create(create()), { message: 'token [redacted]' });
    const failing = await driverOf(`echo '${secret}'; echo 'bad ${token}' >&2; exit 3`);
    const error = await failureOf(failing.create(create('2')));
    assert.match(error.message, /bad \[redacted\]/);
    const spelling = await failureOf((await driverOf(`echo '${secret}'`)).create(create('3')));
    const all = [...lines, error.message, spelling.message].join('\n');
    assert.ok(lines.length >= 3);
    assert.ok(!all.includes(secret), all);
  });

  it('logs so many lines of such a length and no more', async () => {
    const driver = await driverOf(
      'head -c 20000 /dev/zero | tr "\\0" y >&2; echo >&2; i=0; while [ $i -lt 300 ]; do echo line $i >&2; i=$((i+1)); done',
    );
    await driver.remove(call('remove'));
    const said = lines.filter((line) => line.includes('"provisioner says"'));
    assert.equal(said.length, 200);
    assert.ok(said.every((line) => line.length < 1300));
    assert.equal(lines.filter((line) => line.includes('more than is logged')).length, 1);
  });

  it('ends an executable with its children when its time is over', async () => {
    const driver = await driverOf(`sleep 61 & echo $! >'${folder}/child'; echo $$ >'${folder}/pid'; wait`, {}, [], '1s');
    const error = await failureOf(driver.remove(call('remove')));
    assert.equal(error.code, 'DeadlineExceeded');
    assert.match(error.message, /time limit of 1 s/);
    assertEnded('pid', 'child');
  });

  it('kills an executable that will not end', async () => {
    const driver = await driverOf(`trap '' TERM; echo $$ >'${folder}/pid'; while :; do sleep 0.1; done`, {}, [], '1s');
    assert.equal((await failureOf(driver.remove(call('remove')))).code, 'DeadlineExceeded');
    assertEnded('pid');
  });

  it('limits a drain by the time that the policy gives it', async () => {
    const driver = await driverOf('sleep 61', {}, [], '2m');
    const error = await failureOf(driver.drain({ ...call('drain'), timeoutMs: 300 }));
    assert.equal(error.code, 'DeadlineExceeded');
    assert.match(error.message, /0\.3 s/);
  });

  it('leaves nothing of an executable running that has ended', async () => {
    const driver = await driverOf(`sleep 61 >/dev/null 2>&1 & echo $! >'${folder}/child'`);
    await driver.remove(call('remove'));
    assertEnded('child');
  });

  it('ends what a killed coordinator has left running for a replacement, before it begins the next step', async () => {
    const hanging = program('hanging', `read line; echo $$ >'${folder}/pid'; sleep 61`);
    const settings = { type: 'command', remove: hanging, create: hanging };
    const code = `
      import { openProvisioners, provisionersSchema } from '@evercert/coordinator/provisioning';
      import { systemClock } from '@evercert/shared/clock';
      import { silentLogger } from '@evercert/shared/logging';
      const configs = provisionersSchema.parse({ op: ${JSON.stringify(settings)} });
      const provisioners = await openProvisioners(configs, { clock: systemClock, logger: silentLogger, stateDir: ${JSON.stringify(join(folder, 'runs'))} });
      await provisioners.get('op').remove({ ...${JSON.stringify(call('remove'))}, signal: new AbortController().signal });`;
    const cwd = fileURLToPath(new URL('..', import.meta.url));
    const coordinator = spawn(process.execPath, ['--input-type=module', '-e', code], { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
    await until('the executable to run', 20_000, () => existsSync(join(folder, 'pid')) && read('pid') !== '');
    coordinator.kill('SIGKILL');
    await once(coordinator, 'exit');
    assert.ok(runs(Number(read('pid'))), 'it lives on');
    const driver = await driverOf('exit 0');
    await driver.discard({ ...call('discard'), newNode });
    assertEnded('pid');
    assert.ok(lines.some((line) => line.includes('rp-1-1-remove')));
  });

  it('refuses to open with executables that others could change, and names the field', async () => {
    const fine = program('fine', 'exit 0');
    const open_ = program('open', 'exit 0');
    chmodSync(open_, 0o757);
    const grouped = program('grouped', 'exit 0');
    chmodSync(grouped, 0o775);
    const plain = program('plain', 'exit 0');
    chmodSync(plain, 0o644);
    mkdirSync(join(folder, 'anybody'));
    chmodSync(join(folder, 'anybody'), 0o777);
    const exposed = program('anybody/exposed', 'exit 0');
    const missing = join(folder, 'missing');
    const configs = {
      one: { type: 'command', cordon: open_, drain: { command: [grouped, 'x'] }, remove: fine, create: missing },
      two: { type: 'command', remove: folder, create: exposed, ...(process.geteuid?.() !== 0 && { drain: plain }) },
    };
    const error = await failureOf(openWith(configs));
    assert.equal(error.code, 'InvalidConfig');
    const faults = Object.fromEntries(error.faults.map(({ field, message }) => [field, message]));
    assert.match(faults['provisioners.one.cordon'] ?? '', /chmod go-w/);
    assert.match(faults['provisioners.one.drain.command[0]'] ?? '', /chmod go-w/);
    assert.match(faults['provisioners.one.create'] ?? '', /there is no/);
    assert.equal(faults['provisioners.one.remove'], undefined);
    assert.match(faults['provisioners.two.remove'] ?? '', /no regular file/);
    assert.match(faults['provisioners.two.create'] ?? '', /to which everybody may write/);
  });

  it('looks again before each run', async () => {
    const driver = await driverOf('exit 0');
    await driver.remove(call('remove'));
    chmodSync(join(folder, 'program-1'), 0o777);
    await assert.rejects(driver.remove(call('remove')), withCode('FailedPrecondition'));
  });

  it('insists that allocate names another node', async () => {
    for (const answer of ['{}', '{"nodeName": "worker-1"}', '{"nodeName": "Not A Name"}']) {
      const driver = await driverOf('exit 0', { allocate: program('allocate', `echo '${answer}'`) });
      assert.equal(driver.sameName, false);
      await assert.rejects(driver.allocate(call('allocate')), withCode('FailedPrecondition'));
    }
  });

  let programs = 0;

  function program(name: string, script: string): string {
    return installProgram(join(folder, name), `#!/bin/sh\n${script}\n`);
  }

  /** One script for every step. */
  async function driverOf(script: string, more: object = {}, args: string[] = [], timeout = '5m'): Promise<NodeProvisioner> {
    programs = opened.length + 1;
    const step = { command: [program(`program-${programs}`, script), ...args], timeout };
    const provisioners = await openWith({ op: { type: 'command', drain: step, remove: step, create: step, ...more } });
    return provisioners.get('op') as NodeProvisioner;
  }

  async function openWith(configs: object): Promise<Provisioners> {
    const parsed = provisionersSchema.parse(configs);
    const provisioners = await openProvisioners(parsed, { clock: systemClock, logger: logger({}), stateDir: join(folder, 'runs') });
    opened.push(provisioners);
    return provisioners;
  }

  function logger(base: LogFields): Logger {
    const write = (message: string, fields: LogFields = {}): void => void lines.push(JSON.stringify({ message, ...base, ...fields }));
    return { debug: () => undefined, info: write, warn: write, error: write, child: (fields) => logger({ ...base, ...fields }) };
  }

  function call(step: string, attempt = 1): ActionCall {
    const signal = new AbortController().signal;
    return { idempotencyKey: `rp-1-${attempt}-${step}`, replacementId: 'rp-1', attempt, cluster: 'demo', node, signal };
  }

  function create(replacement = '1'): CreateCall {
    return { ...call('create'), replacementId: `rp-${replacement}`, newNode, join: join_ };
  }

  function read(name: string): string {
    return readFileSync(join(folder, name), 'utf8');
  }

  function input(): unknown {
    const text = read('input');
    assert.equal(text.indexOf('\n'), text.length - 1, 'one line');
    return JSON.parse(text);
  }

  function assertEnded(...names: string[]): void {
    for (const name of names) assert.ok(!runs(Number(read(name))), `${name} runs`);
  }
});

async function failureOf(action: Promise<unknown>): Promise<EvercertError> {
  const error: unknown = await action.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof EvercertError, `expected an EvercertError, found ${String(error)}`);
  return error;
}

/** A zombie that nobody has taken notice of runs no more. */
function runs(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}
