import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { verify } from 'node:crypto';
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { KeyProvider } from '@evercert/coordinator/keys';
import { systemClock } from '@evercert/shared/clock';
import type { Logger } from '@evercert/shared/logging';
import { spkiDer } from '@evercert/shared/x509';
import { describeKeyProviderContract } from '../contract/key-provider.ts';
import { KeyBench } from '../support/keys.ts';
import { until } from '../support/live.ts';
import { makeSoftHsm, needSoftHsm, type SoftHsm } from '../support/softhsm.ts';

const data = Buffer.from('to be signed');

describe('keys on a PKCS#11 token', () => {
  let hsm: SoftHsm;
  let bench: KeyBench;
  let provider: KeyProvider;
  /** Processes that hold the token's library, newest last. */
  const helpers: number[] = [];
  const lines: string[] = [];
  const logger: Logger = { debug: note, info: note, warn: note, error: note, child: () => logger };

  function note(message: string, fields?: Readonly<Record<string, unknown>>): void {
    lines.push(message + JSON.stringify(fields));
    if (message === 'opened the token') helpers.push(Number(fields?.['pid']));
  }

  const onToken = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
    provider: 'pkcs11',
    pkcs11: { ...hsm.config, ...more },
  });
  const open = (): Promise<KeyProvider> => bench.provider(onToken(), { logger });

  before(async function () {
    needSoftHsm(this);
    hsm = await makeSoftHsm();
    bench = await KeyBench.open();
    provider = await open();
  });

  after(async () => {
    await bench?.dispose();
    hsm?.dispose();
  });

  afterEach(async () => {
    await bench.closeAll(provider);
    for (const id of await provider.list()) await provider.delete(id);
  });

  describeKeyProviderContract('SoftHSM2', async () => ({
    provider,
    kind: 'pkcs11',
    seesDestruction: true,
    reopen: open,
    // What the whole file does after each test.
    cleanup: async () => undefined,
  }));

  it('sign so that every signature verifies, whatever its numbers begin with', async () => {
    const signer = await provider.generate('demo/ca', 'ecdsa-p256');
    const signatures = await Promise.all(Array.from({ length: 400 }, (_, i) => signer.sign(Buffer.of(i & 0xff, i >> 8))));
    for (const [i, signature] of signatures.entries())
      assert.ok(verify('sha256', Buffer.of(i & 0xff, i >> 8), signer.publicKey, signature), signature.toString('hex'));
    const long = Buffer.alloc(200_000, 7);
    assert.ok(verify('sha256', long, signer.publicKey, await signer.sign(long)));
  });

  it('are used on by a new process when that of the library dies in the middle', async () => {
    const signer = await provider.generate('demo/ca', 'rsa-3072');
    const pid = helpers.at(-1) ?? 0;
    const signing = Promise.all(Array.from({ length: 20 }, () => signer.sign(data)));
    process.kill(pid, 'SIGKILL');
    for (const signature of await signing) assert.ok(verify('sha256', data, signer.publicKey, signature));
    assert.notEqual(helpers.at(-1), pid);
    assert.ok(lines.some((line) => /the token is gone; logging in again/.test(line) && /SIGKILL/.test(line)));
  });

  it('are Unavailable while the token is away, and come back with it', async () => {
    const signer = await provider.generate('demo/ca', 'ecdsa-p384');
    const tokens = join(hsm.folder, 'tokens');
    renameSync(tokens, `${tokens}.away`);
    process.kill(helpers.at(-1) ?? 0, 'SIGKILL');
    try {
      await assert.rejects(signer.sign(data), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'Unavailable');
        assert.match(error.message, /token/);
        return true;
      });
      // Callers are told at once, the token is not asked by each of them.
      const started = systemClock.monotonicMs();
      await assert.rejects(signer.sign(data), { code: 'Unavailable' });
      assert.ok(systemClock.monotonicMs() - started < 500);
    } finally {
      renameSync(`${tokens}.away`, tokens);
    }
    let signature: Buffer = Buffer.alloc(0);
    const signs = async (): Promise<boolean> => {
      signature = await signer.sign(data).catch(() => signature);
      return signature.length > 0;
    };
    await until('the token to be used again', 10_000, signs);
    assert.ok(verify('sha384', data, signer.publicKey, signature));
  });

  it('are refused with a wrong PIN, by its name, without telling the PIN', async () => {
    const pinFile = join(bench.folder, 'wrong-pin');
    writeFileSync(pinFile, '98765432\n', { mode: 0o600 });
    await assert.rejects(bench.provider(onToken({ pinFile })), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'FailedPrecondition');
      assert.match(error.message, /does not accept the PIN in .*wrong-pin \(C_Login returned CKR_PIN_INCORRECT\)/);
      assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes('98765432'));
      return true;
    });
    writeFileSync(pinFile, '98765432\n', { mode: 0o644 });
    await assert.rejects(bench.provider(onToken({ pinFile: hsm.module })), {
      code: 'FailedPrecondition',
      message: /can be read by others/,
    });
    await assert.rejects(bench.provider(onToken({ pinFile: '/none' })), { code: 'FailedPrecondition', message: /is missing or empty/ });
    await assert.rejects(bench.provider(onToken({ pinFile: undefined })), { code: 'FailedPrecondition', message: /credential ca-pin/ });
  });

  it('are looked for on the token that is named, and no other', async () => {
    await assert.rejects(bench.provider(onToken({ token: { label: 'another' } })), {
      code: 'Unavailable',
      message: /is not there; there is: .*label "evercert" serial [0-9a-f]{16}/,
    });
    await assert.rejects(bench.provider(onToken({ module: '/none.so' })), {
      code: 'FailedPrecondition',
      message: /PKCS#11 library \/none\.so cannot be used/,
    });
    await assert.rejects(bench.provider(onToken({ module: '/lib/x86_64-linux-gnu/libm.so.6' })), {
      code: 'FailedPrecondition',
      message: /cannot be used/,
    });
  });

  it('come onto the token from files, where those for nodes stay, and never leave it again', async () => {
    const files = await bench.provider({ provider: 'file' });
    const made = await files.generate('demo/ca', 'ecdsa-p384');
    await files.generate('demo/rsa', 'rsa-3072');
    await files.generate('shared/demo/sa', 'ecdsa-p256');
    const running = await bench.provider({ ...onToken(), also: ['file'] }, { logger });
    const held = await running.signer('demo/ca');
    const told: string[] = [];
    await bench.places({ ...onToken(), also: ['file'] }).move({ to: 'pkcs11' }, (id, outcome) => told.push(`${id}: ${outcome}`));
    assert.deepEqual(told, ['demo/ca: moved', 'demo/rsa: moved', 'shared/demo/sa: stays: nodes are to have it']);
    assert.equal(await running.kindOf('demo/ca'), 'pkcs11');
    assert.equal(await running.kindOf('shared/demo/sa'), 'file');
    assert.match(await running.exportShared('shared/demo/sa'), /BEGIN PRIVATE KEY/);
    assert.deepEqual(spkiDer((await provider.signer('demo/ca')).publicKey), spkiDer(made.publicKey));
    assert.ok(verify('sha384', data, made.publicKey, await held.sign(data)));
    const back = bench.places({ ...onToken(), also: ['file'] }).move({ id: 'demo/ca', from: 'pkcs11', to: 'file' }, () => undefined);
    await assert.rejects(back, { code: 'FailedPrecondition', message: /gives no key away; rotate the CA/ });
    assert.deepEqual(await provider.list(), ['demo/ca', 'demo/rsa', 'shared/demo/sa']);
    await (await bench.provider({ provider: 'file' })).delete('shared/demo/sa');
  });

  it('leave no process behind when the coordinator is killed', async () => {
    const script = `import { caKeysSchema, openKeyProvider } from '@evercert/coordinator/keys';
      import { systemClock as clock } from '@evercert/shared/clock';
      const log = (message, fields) => console.log(JSON.stringify(fields ?? {}));
      const logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
      const caKeys = caKeysSchema.parse(${JSON.stringify(onToken())});
      await openKeyProvider({ dataDir: ${JSON.stringify(bench.folder)}, caKeys }, { store: { shared: false }, clock, logger, env: {} });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    const pid = (JSON.parse(line) as { pid: number }).pid;
    process.kill(pid, 0);
    child.kill('SIGKILL');
    await until(`the process ${pid} of the token to end`, 10_000, () => !isRunning(pid));
  });

  it('are never logged, nor is the PIN', () => {
    assert.ok(lines.length > 10);
    for (const line of lines) assert.ok(!line.includes(hsm.pin) && !line.includes('BEGIN'), line);
  });
});

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
