import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { certificatesToPem, createCrl, newSerial, parseCertificate, parseCrl, toPem } from '@evercert/shared/x509';
import type { TestNode } from '../support/coordinator.ts';
import { until } from '../support/live.ts';
import { type IssuedPair, type RevocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { needTool, run, runOk } from '../support/tools.ts';
import { at, makeCa } from '../unit/shared/x509/fixtures.ts';

describe('what is revoked, as other tools see it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-crl-'));
  let cluster: RevocableCluster;
  let node: TestNode;
  let good: IssuedPair;
  let revoked: IssuedPair;
  let kubelet: IssuedPair;
  let caPath: string;
  let openssl: string;
  const file = (name: string, content: string | Buffer): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const ocspUrl = (): string => `${cluster.url}/ocsp/demo/cluster-ca`;

  before(async function () {
    openssl = needTool(this, 'openssl');
    cluster = await startRevocableCluster();
    node = await cluster.join('cp-1', '192.0.2.1');
    good = await cluster.issue(node, 'checked');
    revoked = await cluster.issue(node, 'checked');
    kubelet = await cluster.issue(node, 'kubelet-serving');
    for (const [name, pair] of Object.entries({ good, revoked, kubelet })) file(`${name}.crt`, certificatesToPem([pair.certificate]));
    const authority = Buffer.from(await (await fetch(`${cluster.url}/ca/demo/cluster-ca.crt`)).arrayBuffer());
    caPath = file('ca.crt', certificatesToPem([authority]));
    const before = parseCrl(await cluster.crl('cluster-ca'));
    await cluster.revoke('stolen', [{ serial: revoked.serial, reason: 'keyCompromise' }, { serial: kubelet.serial }]);
    await until('the next CRL', 5000, async () => (parseCrl(await cluster.crl('cluster-ca')).number ?? 0n) > (before.number ?? 0n));
    file('ca.crl', toPem('X509 CRL', await cluster.crl('cluster-ca')));
  });

  after(async () => {
    node?.client.close();
    await cluster?.coordinator.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is named by the leaves of manifests that ask for it, and by no others', () => {
    const { crlUrls, ocspUrls, caIssuerUrls } = parseCertificate(good.certificate);
    const base = cluster.url.replace('127.0.0.1', 'localhost');
    assert.deepEqual(
      [crlUrls, ocspUrls, caIssuerUrls],
      [[`${base}/crl/demo/cluster-ca.crl`], [`${base}/ocsp/demo/cluster-ca`], [`${base}/ca/demo/cluster-ca.crt`]],
    );
    const { crlUrls: none, ocspUrls: neither } = parseCertificate(kubelet.certificate);
    assert.deepEqual([none, neither], [[], []]);
  });

  it('is told at once by a CRL that OpenSSL verifies', async () => {
    const { stderr } = await runOk(openssl, ['crl', '-in', join(folder, 'ca.crl'), '-CAfile', caPath, '-noout']);
    assert.match(stderr, /verify OK/);
    const { stdout } = await runOk(openssl, ['crl', '-in', join(folder, 'ca.crl'), '-noout', '-text']);
    assert.match(stdout, new RegExp(`Serial Number: ${revoked.serial}[^]*Key Compromise`, 'i'));
    assert.match(stdout, /X509v3 CRL Number/);
    assert.equal(stdout.match(/Serial Number/g)?.length, 2);
  });

  for (const [name, verdict] of [
    ['good', 0],
    ['revoked', 23],
    ['kubelet', 23],
  ] as const) {
    it(`makes OpenSSL judge ${name === 'kubelet' ? "a kubelet's serving certificate" : `a ${name} certificate`} by the CRL`, async () => {
      const args = [
        'verify',
        '-x509_strict',
        '-crl_check',
        '-CAfile',
        caPath,
        '-CRLfile',
        join(folder, 'ca.crl'),
        join(folder, `${name}.crt`),
      ];
      const { status, stdout, stderr } = await run(openssl, args);
      if (verdict === 0) assert.equal(status, 0, stderr);
      else assert.match(stdout + stderr, new RegExp(`error ${verdict} at 0 depth lookup: certificate revoked`));
    });
  }

  it('is told by a CRL that GnuTLS verifies', async function () {
    const certtool = needTool(this, 'certtool');
    const result = await run(certtool, ['--verify-crl', '--load-ca-certificate', caPath, '--infile', join(folder, 'ca.crl')]);
    assert.match(result.stdout + result.stderr, /Verified\.|verified/i);
    const { stdout } = await runOk(certtool, ['--crl-info', '--infile', join(folder, 'ca.crl')]);
    assert.match(stdout, /Revoked certificates \(2\)/);
  });

  it('is downloaded by OpenSSL from where the certificate says', async () => {
    const { status, stdout, stderr } = await run(openssl, [
      'verify',
      '-crl_check',
      '-crl_download',
      '-CAfile',
      caPath,
      join(folder, 'revoked.crt'),
    ]);
    assert.notEqual(status, 0);
    assert.match(stdout + stderr, /certificate revoked/);
    await runOk(openssl, ['verify', '-crl_check', '-crl_download', '-CAfile', caPath, join(folder, 'good.crt')]);
  });

  describe('by OCSP', () => {
    const ask = async (name: string, ...more: string[]): Promise<string> => {
      const args = [
        'ocsp',
        '-issuer',
        caPath,
        '-CAfile',
        caPath,
        '-url',
        ocspUrl(),
        ...more,
        '-cert',
        join(folder, `${name}.crt`),
        '-resp_text',
      ];
      const { stdout, stderr } = await runOk(openssl, args);
      assert.match(stderr, /Response verify OK/);
      return stdout + stderr;
    };

    it('OpenSSL learns what is good, revoked and why, with a nonce', async () => {
      assert.match(await ask('good'), /good\.crt: good/);
      const text = await ask('revoked');
      assert.match(text, /revoked\.crt: revoked/);
      assert.match(text, /Reason: keyCompromise/);
      assert.match(text, /OCSP Nonce/);
      assert.match(text, /Responder Id: [0-9A-F]{40}/);
      assert.match(text, /OCSP No Check|No Check/);
      assert.match(await ask('kubelet'), /kubelet\.crt: revoked/);
    });

    it('OpenSSL is answered without a nonce, by SHA-256 CertIDs, and about several at once', async () => {
      assert.match(await ask('good', '-no_nonce'), /good\.crt: good/);
      assert.match(await ask('revoked', '-no_nonce', '-sha256'), /revoked\.crt: revoked/);
      const both = await ask('good', '-cert', join(folder, 'revoked.crt'));
      assert.match(both, /good\.crt: good/);
      assert.match(both, /revoked\.crt: revoked/);
    });

    it('a serial that was never issued is unknown, one of another CA too', async () => {
      const args = ['ocsp', '-issuer', caPath, '-CAfile', caPath, '-url', ocspUrl(), '-serial', `0x${newSerial()}`];
      assert.match((await runOk(openssl, args)).stdout, /: unknown/);
      const peer = await cluster.issue(node, 'etcd-peer');
      assert.match((await runOk(openssl, [...args.slice(0, -1), `0x${peer.serial}`])).stdout, /: unknown/);
    });

    it('a question about another CA is refused as unauthorized', async () => {
      const other = await makeCa('other');
      const path = file('other.crt', certificatesToPem([other.der]));
      const { stdout, stderr } = await run(openssl, ['ocsp', '-issuer', path, '-CAfile', caPath, '-url', ocspUrl(), '-serial', '0x1234']);
      assert.match(stdout + stderr, /Responder Error: unauthorized \(6\)/);
    });

    it('a request in the path of a GET has the same answer, which caches may keep', async () => {
      const request = join(folder, 'request.der');
      await runOk(openssl, ['ocsp', '-issuer', caPath, '-cert', join(folder, 'revoked.crt'), '-no_nonce', '-reqout', request]);
      const { output } = await runOk(openssl, ['base64', '-A', '-in', request]);
      for (const text of [encodeURIComponent(output.toString()), output.toString()]) {
        const response = await fetch(`${ocspUrl()}/${text}`);
        assert.equal(response.headers.get('content-type'), 'application/ocsp-response');
        assert.match(response.headers.get('cache-control') ?? '', /^public, max-age=\d+, must-revalidate$/);
        const path = file('response.der', Buffer.from(await response.arrayBuffer()));
        const { stdout, stderr } = await runOk(openssl, [
          'ocsp',
          '-respin',
          path,
          '-issuer',
          caPath,
          '-cert',
          join(folder, 'revoked.crt'),
          '-CAfile',
          caPath,
        ]);
        assert.match(stderr, /Response verify OK/);
        assert.match(stdout, /revoked\.crt: revoked/);
      }
    });

    it('GnuTLS agrees', async function () {
      const ocsptool = needTool(this, 'ocsptool');
      const said = async (name: string): Promise<string> => {
        const args = [`--ask=${ocspUrl()}`, '--load-cert', join(folder, `${name}.crt`), '--load-issuer', caPath, '--load-trust', caPath];
        const { stdout, stderr } = await run(ocsptool, [...args, '--nonce']);
        return stdout + stderr;
      };
      const goodText = await said('good');
      assert.match(goodText, /Certificate Status: good/);
      assert.match(goodText, /Verifying OCSP Response: Success/);
      const revokedText = await said('revoked');
      assert.match(revokedText, /Certificate Status: revoked/);
      assert.match(revokedText, /Verifying OCSP Response: Success/);
    });

    it('a released certificate is good again at once', async () => {
      await cluster.revoke('stolen', [{ serial: kubelet.serial }]);
      assert.match(await ask('revoked', '-no_nonce'), /revoked\.crt: good/);
      await until('the CRL without it', 5000, async () => parseCrl(await cluster.crl('cluster-ca')).revoked.length === 1);
    });
  });

  it('of a hundred thousand certificates is a list that OpenSSL verifies', async () => {
    const ca = await makeCa('many');
    const revokedMany = Array.from({ length: 100_000 }, () => ({ serial: newSerial(), revokedAt: at(0), reason: 'superseded' as const }));
    const crl = await createCrl({ issuer: ca.issuer, number: 1, thisUpdate: at(0), nextUpdate: at(24), revoked: revokedMany });
    const path = file('many.crl', crl);
    const caFile = file('many.crt', certificatesToPem([ca.der]));
    const { stderr } = await runOk(openssl, ['crl', '-inform', 'DER', '-in', path, '-CAfile', caFile, '-noout']);
    assert.match(stderr, /verify OK/);
  });
});
