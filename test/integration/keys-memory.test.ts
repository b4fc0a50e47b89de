import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formsOf, KeyBench } from '../support/keys.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { makeSoftHsm, needSoftHsm } from '../support/softhsm.ts';
import { repositoryRoot, run, runOk } from '../support/tools.ts';

/** What a coordinator does with its keys, then a heap snapshot by V8's own interface. */
const script = (caKeys: Record<string, unknown>, folder: string, snapshot: string): string => `
  import { writeHeapSnapshot } from 'node:v8';
  import { caKeysSchema, openKeyProvider } from '@evercert/coordinator/keys';
  import { openStore } from '@evercert/coordinator/store';
  import { systemClock as clock } from '@evercert/shared/clock';
  import { silentLogger as logger } from '@evercert/shared/logging';
  globalThis.planted = ['planted', 'here'].join('-');
  const dataDir = ${JSON.stringify(folder)};
  const store = await openStore({ dataDir, store: {} }, { clock, logger });
  const keys = await openKeyProvider({ dataDir, caKeys: caKeysSchema.parse(${JSON.stringify(caKeys)}) }, { store, clock, logger, env: {} });
  for (const id of await keys.list()) for (let i = 0; i < 20; i += 1) await (await keys.signer(id)).sign(Buffer.from([i]));
  await keys.generate('demo/new', 'ecdsa-p384');
  writeHeapSnapshot(${JSON.stringify(snapshot)});
  process.exit(0);
`;

describe('the private keys in the memory of a coordinator', () => {
  let bench: KeyBench;

  beforeEach(async () => {
    bench = await KeyBench.open();
  });

  afterEach(() => bench.dispose());

  const snapshotWith = async (caKeys: Record<string, unknown>): Promise<Buffer> => {
    const file = join(bench.folder, 'coordinator.heapsnapshot');
    await runOk(process.execPath, ['--input-type=module', '-e', script(caKeys, bench.folder, file)]);
    const snapshot = readFileSync(file);
    assert.ok(snapshot.includes('planted-here'), 'the search finds what is in the heap');
    return snapshot;
  };

  for (const kind of ['file', 'store'] as const) {
    it(`of ${kind} are in no heap snapshot, nor is what opens them`, async () => {
      const passphrase = randomBytes(32).toString('base64');
      const passphraseFile = join(bench.folder, 'passphrase');
      writeFileSync(passphraseFile, passphrase, { mode: 0o600 });
      const caKeys = { provider: kind, file: { passphraseFile }, store: { kekFile: bench.kekFile } };
      const { openStore } = await import('@evercert/coordinator/store');
      const { systemClock: clock } = await import('@evercert/shared/clock');
      const { silentLogger: logger } = await import('@evercert/shared/logging');
      const store = await openStore({ dataDir: bench.folder, store: {} }, { clock, logger });
      const provider = await bench.provider(caKeys, { store });
      const pairs = [generateKeyPairSync('ec', { namedCurve: 'P-384' }), generateKeyPairSync('rsa', { modulusLength: 2048 })];
      for (const [i, { privateKey }] of pairs.entries()) await provider.import(`demo/${i}`, privateKey);
      await bench.closeAll();
      await store.close();
      const snapshot = await snapshotWith(caKeys);
      for (const { privateKey } of pairs) {
        const jwk = privateKey.export({ format: 'jwk' }) as Record<string, string | undefined>;
        for (const part of ['d', 'p', 'q', 'dp', 'dq', 'qi']) {
          for (const { name, bytes } of jwk[part] === undefined ? [] : formsOf(Buffer.from(jwk[part], 'base64url')))
            assert.ok(!snapshot.includes(bytes), `${jwk['kty']} ${part} in ${name}`);
        }
      }
      assert.ok(!snapshot.includes(passphrase), 'the passphrase');
      assert.ok(!snapshot.includes(readFileSync(bench.kekFile, 'utf8').trim()), 'the key-encryption key');
    });
  }

  it('of a token are not there at all, nor is its PIN', async function () {
    needSoftHsm(this);
    const hsm = await makeSoftHsm();
    try {
      const snapshot = await snapshotWith({ provider: 'pkcs11', pkcs11: hsm.config });
      assert.ok(!snapshot.includes(hsm.pin));
    } finally {
      hsm.dispose();
    }
  });
});

describe('a coordinator that is started', () => {
  const main = join(repositoryRoot, 'coordinator', 'src', 'main.ts');
  const launcher = join(repositoryRoot, 'coordinator', 'bin', 'evercert-coordinator');
  let folder: string;
  let config: string;

  beforeEach(() => {
    folder = temporaryFolder('memory');
    config = join(folder, 'coordinator.yaml');
    const lines = [
      `dataDir: ${join(folder, 'data')}`,
      'listen: 127.0.0.1:0',
      'serverNames: [localhost]',
      'web: { enabled: false }',
      'log: { format: json }',
    ];
    writeFileSync(config, `${lines.join('\n')}\n`);
  });

  it('by its launcher dumps no core, and opens no debugger by the environment or by a signal', async function () {
    if (process.platform !== 'linux') return this.skip();
    const env = { ...process.env, NODE_OPTIONS: '--inspect=127.0.0.1:0' };
    const child = spawn(launcher, ['--config', config], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const exited = once(child, 'exit');
    let output = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    try {
      await until('the coordinator to serve', 50_000, () => /"serving"/.test(output));
      assert.match(readFileSync(`/proc/${child.pid}/limits`, 'utf8'), /^Max core file size\s+0\s+0\s/m);
      child.kill('SIGUSR1');
      child.kill('SIGTERM');
      await exited;
      assert.equal(child.exitCode, 0);
      assert.doesNotMatch(output, /Debugger listening|core dumps are possible/);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  });

  it('with a debugger is refused, and says why', async () => {
    const result = await run(process.execPath, ['--inspect=127.0.0.1:0', main, '--config', config], { env: { NODE_OPTIONS: undefined } });
    assert.equal(result.status, 6);
    assert.match(result.stderr, /error: .*Node was started with --inspect.*which lets others read the private keys/);
  });

  it('without its launcher opens no debugger by a signal either, and says that core dumps are possible', async () => {
    const guard = `import { guardMemory } from '@evercert/coordinator';
      const log = (message) => console.log(message);
      await guardMemory({ execArgv: [], env: {}, logger: { warn: log } });
      process.kill(process.pid, 'SIGUSR1');
      setTimeout(() => process.exit(0), 300);`;
    const shell = `ulimit -S -c "$(ulimit -H -c)"; ulimit -c >&2; exec "$0" --input-type=module -e "$1"`;
    const { stdout, stderr } = await runOk('sh', ['-c', shell, process.execPath, guard], { env: { NODE_OPTIONS: undefined } });
    assert.match(stdout, /SIGUSR1 is ignored/);
    assert.doesNotMatch(stdout + stderr, /Debugger listening/);
    assert.equal(/core dumps are possible/.test(stdout), stderr.trim() !== '0', stderr);
  });
});
