import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import type { KeyProvider, KeyProviderKind } from '@evercert/coordinator/keys';
import { systemClock } from '@evercert/shared/clock';
import { keyAlgorithmOf, spkiDer } from '@evercert/shared/x509';

export interface KeyProviderFixture {
  provider: KeyProvider;
  /** What it says of its keys. */
  kind: KeyProviderKind;
  /** True: what another process destroys signs nothing here any more. */
  seesDestruction: boolean;
  /** Opens the same keys anew, as after a restart or in another process. The fixture closes it. */
  reopen(): Promise<KeyProvider>;
  cleanup(): Promise<void>;
}

const data = Buffer.from('to be signed');

/** Every promise of the key provider's contract. */
export function describeKeyProviderContract(name: string, open: () => Promise<KeyProviderFixture>): void {
  describe(`${name} as a key provider`, () => {
    let fixture: KeyProviderFixture;
    let provider: KeyProvider;

    beforeEach(async () => {
      fixture = await open();
      provider = fixture.provider;
    });

    afterEach(() => fixture.cleanup());

    for (const [algorithm, hash] of [
      ['ecdsa-p256', 'sha256'],
      ['ecdsa-p384', 'sha384'],
      ['rsa-3072', 'sha256'],
    ] as const) {
      it(`makes ${algorithm} keys whose signatures with ${hash} verify`, async () => {
        const signer = await provider.generate('demo/cluster-ca/1', algorithm);
        assert.equal(signer.keyAlgorithm, algorithm);
        assert.equal(keyAlgorithmOf(signer.publicKey), algorithm);
        assert.equal(signer.publicKey.type, 'public');
        assert.ok(verify(hash, data, signer.publicKey, await signer.sign(data)));
      });
    }

    it('opens the same key again, also after a restart', async () => {
      const made = await provider.generate('demo/etcd-ca/1', 'ecdsa-p256');
      const opened = await provider.signer('demo/etcd-ca/1');
      const later = await (await fixture.reopen()).signer('demo/etcd-ca/1');
      for (const signer of [opened, later]) {
        assert.deepEqual(spkiDer(signer.publicKey), spkiDer(made.publicKey));
        assert.ok(verify('sha256', data, made.publicKey, await signer.sign(data)));
      }
    });

    it("takes over a key that was made elsewhere, kubeadm's RSA 2048 included, under an id that is free", async () => {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
      const signer = await provider.import('demo/cluster-ca/1', privateKey);
      const later = await (await fixture.reopen()).signer('demo/cluster-ca/1');
      for (const each of [signer, later]) {
        assert.equal(each.keyAlgorithm, 'rsa-2048');
        assert.ok(verify('sha256', data, createPublicKey(privateKey), await each.sign(data)));
      }
      await assert.rejects(provider.import('demo/cluster-ca/1', privateKey), { code: 'AlreadyExists' });
      const odd = generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey;
      await assert.rejects(provider.import('demo/cluster-ca/2', odd), { code: 'InvalidArgument' });
      assert.deepEqual(await provider.list(), ['demo/cluster-ca/1']);
    });

    it('signs many at the same time', async () => {
      const signer = await provider.generate('k', 'ecdsa-p384');
      const signatures = await Promise.all(Array.from({ length: 20 }, (_, i) => signer.sign(Buffer.from(String(i)))));
      for (const [i, signature] of signatures.entries()) assert.ok(verify('sha384', Buffer.from(String(i)), signer.publicKey, signature));
    });

    it('makes no second key under an id that is taken, whoever asks at the same time or later', async () => {
      const results = await Promise.allSettled([1, 2, 3].map(() => provider.generate('k', 'ecdsa-p256')));
      assert.deepEqual(results.map((result) => (result.status === 'rejected' ? result.reason.code : 'made')).sort(), [
        'AlreadyExists',
        'AlreadyExists',
        'made',
      ]);
      await assert.rejects((await fixture.reopen()).generate('k', 'ecdsa-p256'), { code: 'AlreadyExists' });
    });

    it('says NotFound for a key that does not exist, and makes it afterwards', async () => {
      await assert.rejects(provider.signer('none'), { code: 'NotFound' });
      await provider.generate('none', 'ecdsa-p256');
      assert.ok(await provider.signer('none'));
    });

    it('lists the ids in order', async () => {
      assert.deepEqual(await provider.list(), []);
      for (const id of ['shared/demo/sa', 'demo/cluster-ca/1', 'demo/cluster-ca/2', 'control-ca'])
        await provider.generate(id, 'ecdsa-p256');
      assert.deepEqual(await provider.list(), ['control-ca', 'demo/cluster-ca/1', 'demo/cluster-ca/2', 'shared/demo/sa']);
      assert.deepEqual(await (await fixture.reopen()).list(), await provider.list());
    });

    it('deletes for good, and as often as asked', async () => {
      const first = await provider.generate('demo/k', 'ecdsa-p256');
      await provider.delete('demo/k');
      await provider.delete('demo/k');
      await provider.delete('never/there');
      await assert.rejects(provider.signer('demo/k'), { code: 'NotFound' });
      assert.deepEqual(await provider.list(), []);
      const second = await provider.generate('demo/k', 'ecdsa-p256');
      assert.notDeepEqual(spkiDer(first.publicKey), spkiDer(second.publicKey));
    });

    it('signs nothing any more by a key that is deleted, whoever still has it open', async () => {
      const signer = await provider.generate('demo/k', 'ecdsa-p256');
      await provider.delete('demo/k');
      await assert.rejects(signer.sign(data), { code: 'NotFound' });
      const again = await provider.generate('demo/k', 'ecdsa-p256');
      assert.ok(verify('sha256', data, again.publicKey, await again.sign(data)));
      await assert.rejects(signer.sign(data), { code: 'NotFound' });
    });

    it('finds what another process makes, and follows what it destroys', async () => {
      const other = await fixture.reopen();
      const made = await other.generate('demo/k', 'ecdsa-p256');
      const here = await provider.signer('demo/k');
      assert.ok(verify('sha256', data, made.publicKey, await here.sign(data)));
      assert.deepEqual(await provider.list(), ['demo/k']);
      await assert.rejects(provider.generate('demo/k', 'ecdsa-p256'), { code: 'AlreadyExists' });
      await other.delete('demo/k');
      assert.deepEqual(await provider.list(), []);
      if (!fixture.seesDestruction) return;
      await eventually(() => assert.rejects(here.sign(data), { code: 'NotFound' }));
      await eventually(() => assert.rejects(provider.signer('demo/k'), { code: 'NotFound' }));
    });

    it('never makes two keys of one id, when several processes want it at once', async () => {
      const others = await Promise.all([fixture.reopen(), fixture.reopen()]);
      const results = await Promise.allSettled([provider, ...others].map((each) => each.generate('demo/k', 'ecdsa-p256')));
      const made = results.filter((result) => result.status === 'fulfilled').length;
      const refusals = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []));
      if (fixture.kind === 'pkcs11') {
        // A token knows no unique names: there, two that see each other both withdraw, and SoftHSM2 itself fails now and then when several processes write.
        assert.ok(made <= 1 && refusals.every((code) => code === 'AlreadyExists' || code === 'Unavailable'), `${made} made, ${refusals}`);
        return;
      }
      assert.deepEqual([made, refusals], [1, ['AlreadyExists', 'AlreadyExists']]);
      assert.deepEqual(await provider.list(), ['demo/k']);
    });

    it('says where a key is', async () => {
      await provider.generate('demo/cluster-ca/1', 'ecdsa-p256');
      assert.equal(await provider.kindOf('demo/cluster-ca/1'), fixture.kind);
      await assert.rejects(provider.kindOf('none'), { code: 'NotFound' });
    });

    it('hands out shared keys as PKCS#8, and no other', async () => {
      const signer = await provider.generate('shared/demo/sa', 'ecdsa-p256');
      await provider.generate('demo/cluster-ca/1', 'ecdsa-p256');
      const pem = await provider.exportShared('shared/demo/sa');
      assert.match(pem, /^-----BEGIN PRIVATE KEY-----\n/);
      assert.deepEqual(spkiDer(createPublicKey(createPrivateKey(pem))), spkiDer(signer.publicKey));
      await assert.rejects(provider.exportShared('demo/cluster-ca/1'), { code: 'PermissionDenied' });
      await assert.rejects(provider.exportShared('shared/none'), { code: 'NotFound' });
    });

    it('refuses every id that is no path of plain segments', async () => {
      const ids = [
        '',
        '/',
        '/k',
        'k/',
        'a//b',
        '.',
        '..',
        '../k',
        'a/../b',
        'a/..',
        '.hidden',
        'a/.b',
        'K',
        'a b',
        'a\\b',
        'a\0b',
        'é',
        'x'.repeat(129),
        'a..b',
      ];
      for (const id of ids) {
        await assert.rejects(provider.generate(id, 'ecdsa-p256'), { code: 'InvalidArgument' }, id);
        await assert.rejects(provider.signer(id), { code: 'InvalidArgument' }, id);
        await assert.rejects(provider.delete(id), { code: 'InvalidArgument' }, id);
        await assert.rejects(provider.exportShared(`shared/${id}`), { code: 'InvalidArgument' }, id);
      }
      assert.deepEqual(await provider.list(), []);
    });
  });
}

/** A watch tells in its own time. */
async function eventually(check: () => Promise<void>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await check();
      return;
    } catch (error) {
      if (attempt >= 100) throw error;
      await systemClock.sleep(20);
    }
  }
}
