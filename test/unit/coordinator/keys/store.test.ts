import assert from 'node:assert/strict';
import { randomBytes, verify } from 'node:crypto';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyProvider } from '@evercert/coordinator/keys';
import type { Logger } from '@evercert/shared/logging';
import { spkiDer } from '@evercert/shared/x509';
import fc from 'fast-check';
import { describeKeyProviderContract } from '../../../contract/key-provider.ts';
import { KeyBench, sealedKeys } from '../../../support/keys.ts';

const inStore = { provider: 'store' };
const data = Buffer.from('to be signed');

describeKeyProviderContract('the store provider', async () => {
  const bench = await KeyBench.open();
  return {
    provider: await bench.provider(inStore),
    kind: 'store',
    seesDestruction: true,
    reopen: () => bench.provider(inStore),
    cleanup: () => bench.dispose(),
  };
});

describe('the store key provider', () => {
  let bench: KeyBench;
  let provider: KeyProvider;

  beforeEach(async () => {
    bench = await KeyBench.open();
    provider = await bench.provider(inStore);
  });

  afterEach(() => bench.dispose());

  const read = async (id: string): Promise<Buffer> => Buffer.from((await bench.store.get(sealedKeys + id))?.value ?? '');
  const write = (id: string, value: Uint8Array): Promise<unknown> =>
    bench.store.transact([], [{ type: 'put', key: sealedKeys + id, value }]);
  const change = async (id: string, fields: Record<string, unknown>): Promise<void> => {
    await write(id, Buffer.from(JSON.stringify({ ...JSON.parse((await read(id)).toString()), ...fields })));
  };

  it('keeps nothing of a private key in the store but its ciphertext', async () => {
    const signer = await provider.generate('shared/demo/sa', 'ecdsa-p256');
    const pem = await provider.exportShared('shared/demo/sa');
    const pkcs8 = Buffer.from(pem.replace(/-----.*-----|\n/g, ''), 'base64');
    const scalar = pkcs8.subarray(36, 68);
    const record = await read('shared/demo/sa');
    assert.ok(record.includes(spkiDer(signer.publicKey).toString('base64')), 'the public key, which is no secret');
    for (const bytes of Object.values(JSON.parse(record.toString()) as Record<string, string>).map((text) =>
      Buffer.from(String(text), 'base64'),
    ))
      assert.ok(!bytes.includes(scalar.subarray(0, 8)));
  });

  it('refuses a record of which a single bit was changed, whichever it is', async () => {
    await provider.generate('demo/ca', 'ecdsa-p256');
    const whole = await read('demo/ca');
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length * 8 - 1), async (bit) => {
        const damaged = Buffer.from(whole);
        damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        await write('demo/ca', damaged);
        // Opening the provider already tries a key.
        await assert.rejects(
          async () => (await bench.provider(inStore)).signer('demo/ca'),
          (error: Error & { code?: string }) => {
            assert.ok(['DataLoss', 'FailedPrecondition'].includes(error.code ?? ''), `${error.code}: ${error.message}`);
            return true;
          },
        );
      }),
      { numRuns: 60 },
    );
    await write('demo/ca', whole);
    assert.ok(await (await bench.provider(inStore)).signer('demo/ca'));
  });

  it("refuses another key's record in the place of one, also when it was made to say the right name", async () => {
    await provider.generate('demo/a', 'ecdsa-p256');
    await provider.generate('demo/b', 'ecdsa-p256');
    await write('demo/a', await read('demo/b'));
    const other = await bench.provider(inStore);
    await assert.rejects(other.signer('demo/a'), { code: 'DataLoss', message: /in another's place/ });
    await change('demo/a', { id: 'demo/a' });
    await assert.rejects(async () => (await bench.provider(inStore)).signer('demo/a'), { code: 'DataLoss', message: /in another's place/ });
  });

  it('refuses parts of one record in another', async () => {
    await provider.generate('demo/a', 'ecdsa-p256');
    await provider.generate('demo/b', 'ecdsa-p256');
    const whole = await read('demo/a');
    const b = JSON.parse((await read('demo/b')).toString()) as Record<string, unknown>;
    for (const field of ['publicKey', 'dataKey', 'privateKey']) {
      await change('demo/a', { [field]: b[field] });
      await assert.rejects(async () => (await bench.provider(inStore)).signer('demo/a'), { code: 'DataLoss' }, field);
      await write('demo/a', whole);
    }
  });

  it('says at its start that the key-encryption key is not the one, which one it is, and tells no key', async () => {
    await provider.generate('demo/ca', 'ecdsa-p256');
    const text = randomBytes(32).toString('base64');
    const wrong = bench.writeKek('wrong', text);
    await assert.rejects(bench.provider({ ...inStore, store: { kekFile: wrong } }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'FailedPrecondition');
      assert.match(
        error.message,
        /sealed under the key-encryption key [0-9a-f]{16}, and known here are only [0-9a-f]{16} \(.*wrong\); put the right file back/,
      );
      assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes(text));
      return true;
    });
  });

  it('refuses a key-encryption key that is missing, that others can read, or that is none', async () => {
    const with_ = (kekFile: string): Promise<KeyProvider> => bench.provider({ ...inStore, store: { kekFile } });
    await assert.rejects(with_(join(bench.folder, 'none')), { code: 'FailedPrecondition', message: /is missing; put it back/ });
    for (const text of [
      '',
      'short',
      randomBytes(31).toString('base64'),
      randomBytes(33).toString('base64'),
      `${'A'.repeat(43)}*`,
      'A'.repeat(44),
    ]) {
      await assert.rejects(
        with_(bench.writeKek('odd', text)),
        { code: 'FailedPrecondition', message: /is not understood; expected 32 random bytes/ },
        text,
      );
    }
    chmodSync(bench.kekFile, 0o640);
    await assert.rejects(with_(bench.kekFile), {
      code: 'FailedPrecondition',
      message: /can be read by others \(mode 0640\); run chmod 600/,
    });
    await assert.rejects(bench.provider({ ...inStore, store: {} }), {
      code: 'FailedPrecondition',
      message: /there is no key-encryption key/,
    });
  });

  it("takes systemd's credential where no file is configured, with the mode that systemd gives it", async () => {
    const credentials = join(bench.folder, 'credentials');
    const { mkdirSync } = await import('node:fs');
    mkdirSync(credentials, { mode: 0o700 });
    writeFileSync(join(credentials, 'ca-kek'), randomBytes(32).toString('base64'), { mode: 0o400 });
    // The group bits of a file with an ACL are its mask.
    chmodSync(join(credentials, 'ca-kek'), 0o440);
    const env = { CREDENTIALS_DIRECTORY: credentials };
    assert.ok(await (await bench.provider({ ...inStore, store: {} }, { env })).generate('k', 'ecdsa-p256'));
    chmodSync(join(credentials, 'ca-kek'), 0o444);
    await assert.rejects(bench.provider({ ...inStore, store: {} }, { env }), {
      code: 'FailedPrecondition',
      message: /can be read by others/,
    });
  });

  it('names a key that is damaged, and opens the others', async () => {
    await provider.generate('demo/a', 'ecdsa-p256');
    await provider.generate('demo/b', 'ecdsa-p256');
    await write('demo/a', Buffer.from('rubbish'));
    const later = await bench.provider(inStore);
    assert.ok(await later.signer('demo/b'));
    await assert.rejects(later.signer('demo/a'), { code: 'DataLoss', message: /the sealed key demo\/a in the store is damaged/ });
    await assert.rejects(later.generate('demo/a', 'ecdsa-p256'), { code: 'AlreadyExists' });
    await later.delete('demo/a');
    await later.generate('demo/a', 'ecdsa-p256');
  });

  it('goes on signing while its key is put under another key-encryption key, and afterwards with that one alone', async () => {
    const signers = await Promise.all(['demo/a', 'demo/b', 'demo/c'].map((id) => provider.generate(id, 'ecdsa-p256')));
    const next = bench.writeKek('next');
    const both = { ...inStore, store: { kekFile: bench.kekFile, otherKekFiles: [next] } };
    const running = await bench.provider(both);
    const held = await running.signer('demo/a');
    assert.deepEqual(await bench.places(both).rotateKek(next), { rewrapped: 3, total: 3 });
    assert.deepEqual(await bench.places(both).rotateKek(next), { rewrapped: 0, total: 3 });
    assert.ok(verify('sha256', data, held.publicKey, await held.sign(data)));
    assert.ok(await running.signer('demo/b'));
    rmSync(bench.kekFile);
    const later = await bench.provider({ ...inStore, store: { kekFile: next } });
    for (const [i, id] of ['demo/a', 'demo/b', 'demo/c'].entries()) {
      const signer = await later.signer(id);
      assert.deepEqual(spkiDer(signer.publicKey), spkiDer(signers[i]?.publicKey ?? signer.publicKey));
    }
  });

  it('puts no key under a key-encryption key that coordinators do not know', async () => {
    await provider.generate('demo/a', 'ecdsa-p256');
    const before = await read('demo/a');
    await assert.rejects(bench.places(inStore).rotateKek(bench.writeKek('next')), {
      code: 'FailedPrecondition',
      message: /name it in caKeys\.store\.otherKekFiles/,
    });
    assert.deepEqual(await read('demo/a'), before);
  });

  it('never logs a key or a key-encryption key', async () => {
    const lines: string[] = [];
    const log = (message: string, fields?: object): void => void lines.push(message + JSON.stringify(fields));
    const logger: Logger = { debug: log, info: log, warn: log, error: log, child: () => logger };
    const logged = await bench.provider(inStore, { logger });
    await logged.generate('shared/k', 'ecdsa-p256');
    const pem = await logged.exportShared('shared/k');
    await write('shared/k', Buffer.from('rubbish'));
    await assert.rejects(async () => (await bench.provider(inStore, { logger })).signer('shared/k'));
    await logged.delete('shared/k');
    assert.ok(lines.length >= 2);
    for (const line of lines) assert.ok(!line.includes(pem.split('\n')[1] ?? ''));
  });
});
