import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import { certificatesFromPem, certificatesToPem, createPkcs12, privateKeyFromPem, toPem } from '@evercert/shared/x509';
import { evercert, type IssuedLeaf, RotatingCa } from '../support/rotating-ca.ts';
import { needTool, run, runOk } from '../support/tools.ts';

const serverNames = { commonName: 'kube-apiserver', dnsNames: ['node-1'], ipAddresses: ['127.0.0.1'] };

describe("an intermediate's certificates before other people's tools", () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-intermediate-'));
  const path = (name: string): string => join(folder, name);
  let ca: RotatingCa;
  let server: IssuedLeaf;
  let client: IssuedLeaf;
  let root: string;
  let oldRoot: string;

  before(async () => {
    ca = await RotatingCa.create(join(folder, 'ca'), 'cluster-ca');
    oldRoot = ca.bundlePem();
    await ca.nextIntermediate();
    ca.activate();
    ca.retire();
    root = ca.bundlePem();
    server = await ca.issue({ ...serverNames, usages: ['digital signature', 'server auth'] });
    client = await ca.issue({
      commonName: 'system:node:node-1',
      organizations: ['system:nodes'],
      usages: ['digital signature', 'client auth'],
    });
    const [intermediate] = server.chain.slice(1);
    writeFileSync(path('root.pem'), root);
    writeFileSync(path('old-root.pem'), oldRoot);
    writeFileSync(path('intermediate.pem'), certificatesToPem([intermediate!]));
    for (const [name, leaf] of Object.entries({ server, client })) {
      writeFileSync(path(`${name}.pem`), certificatesToPem([leaf.chain[0]!]));
      writeFileSync(path(`${name}-chain.pem`), leaf.chainPem);
      writeFileSync(path(`${name}.key`), leaf.keyPem);
    }
    writeFileSync(path('server.crl'), toPem('X509 CRL', await ca.crl(ca.record.serial, [server.serial])));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  it('are trusted by the offline root alone, which stands in the bundle and in no chain', () => {
    const [anchor, ...more] = certificatesFromPem(root);
    assert.equal(more.length, 0);
    assert.equal(server.chain.length, 2);
    assert.ok(!server.chain.some((der) => der.equals(anchor!)));
  });

  it('pass OpenSSL strictly with the chain that is delivered, and not without', async function () {
    const openssl = needTool(this, 'openssl');
    const verify = ['verify', '-x509_strict', '-check_ss_sig', '-CAfile', path('root.pem')];
    await runOk(openssl, [...verify, path('intermediate.pem')]);
    await runOk(openssl, [
      ...verify,
      '-purpose',
      'sslserver',
      '-verify_hostname',
      'node-1',
      '-untrusted',
      path('server-chain.pem'),
      path('server.pem'),
    ]);
    await runOk(openssl, [...verify, '-purpose', 'sslclient', '-untrusted', path('client-chain.pem'), path('client.pem')]);
    assert.notEqual((await run(openssl, [...verify, path('server.pem')])).status, 0);
    const old = ['verify', '-x509_strict', '-CAfile', path('old-root.pem'), '-untrusted', path('server-chain.pem'), path('server.pem')];
    assert.notEqual((await run(openssl, old)).status, 0);
  });

  it('pass GnuTLS as a chain', async function () {
    const certtool = needTool(this, 'certtool');
    for (const [name, purpose] of [
      ['server', '1.3.6.1.5.5.7.3.1'],
      ['client', '1.3.6.1.5.5.7.3.2'],
    ] as const) {
      const args = [
        '--verify',
        '--load-ca-certificate',
        path('root.pem'),
        '--infile',
        path(`${name}-chain.pem`),
        '--verify-purpose',
        purpose,
      ];
      assert.match((await runOk(certtool, args)).stdout, /Verified\. The certificate is trusted/);
    }
  });

  it('pass NSS with the intermediate known', async function () {
    const certutil = needTool(this, 'certutil');
    const database = `sql:${folder}`;
    await runOk(certutil, ['-N', '-d', database, '--empty-password']);
    await runOk(certutil, ['-A', '-d', database, '-n', 'root', '-t', 'CT,C,C', '-i', path('root.pem')]);
    await runOk(certutil, ['-A', '-d', database, '-n', 'intermediate', '-t', ',,', '-i', path('intermediate.pem')]);
    for (const [name, usage] of [
      ['server', 'V'],
      ['client', 'C'],
    ] as const) {
      await runOk(certutil, ['-A', '-d', database, '-n', name, '-t', ',,', '-i', path(`${name}.pem`)]);
      assert.match((await runOk(certutil, ['-V', '-d', database, '-n', name, '-u', usage, '-e'])).stdout, /certificate is valid/);
    }
  });

  it('are refused by OpenSSL when the CRL of the intermediate lists them', async function () {
    const openssl = needTool(this, 'openssl');
    const check = ['verify', '-crl_check', '-CAfile', path('root.pem'), '-CRLfile', path('server.crl')];
    const revoked = await run(openssl, [...check, '-untrusted', path('server-chain.pem'), path('server.pem')]);
    assert.match(revoked.stdout + revoked.stderr, /certificate revoked/);
    await runOk(openssl, [...check, '-untrusted', path('client-chain.pem'), path('client.pem')]);
  });

  it('are refused by who checks the CRLs of all CAs on the way, until the root’s is there too', async function () {
    const openssl = needTool(this, 'openssl');
    const signer = ['--root-certificate', 'root/root.crt', '--root-key', 'root/root.key', '--passphrase-file', 'passphrase'];
    await evercert(join(folder, 'ca'), 'ca', 'sign-crl', ...signer, '--out', 'root.crl');
    const check = [
      'verify',
      '-crl_check_all',
      '-CAfile',
      path('root.pem'),
      '-CRLfile',
      path('server.crl'),
      '-untrusted',
      path('client-chain.pem'),
    ];
    const without = await run(openssl, [...check, path('client.pem')]);
    assert.match(without.stdout + without.stderr, /unable to get certificate CRL/);
    await runOk(openssl, [...check, '-CRLfile', path('ca/root.crl'), path('client.pem')]);
    const revoked = ['--previous', 'root.crl', '--revoke', '../intermediate.pem=cACompromise', '--out', 'root-2.crl'];
    await evercert(join(folder, 'ca'), 'ca', 'sign-crl', ...signer, ...revoked);
    const after = await run(openssl, [...check, '-CRLfile', path('ca/root-2.crl'), path('client.pem')]);
    assert.match(after.stdout + after.stderr, /certificate revoked/);
  });

  it('open as PKCS#12 with the intermediate in it', async function () {
    const openssl = needTool(this, 'openssl');
    const password = 'correct horse';
    const p12 = await createPkcs12({
      chain: server.chain,
      privateKey: privateKeyFromPem(server.keyPem),
      password,
      friendlyName: 'apiserver',
    });
    writeFileSync(path('pair.p12'), p12);
    const { stdout } = await runOk(openssl, ['pkcs12', '-in', path('pair.p12'), '-passin', `pass:${password}`, '-nodes']);
    for (const der of server.chain) assert.ok(stdout.includes(toPem('CERTIFICATE', der)));
  });

  it('carry a handshake of both sides, each with its chain, and none without', async () => {
    const options = { ca: root, key: server.keyPem, cert: server.chainPem, requestCert: true, rejectUnauthorized: true };
    const handshake = async (cert: string): Promise<boolean> => {
      const listener = createServer(options, (socket) => socket.end('hello'));
      listener.on('tlsClientError', () => {});
      await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
      const { port } = listener.address() as { port: number };
      try {
        return await new Promise<boolean>((resolve) => {
          const socket = connect({ host: '127.0.0.1', port, ca: root, cert, key: client.keyPem });
          socket.once('data', () => resolve(true));
          socket.once('error', () => resolve(false));
          socket.once('close', () => resolve(false));
        });
      } finally {
        listener.close();
      }
    };
    assert.equal(await handshake(client.chainPem), true);
    assert.equal(await handshake(certificatesToPem([client.chain[0]!])), false);
  });
});
