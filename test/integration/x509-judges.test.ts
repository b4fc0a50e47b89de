import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  certificatesToPem,
  createPkcs12,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  type KeyPair,
  type LeafProfile,
  newSerial,
  parseCertificate,
  prepareIssuer,
  privateKeyToPem,
  signerFor,
  spkiDer,
  toPem,
} from '@evercert/shared/x509';
import { assertCleanDer } from '../support/dumpasn1.ts';
import { needTool, runOk } from '../support/tools.ts';

const hourMs = 3_600_000;
const password = 'correct horse';
const none = { dnsNames: [], ipAddresses: [], uris: [] };
const profiles = {
  server: {
    ...none,
    commonName: 'kube-apiserver',
    organizations: [],
    dnsNames: ['node-1', 'kubernetes', 'kubernetes.default.svc.cluster.local'],
    ipAddresses: ['10.96.0.1', '2001:db8::1'],
    usages: ['digital signature', 'key encipherment', 'server auth'],
  },
  client: {
    ...none,
    // Longer than X.520's 64 characters, as a node's name may make it.
    commonName: `system:node:${'a-long-name-of-a-node.'.repeat(4)}example`,
    organizations: ['system:nodes', 'Bücher, Äpfel & Co.'],
    usages: ['digital signature', 'key encipherment', 'client auth'],
  },
  both: {
    ...none,
    commonName: 'node-1',
    organizations: [],
    dnsNames: ['node-1', 'localhost'],
    ipAddresses: ['127.0.0.1', '::1'],
    uris: ['spiffe://demo.evercert/node/node-1'],
    usages: ['digital signature', 'key encipherment', 'server auth', 'client auth'],
  },
  nameless: {
    ...none,
    commonName: '',
    organizations: [],
    dnsNames: ['node-1'],
    usages: ['digital signature', 'key encipherment', 'server auth'],
  },
} as const satisfies Record<string, unknown>;
type ProfileName = keyof typeof profiles;
const names = Object.keys(profiles) as ProfileName[];
const isServer = (name: ProfileName): boolean => name !== 'client';
const isClient = (name: ProfileName): boolean => name === 'client' || name === 'both';

for (const algorithm of ['ecdsa-p384', 'rsa-4096'] as const) {
  describe(`certificates of ${algorithm} before other people's tools`, () => {
    let folder: string;
    let root: Buffer;
    let key: KeyPair;
    const leaves = new Map<ProfileName, Buffer>();
    const path = (name: string): string => join(folder, name);

    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'evercert-judges-'));
      // One key for all leaves: RSA 4096 takes seconds to make.
      const [caKey, leafKey] = await Promise.all([generateKeyPair(algorithm), generateKeyPair(algorithm)]);
      key = leafKey;
      const signer = signerFor(caKey.privateKey);
      const [notBefore, notAfter] = [Date.now() - hourMs, Date.now() + 96 * hourMs].map((ms) => new Date(ms)) as [Date, Date];
      const life = { notBefore, notAfter: new Date(notAfter.getTime() + 87_600 * hourMs) };
      root = await createRootCertificate({ commonName: 'kubernetes-ca', uniqueAttribute: 'g1', signer, serial: newSerial(), ...life });
      const issuer = prepareIssuer(root, signer);
      await writeFile(path('root.pem'), certificatesToPem([root]));
      for (const name of names) {
        const profile = profiles[name] as unknown as LeafProfile;
        const request = { spki: spkiDer(key.publicKey), keyAlgorithm: algorithm, profile, serial: newSerial(), notBefore, notAfter };
        const der = await issueLeaf(issuer, request);
        leaves.set(name, der);
        await writeFile(path(`${name}.pem`), certificatesToPem([der]));
      }
      const chain = [leaves.get('server') as Buffer, root];
      await writeFile(path('pair.p12'), await createPkcs12({ chain, privateKey: key.privateKey, password, friendlyName: 'apiserver' }));
    });
    after(() => rm(folder, { recursive: true, force: true }));

    it('pass OpenSSL strictly, for their purpose', async function () {
      const openssl = needTool(this, 'openssl');
      const verify = ['verify', '-x509_strict', '-check_ss_sig', '-CAfile', path('root.pem')];
      await runOk(openssl, [...verify, path('root.pem')]);
      for (const name of names) {
        if (isServer(name)) await runOk(openssl, [...verify, '-purpose', 'sslserver', '-verify_hostname', 'node-1', path(`${name}.pem`)]);
        if (isClient(name)) await runOk(openssl, [...verify, '-purpose', 'sslclient', path(`${name}.pem`)]);
      }
    });

    it('pass GnuTLS', async function () {
      const certtool = needTool(this, 'certtool');
      for (const name of names) {
        const purpose = isServer(name)
          ? ['--verify-purpose', '1.3.6.1.5.5.7.3.1', '--verify-hostname', 'node-1']
          : ['--verify-purpose', '1.3.6.1.5.5.7.3.2'];
        const { stdout } = await runOk(certtool, [
          '--verify',
          '--load-ca-certificate',
          path('root.pem'),
          '--infile',
          path(`${name}.pem`),
          ...purpose,
        ]);
        assert.match(stdout, /Verified\. The certificate is trusted/);
      }
    });

    it('pass NSS', async function () {
      const certutil = needTool(this, 'certutil');
      const database = `sql:${folder}`;
      await runOk(certutil, ['-N', '-d', database, '--empty-password']);
      await runOk(certutil, ['-A', '-d', database, '-n', 'root', '-t', 'CT,C,C', '-i', path('root.pem')]);
      for (const name of names) {
        await runOk(certutil, ['-A', '-d', database, '-n', name, '-t', ',,', '-i', path(`${name}.pem`)]);
        for (const usage of [...(isServer(name) ? ['V'] : []), ...(isClient(name) ? ['C'] : [])]) {
          const { stdout } = await runOk(certutil, ['-V', '-d', database, '-n', name, '-u', usage, '-e']);
          assert.match(stdout, /certificate is valid/);
        }
      }
    });

    it('are clean DER to dumpasn1', async function () {
      const dumpasn1 = needTool(this, 'dumpasn1');
      for (const name of ['root' as const, ...names]) {
        await assertCleanDer(dumpasn1, name === 'root' ? root : (leaves.get(name) as Buffer), path(`${name}.der`));
      }
    });

    it('are told alike by OpenSSL and by our own reader', async function () {
      const openssl = needTool(this, 'openssl');
      for (const name of names) {
        const info = parseCertificate(leaves.get(name) as Buffer);
        const options = ['-noout', '-serial', '-subject', '-nameopt', 'rfc2253,-esc_msb', '-fingerprint'];
        const { stdout } = await runOk(openssl, ['x509', '-in', path(`${name}.pem`), ...options]);
        assert.ok(stdout.includes(`serial=${info.serial.toUpperCase()}\n`), stdout);
        assert.ok(stdout.includes(`subject=${info.subject}\n`), `${stdout} against ${info.subject}`);
      }
    });

    it('open as PKCS#12 in OpenSSL, with key and chain unchanged', async function () {
      const openssl = needTool(this, 'openssl');
      const { stdout } = await runOk(openssl, ['pkcs12', '-in', path('pair.p12'), '-passin', `pass:${password}`, '-nodes']);
      const blocks = [toPem('CERTIFICATE', leaves.get('server') as Buffer), toPem('CERTIFICATE', root), privateKeyToPem(key.privateKey)];
      for (const expected of [...blocks, 'friendlyName: apiserver']) assert.ok(stdout.includes(expected));
    });

    it('open as PKCS#12 in Java', async function () {
      const keytool = needTool(this, 'keytool');
      const store = ['-keystore', path('pair.p12'), '-storetype', 'PKCS12', '-storepass', password];
      const { stdout } = await runOk(keytool, ['-list', ...store, '-J-Duser.language=en']);
      assert.match(stdout, /apiserver, .*PrivateKeyEntry/);
    });
  });
}
