/** The process driver against the local cluster's host of machines: real agents, a real socket. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import type { CreateCall } from '@evercert/coordinator/provisioning';
import { EvercertError } from '@evercert/shared/errors';
import { describeProvisionerContract } from '../contract/provisioner.ts';
import { ProcessMachines } from '../support/process-machines.ts';

describeProvisionerContract('the process driver', async () => {
  const machines = await ProcessMachines.open();
  return {
    open: () => machines.driver(),
    machines: () => machines.running(),
    stall: () => machines.stall(),
    cleanup: () => machines.dispose(),
  };
});

describe('the host of machines', () => {
  let machines: ProcessMachines;

  beforeEach(async () => {
    machines = await ProcessMachines.open();
  });
  afterEach(() => machines.dispose());

  const node = { name: 'worker-1', labels: {}, addresses: ['127.0.0.9'], dnsNames: [] };

  function create(idempotencyKey: string, changes: Partial<CreateCall> = {}): CreateCall {
    const join_ = {
      token: 'abcdef.0123456789abcdef',
      tokenExpiresAtMs: 0,
      endpoints: ['127.0.0.1:1'],
      caPins: [`sha256:${'0'.repeat(64)}`],
    };
    const { signal } = new AbortController();
    return {
      ...{ idempotencyKey, replacementId: 'rp-0123456789', attempt: 1, cluster: 'demo', node, signal },
      ...{ newNode: { ...node, machine: '' }, join: join_ },
      ...changes,
    };
  }

  const withCode =
    (code: string) =>
    (error: unknown): boolean =>
      error instanceof EvercertError && error.code === code;

  it('serves this user alone, and writes the token where only this user reads it', async () => {
    assert.equal(statSync(machines.socket).mode & 0o777, 0o600);
    await (await machines.driver()).create(create('a'));
    const tokenFile = join(machines.folder.nodes, 'worker-1', 'etc', 'evercert', 'token');
    assert.equal(statSync(tokenFile).mode & 0o777, 0o600);
    assert.equal(readFileSync(tokenFile, 'utf8'), 'abcdef.0123456789abcdef\n');
    assert.doesNotMatch(readFileSync(join(machines.folder.path, 'machines.json'), 'utf8'), /abcdef/);
  });

  it('never has two machines of one name', async () => {
    const driver = await machines.driver();
    await driver.create(create('a'));
    await assert.rejects(driver.create(create('b')), withCode('AlreadyExists'));
    assert.equal((await machines.running()).length, 1);
  });

  it('does not remove, under an old key, the machine that came later', async () => {
    const driver = await machines.driver();
    // There was none when this key first came, and the answer may have been lost.
    await driver.remove(create('early'));
    await driver.create(create('a'));
    await driver.remove(create('early'));
    assert.equal((await machines.running()).length, 1);
  });

  it('keeps its keys when it is opened again', async () => {
    await (await machines.driver()).create(create('a'));
    const before = await machines.running();
    await machines.close();
    await assert.rejects((await machines.driver()).create(create('a')), withCode('Unavailable'));
    await machines.serve();
    await (await machines.driver()).create(create('a'));
    assert.deepEqual(await machines.running(), before);
  });

  it('takes a key for one action alone', async () => {
    const driver = await machines.driver();
    await driver.create(create('a'));
    await assert.rejects(driver.remove(create('a')), withCode('FailedPrecondition'));
    await assert.rejects(
      driver.create(create('a', { newNode: { ...node, name: 'worker-2', machine: '' } })),
      withCode('FailedPrecondition'),
    );
  });

  it('has no machines of other clusters', async () => {
    await assert.rejects((await machines.driver()).create(create('a', { cluster: 'prod' })), withCode('FailedPrecondition'));
  });

  it('removes a machine that is stopped dead, and moves its folder aside, the last three of a name', async () => {
    const driver = await machines.driver();
    for (let times = 1; times <= 5; times++) {
      await driver.create(create(`create-${times}`));
      if (times === 1) machines.fleet.nodes[0]?.agent.signal('SIGSTOP');
      const { message } = await driver.remove(create(`remove-${times}`));
      assert.match(message, new RegExp(`worker-1\\.removed-${times}$`));
    }
    assert.deepEqual(await machines.running(), []);
    const kept = [1, 2, 3, 4, 5].map((times) => existsSync(join(machines.folder.nodes, `worker-1.removed-${times}`)));
    assert.deepEqual(kept, [false, false, true, true, true]);
    assert.equal(machines.fleet.removed.length, 3);
  });

  it('tells what is wrong with a request without quoting it, and takes none without end', async () => {
    const missing = await put('/v1/machines/worker-1', JSON.stringify({ cluster: 'demo', join: { token: 'abcdef.0123456789abcdef' } }));
    assert.deepEqual([missing.status, missing.body.code], [400, 'InvalidArgument']);
    assert.match(missing.body.message, /idempotencyKey: .*join\.endpoints/);
    assert.doesNotMatch(missing.body.message, /abcdef/);
    const notJson = await put('/v1/machines/worker-1', '{"token": "abcdef.0123456789abcdef"');
    assert.doesNotMatch(JSON.stringify(notJson.body), /abcdef/);
    assert.equal((await put('/v1/machines/worker-1', 'x'.repeat(70_000))).status, 400);
    assert.equal((await put('/v1/machines/..%2F..%2Fetc', '{}')).status, 400);
    assert.equal((await put('/v1/elsewhere', '{}')).status, 404);
    assert.deepEqual(await machines.running(), []);
  });

  function put(path: string, body: string): Promise<{ status: number; body: { code: string; message: string } }> {
    return new Promise((resolve, reject) => {
      const outgoing = request({ socketPath: machines.socket, method: 'PUT', path, agent: false }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) }));
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }
});
