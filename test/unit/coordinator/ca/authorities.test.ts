import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authorities, type AuthorityRecord, certificatesAbove, intermediatesOf } from '@evercert/coordinator/ca';
import { type KeyProvider, openFileKeyProvider } from '@evercert/coordinator/keys';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import {
  certificatesToPem,
  generateKeyPair,
  issueCa,
  newSerial,
  openCsr,
  parseCertificate,
  parseName,
  pemBlocks,
  verifyChain,
} from '@evercert/shared/x509';
import { at, type Ca, makeCa, startMs, withCode } from '../../shared/x509/fixtures.ts';

describe('the CAs of a coordinator', () => {
  let folder: string;
  let keys: KeyProvider;
  let authorities: Authorities;
  let record: AuthorityRecord;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-authorities-'));
    const files = { directory: join(folder, 'keys'), passphraseFile: join(folder, 'passphrase') };
    keys = await openFileKeyProvider({ ...files, createPassphrase: true, logger: silentLogger });
    authorities = new Authorities({ keys, clock: new FakeClock(startMs), backdateMs: 60_000 });
    record = await authorities.create('demo', 'cluster-ca', 'ecdsa-p256');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  const info = (der: string) => parseCertificate(Buffer.from(der, 'base64'));

  it('begin as roots of ten years, trusted by themselves', () => {
    const { subject, issuer, notAfter } = info(record.certificate);
    assert.match(subject, /^CN=kubernetes-ca,serialNumber=[0-9a-f]{8}$/);
    assert.deepEqual([issuer, record.bundle, record.bundleVersion], [subject, [record.certificate], 1]);
    assert.equal(notAfter.getTime(), startMs + 10 * 365.25 * 86_400_000);
  });

  it('have a next generation with a key and a subject of its own, of another algorithm where it is asked for', async () => {
    const next = await authorities.createNext(record, 'ecdsa-p384');
    assert.notEqual(next.keyId, record.keyId);
    assert.equal((await keys.signer(next.keyId)).keyAlgorithm, 'ecdsa-p384');
    assert.notEqual(info(next.certificate).subject, info(record.certificate).subject);
    assert.equal(info(next.certificate).commonName, 'kubernetes-ca');
  });

  it('vouch for their next generation to those who trust the present one alone', async () => {
    const next = await authorities.createNext(record, 'ecdsa-p256');
    const cross = Buffer.from(next.cross!, 'base64');
    verifyChain({ chain: [cross], anchors: [Buffer.from(record.certificate, 'base64')], atMs: startMs });
    const [own, crossed] = [info(next.certificate), parseCertificate(cross)];
    assert.deepEqual([crossed.subject, crossed.spkiSha256, crossed.subjectKeyId], [own.subject, own.spkiSha256, own.subjectKeyId]);
    assert.ok(crossed.notAfter.getTime() <= record.notAfterMs);
  });

  it('open for signing each generation by itself, and not one whose key is elsewhere', async () => {
    const next = await authorities.createNext(record, 'ecdsa-p256');
    const own = { cluster: 'demo', name: 'cluster-ca' };
    const [first, second] = [await authorities.issuer(record), await authorities.issuer({ ...own, ...next })];
    assert.deepEqual([first.serial, second.serial], [record.serial, next.serial]);
    assert.equal(await authorities.issuer(record), first, 'opened once');
    await assert.rejects(authorities.issuer({ ...own, ...next, keyId: '' }), withCode('FailedPrecondition', /only watched/));
    await authorities.destroyKeys([next.keyId]);
    await assert.rejects(authorities.issuer({ ...own, ...next }), withCode('NotFound'));
  });

  describe('that go under another one', () => {
    let root: Ca;
    before(async () => {
      root = await makeCa('demo root', 'r1');
    });

    it('ask for a certificate with a key of their own, and take what comes of it', async () => {
      const request = await authorities.createRequest(record, 'ecdsa-p256');
      const { subject, spki, requested } = await openCsr(pemBlocks(request.pem)[0]!.der);
      assert.equal(requested.isCa, true);
      assert.match(parseName(subject).text, /^CN=kubernetes-ca,serialNumber=/);
      const der = await issueCa(root.issuer, { subject, spki, pathLength: 0, serial: newSerial(), notBefore: at(0), notAfter: at(100) });
      const next = await authorities.acceptCertificate(record, request, certificatesToPem([der, root.der]), []);
      assert.deepEqual([next.keyId, next.root], [request.keyId, root.der.toString('base64')]);
      assert.equal((await authorities.issuer({ cluster: 'demo', name: 'cluster-ca', ...next })).serial, next.serial);
      const again = await authorities.acceptCertificate({ ...record, next }, request, certificatesToPem([der, root.der]), []);
      assert.deepEqual(again, next, 'given once more, as after a lost answer');
      const other = await authorities.createRequest(record, 'ecdsa-p256');
      await assert.rejects(
        authorities.acceptCertificate(record, other, certificatesToPem([der, root.der]), []),
        withCode('InvalidCertificate', /none of its certificates is for the key/),
      );
    });

    it('are taken over with what stands above them, where it came along', async () => {
      const { privateKey, publicKey } = await generateKeyPair('ecdsa-p256');
      const { subjectDer } = parseCertificate((await makeCa('imported', 'i1')).der);
      const spki = publicKey.export({ type: 'spki', format: 'der' });
      const der = await issueCa(root.issuer, { subject: subjectDer, spki, serial: newSerial(), notBefore: at(0), notAfter: at(100) });
      const whole = await authorities.import('demo', 'etcd-ca', [der, root.der], privateKey);
      assert.deepEqual([certificatesAbove(whole), intermediatesOf(whole)], [[root.der], [der]]);
      assert.deepEqual(
        whole.bundle,
        [der, root.der].map((each) => each.toString('base64')),
        'nodes go on to trust what they did',
      );
      const alone = await authorities.import('demo', 'front-proxy-ca', [der], undefined);
      assert.deepEqual([alone.root, intermediatesOf(alone)], [undefined, []]);
    });
  });
});
