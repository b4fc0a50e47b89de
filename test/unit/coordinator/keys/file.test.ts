import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FileKeyProviderOptions, type KeyProvider, openFileKeyProvider } from '@evercert/coordinator/keys';
import { type Logger, silentLogger } from '@evercert/shared/logging';
import { spkiDer } from '@evercert/shared/x509';
import { describeKeyProviderContract } from '../../../contract/key-provider.ts';

function makeFolder(): { folder: string; options: FileKeyProviderOptions } {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-keys-'));
  const paths = { directory: join(folder, 'keys'), passphraseFile: join(folder, 'passphrase') };
  return { folder, options: { ...paths, createPassphrase: true, logger: silentLogger } };
}

describeKeyProviderContract('the file provider', async () => {
  const { folder, options } = makeFolder();
  return {
    provider: await openFileKeyProvider(options),
    kind: 'file',
    seesDestruction: false,
    reopen: () => openFileKeyProvider({ ...options, shared: true }),
    cleanup: async () => rmSync(folder, { recursive: true }),
  };
});

describe('the file key provider', () => {
  let folder: string;
  let options: FileKeyProviderOptions;
  const keyFile = (): string => join(options.directory, 'demo', 'ca.key');

  beforeEach(() => {
    ({ folder, options } = makeFolder());
  });

  afterEach(() => rmSync(folder, { recursive: true }));

  const openWithKey = async (): Promise<KeyProvider> => {
    const provider = await openFileKeyProvider(options);
    await provider.generate('demo/ca', 'ecdsa-p256');
    return provider;
  };

  it('lets nobody else at the folders, the keys and the passphrase', async () => {
    await openWithKey();
    const mode = (path: string): number => statSync(path).mode & 0o777;
    assert.deepEqual([options.directory, join(options.directory, 'demo')].map(mode), [0o700, 0o700]);
    assert.deepEqual([keyFile(), options.passphraseFile].map(mode), [0o600, 0o600]);
  });

  it('closes a folder that stood open', async () => {
    mkdirSync(options.directory, { mode: 0o755 });
    await openFileKeyProvider(options);
    assert.equal(statSync(options.directory).mode & 0o777, 0o700);
  });

  it('encrypts with AES-256-CBC, so that the file alone is worth nothing', async () => {
    await openWithKey();
    assert.match(readFileSync(keyFile(), 'latin1'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
    const base64 = readFileSync(keyFile(), 'latin1').replace(/-----.*-----|\n/g, '');
    // id-aes256-CBC, 2.16.840.1.101.3.4.1.42, in DER.
    assert.ok(Buffer.from(base64, 'base64').includes(Buffer.from('060960864801650304012a', 'hex')));
  });

  it('writes what openssl reads with the passphrase', async function () {
    const provider = await openWithKey();
    const arguments_ = ['pkey', '-in', keyFile(), '-passin', `file:${options.passphraseFile}`, '-pubout', '-outform', 'DER'];
    const { error, stdout } = spawnSync('openssl', arguments_);
    if (error) this.skip(); // openssl is not installed
    assert.deepEqual(stdout, spkiDer((await provider.signer('demo/ca')).publicKey));
  });

  it('makes a random passphrase of 32 bytes at first use, and keeps it', async () => {
    await openFileKeyProvider(options);
    const first = readFileSync(options.passphraseFile, 'utf8');
    assert.equal(Buffer.from(first, 'base64').length, 32);
    await openFileKeyProvider(options);
    assert.equal(readFileSync(options.passphraseFile, 'utf8'), first);
  });

  it('makes no passphrase unless it was asked to', async () => {
    await assert.rejects(openFileKeyProvider({ ...options, createPassphrase: false }), {
      code: 'FailedPrecondition',
      message: /is missing; make one/,
    });
    assert.equal(existsSync(options.passphraseFile), false);
  });

  it('makes no new passphrase when keys exist that it could not open', async () => {
    await openWithKey();
    rmSync(options.passphraseFile);
    await assert.rejects(openFileKeyProvider(options), { code: 'FailedPrecondition', message: /put it back from a backup/ });
    assert.equal(existsSync(options.passphraseFile), false);
  });

  it('refuses a passphrase file that others can read, that is too short, or no file', async () => {
    await openFileKeyProvider(options);
    for (const mode of [0o640, 0o604, 0o660]) {
      chmodSync(options.passphraseFile, mode);
      await assert.rejects(openFileKeyProvider(options), {
        code: 'FailedPrecondition',
        message: /can be read by others \(mode 06\d\d\); run chmod 600/,
      });
    }
    chmodSync(options.passphraseFile, 0o600);
    writeFileSync(options.passphraseFile, '');
    await assert.rejects(openFileKeyProvider(options), { code: 'FailedPrecondition', message: /fewer than/ });
    rmSync(options.passphraseFile);
    mkdirSync(options.passphraseFile, { mode: 0o700 });
    await assert.rejects(openFileKeyProvider(options), { code: 'FailedPrecondition', message: /is no plain file/ });
  });

  it('says at once that a passphrase is wrong, and does not tell it', async () => {
    await openWithKey();
    writeFileSync(options.passphraseFile, 'quite another passphrase\n');
    await assert.rejects(openFileKeyProvider(options), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'FailedPrecondition');
      assert.match(error.message, /the passphrase is wrong/);
      assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes('quite another'));
      return true;
    });
  });

  it('tells a damaged key file from a wrong passphrase', async () => {
    await openWithKey();
    const whole = readFileSync(keyFile());
    for (const damaged of ['', 'rubbish', whole.subarray(0, whole.length / 2)]) {
      writeFileSync(keyFile(), damaged);
      await assert.rejects(openFileKeyProvider(options), { code: 'DataLoss' });
    }
  });

  it('takes a key that is not encrypted for damaged, and does not use it', async () => {
    const provider = await openFileKeyProvider(options);
    await provider.generate('shared/k', 'ecdsa-p256');
    writeFileSync(join(options.directory, 'plain.key'), await provider.exportShared('shared/k'), { mode: 0o600 });
    await assert.rejects(provider.signer('plain'), { code: 'DataLoss' });
  });

  it('opens a key once and keeps it, even when the file goes away', async () => {
    const provider = await openWithKey();
    const signer = await provider.signer('demo/ca');
    rmSync(keyFile());
    assert.equal(await provider.signer('demo/ca'), signer);
  });

  it('never logs a key or the passphrase', async () => {
    const lines: string[] = [];
    const log = (message: string, fields?: object): void => void lines.push(message + JSON.stringify(fields));
    const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
    const provider = await openFileKeyProvider({ ...options, logger });
    await provider.generate('shared/k', 'ecdsa-p256');
    const pem = await provider.exportShared('shared/k');
    await provider.delete('shared/k');
    const passphrase = readFileSync(options.passphraseFile, 'utf8').trim();
    assert.ok(lines.length >= 2);
    for (const line of lines) assert.ok(!line.includes(passphrase) && !line.includes(pem.split('\n')[1] ?? ''));
  });
});
