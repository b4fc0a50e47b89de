import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CertificateObserver } from '@evercert/local';
import {
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  type KeyPair,
  newSerial,
  type PreparedIssuer,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

const nowMs = Date.parse('2026-03-01T12:00:00Z');

describe('the observer of a node’s certificate files', () => {
  let root: string;
  let ca: PreparedIssuer;
  let observer: CertificateObserver;

  before(async () => {
    const { privateKey } = await generateKeyPair('ecdsa-p256');
    const signer = signerFor(privateKey);
    const times = { notBefore: new Date(nowMs - 60_000), notAfter: new Date(nowMs + 600_000) };
    ca = prepareIssuer(await createRootCertificate({ commonName: 'ca', signer, serial: newSerial(), ...times }), signer);
  });

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'evercert-observer-'));
    observer = new CertificateObserver(root);
  });

  afterEach(() => rmSync(root, { recursive: true, force: true }));

  async function leaf(key: KeyPair, endMs = nowMs + 60_000): Promise<string> {
    const profile = { commonName: 'x', organizations: [], dnsNames: [], ipAddresses: [], uris: [], usages: ['digital signature' as const] };
    const times = { notBefore: new Date(nowMs - 60_000), notAfter: new Date(endMs) };
    return certificatesToPem([
      await issueLeaf(ca, { spki: spkiDer(key.publicKey), keyAlgorithm: 'ecdsa-p256', profile, serial: newSerial(), ...times }),
    ]);
  }

  function put(path: string, content: string): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }

  it('finds leaves in PEM files, combined files and kubeconfigs, and no CA', async () => {
    const [a, b, c] = await Promise.all([generateKeyPair('ecdsa-p256'), generateKeyPair('ecdsa-p256'), generateKeyPair('ecdsa-p256')]);
    put('etc/kubernetes/pki/ca.crt', certificatesToPem([ca.der]));
    put('etc/kubernetes/pki/etcd/server.crt', await leaf(a));
    put('var/lib/kubelet/pki/kubelet-client-current.pem', (await leaf(b)) + privateKeyToPem(b.privateKey));
    put('etc/kubernetes/admin.conf', `users:\n- user:\n    client-certificate-data: ${Buffer.from(await leaf(c)).toString('base64')}\n`);
    const files = await observer.look(nowMs);
    assert.deepEqual(files.map(({ path }) => path).sort(), [
      'etc/kubernetes/admin.conf',
      'etc/kubernetes/pki/etcd/server.crt',
      'var/lib/kubelet/pki/kubelet-client-current.pem',
    ]);
    assert.deepEqual([observer.replacements, observer.reusedKeys, observer.lapsedSerials], [0, 0, []]);
  });

  it('counts replacements, and keys that come back in another certificate', async () => {
    const [first, second] = await Promise.all([generateKeyPair('ecdsa-p256'), generateKeyPair('ecdsa-p256')]);
    for (const key of [first, second, first]) {
      put('etc/kubernetes/pki/apiserver.crt', await leaf(key));
      await observer.look(nowMs);
      await observer.look(nowMs);
    }
    assert.deepEqual([observer.replacements, observer.reusedKeys], [2, 1]);
  });

  it('sees a certificate that ran out where it lies, but minds neither kubelet’s dated files nor damaged ones', async () => {
    const key = await generateKeyPair('ecdsa-p256');
    put('var/lib/kubelet/pki/kubelet-client-2026-03-01-11-00-00.pem', await leaf(key, nowMs - 1000));
    put('etc/kubernetes/pki/broken.crt', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
    await observer.look(nowMs);
    assert.deepEqual(observer.lapsedSerials, []);
    put('etc/kubernetes/pki/etcd/peer.crt', await leaf(key, nowMs - 1000));
    await observer.look(nowMs);
    assert.equal(observer.lapsedSerials.length, 1);
  });
});
