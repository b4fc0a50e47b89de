import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { checkKeySharing, type KeyProvider, type KeyProviderKind, type Signer } from '@evercert/coordinator/keys';
import type { Store } from '@evercert/coordinator/store';
import { spkiDer } from '@evercert/shared/x509';
import { KeyBench } from '../../../support/keys.ts';

const data = Buffer.from('to be signed');
const signs = async (signer: Signer): Promise<void> => assert.ok(verify('sha256', data, signer.publicKey, await signer.sign(data)));

describe('keys in several places', () => {
  let bench: KeyBench;

  beforeEach(async () => {
    bench = await KeyBench.open();
  });

  afterEach(() => bench.dispose());

  const move = async (id: string | undefined, from: KeyProviderKind, to: KeyProviderKind): Promise<string[]> => {
    const told: string[] = [];
    await bench.places({ provider: to, also: [from] }).move({ id, from, to }, (each, outcome) => told.push(`${each}: ${outcome}`));
    return told;
  };

  for (const [from, to] of [
    ['file', 'store'],
    ['store', 'file'],
  ] as const) {
    it(`move from ${from} to ${to}, and a coordinator that has both goes on signing by the signers that it holds`, async () => {
      const old = await bench.provider({ provider: from });
      const ids = ['control-ca/1', 'demo/cluster-ca/1', 'shared/demo/sa/1'];
      const made = await Promise.all(ids.map((id) => old.generate(id, 'ecdsa-p256')));
      await old.close();
      const running = await bench.provider({ provider: to, also: [from] });
      const held = await Promise.all(ids.map((id) => running.signer(id)));
      assert.equal(await running.kindOf('control-ca/1'), from);
      assert.deepEqual(
        await move(undefined, from, to),
        ids.map((id) => `${id}: moved`),
      );
      for (const [i, id] of ids.entries()) {
        await signs(held[i] as Signer);
        assert.equal(await running.kindOf(id), to);
        assert.deepEqual(spkiDer((await running.signer(id)).publicKey), spkiDer((made[i] as Signer).publicKey));
      }
      assert.deepEqual(await move(undefined, from, to), []);
      const alone = await bench.provider({ provider: to });
      assert.deepEqual(await alone.list(), ids);
      assert.deepEqual(await (await bench.provider({ provider: from })).list(), []);
      assert.match(await alone.exportShared('shared/demo/sa/1'), /BEGIN PRIVATE KEY/);
    });
  }

  it('move one at a time, and say so of one that has moved', async () => {
    const old = await bench.provider({ provider: 'file' });
    await old.generate('demo/a', 'ecdsa-p256');
    await old.generate('demo/b', 'ecdsa-p256');
    assert.deepEqual(await move('demo/a', 'file', 'store'), ['demo/a: moved']);
    assert.deepEqual(await move('demo/a', 'file', 'store'), ['demo/a: there already']);
    await assert.rejects(move('demo/c', 'file', 'store'), { code: 'NotFound', message: /there is no key demo\/c in file/ });
    await assert.rejects(move('demo/b', 'store', 'store'), { code: 'InvalidArgument' });
    const listed = await bench.places({ provider: 'store' }).list();
    assert.deepEqual(
      listed.map(({ id, provider, algorithm }) => [id, provider, algorithm]),
      [
        ['demo/a', 'store', 'ecdsa-p256'],
        ['demo/b', 'file', 'ecdsa-p256'],
      ],
    );
  });

  it('finish a move that was interrupted after the copy', async () => {
    const old = await bench.provider({ provider: 'file' });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await old.import('demo/a', privateKey);
    await (await bench.provider({ provider: 'store' })).import('demo/a', privateKey);
    const both = await bench.provider({ provider: 'store', also: ['file'] });
    assert.deepEqual(await both.list(), ['demo/a']);
    await signs(await both.signer('demo/a'));
    assert.deepEqual(await move(undefined, 'file', 'store'), ['demo/a: moved']);
    assert.deepEqual(await (await bench.provider({ provider: 'file' })).list(), []);
  });

  it('are all left alone when another key has the same id in the new place', async () => {
    const old = await bench.provider({ provider: 'file' });
    const first = await old.generate('demo/a', 'ecdsa-p256');
    const second = await (await bench.provider({ provider: 'store' })).generate('demo/a', 'ecdsa-p256');
    await assert.rejects(move('demo/a', 'file', 'store'), { code: 'Conflict', message: /nothing was changed/ });
    for (const [kind, signer] of [
      ['file', first],
      ['store', second],
    ] as const)
      assert.deepEqual(spkiDer((await (await bench.provider({ provider: kind })).signer('demo/a')).publicKey), spkiDer(signer.publicKey));
  });

  it('are made in the new place, never under an id that is taken in the old one, and deleted in both', async () => {
    const old = await bench.provider({ provider: 'file' });
    await old.generate('demo/a', 'ecdsa-p256');
    const both = await bench.provider({ provider: 'store', also: ['file'] });
    await assert.rejects(both.generate('demo/a', 'ecdsa-p256'), { code: 'AlreadyExists' });
    await both.generate('demo/b', 'ecdsa-p256');
    assert.equal(await both.kindOf('demo/b'), 'store');
    await both.delete('demo/a');
    assert.deepEqual(await both.list(), ['demo/b']);
    await assert.rejects(both.signer('demo/a'), { code: 'NotFound' });
    await assert.rejects(both.kindOf('demo/a'), { code: 'NotFound' });
    await assert.rejects(both.exportShared('demo/b'), { code: 'PermissionDenied' });
  });

  it('are refused in files of one coordinator when several may share the store', async () => {
    const { store } = bench;
    const shared: Store = new Proxy(store, { get: (target, name) => (name === 'shared' ? true : bound(target, name)) });
    const open = (caKeys: Record<string, unknown>): Promise<KeyProvider> => bench.provider(caKeys, { store: shared });
    await assert.rejects(open({ provider: 'file' }), {
      code: 'FailedPrecondition',
      message: /use caKeys\.provider: store .* or set caKeys\.file\.shared: true/,
    });
    await open({ provider: 'file', file: { shared: true } });
    await open({ provider: 'store' });
    const token = { module: '/none.so', token: { label: 'x' }, pinFile: '/none' };
    assert.throws(() => checkKeySharing(bench.config({ provider: 'pkcs11', pkcs11: { ...token, sharedKeys: 'file' } }).caKeys, shared), {
      code: 'FailedPrecondition',
    });
    checkKeySharing(bench.config({ provider: 'pkcs11', pkcs11: token }).caKeys, shared);
  });

  it('are described by a configuration that says what is wrong with it', () => {
    for (const [caKeys, message] of [
      [{ provider: 'token' }, /provider/],
      [{ provider: 'pkcs11' }, /expected a section pkcs11 with module and token/],
      [{ also: ['pkcs11'] }, /expected a section pkcs11/],
      [{ pkcs11: { module: '/x.so', token: {} } }, /expected at least one of label, serial and slot/],
      [{ passphraseFile: '/a', file: { passphraseFile: '/b' } }, /not both/],
    ] as const)
      assert.throws(() => bench.config(caKeys), message);
    assert.equal(bench.config({ passphraseFile: '/a' }).caKeys.provider, 'file');
  });
});

function bound(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? value.bind(target) : value;
}
