import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { certificatesToPem, parseCrl, toPem } from '@evercert/shared/x509';
import type { TestNode } from '../support/coordinator.ts';
import { until } from '../support/live.ts';
import { type IssuedPair, type RevocableCluster, startRevocableCluster } from '../support/revocable.ts';
import { makeSoftHsm, needSoftHsm, type SoftHsm } from '../support/softhsm.ts';
import { findTool, needTool, runOk } from '../support/tools.ts';

describe('a coordinator whose CA keys are on a token', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-token-'));
  let hsm: SoftHsm;
  let cluster: RevocableCluster;
  let node: TestNode;
  let good: IssuedPair;
  let revoked: IssuedPair;
  let openssl: string;
  let caPath: string;
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };

  before(async function () {
    needSoftHsm(this);
    openssl = needTool(this, 'openssl');
    hsm = await makeSoftHsm();
    cluster = await startRevocableCluster({ caKeys: { provider: 'pkcs11', pkcs11: hsm.config } });
    node = await cluster.join('cp-1', '192.0.2.1');
    good = await cluster.issue(node, 'checked');
    revoked = await cluster.issue(node, 'checked');
    file('good.crt', certificatesToPem([good.certificate]));
    file('revoked.crt', certificatesToPem([revoked.certificate]));
    const authority = Buffer.from(await (await fetch(`${cluster.url}/ca/demo/cluster-ca.crt`)).arrayBuffer());
    caPath = file('ca.crt', certificatesToPem([authority]));
    const before = parseCrl(await cluster.crl('cluster-ca'));
    await cluster.revoke('stolen', [{ serial: revoked.serial, reason: 'keyCompromise' }]);
    await until('the next CRL', 5000, async () => (parseCrl(await cluster.crl('cluster-ca')).number ?? 0n) > (before.number ?? 0n));
    file('ca.crl', toPem('X509 CRL', await cluster.crl('cluster-ca')));
  });

  after(async () => {
    node?.client.close();
    await cluster?.coordinator.dispose();
    hsm?.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  it('issues certificates that OpenSSL verifies', async () => {
    await runOk(openssl, ['verify', '-x509_strict', '-CAfile', caPath, join(folder, 'good.crt')]);
  });

  it('signs CRLs', async () => {
    const { stderr } = await runOk(openssl, ['crl', '-in', join(folder, 'ca.crl'), '-CAfile', caPath, '-noout']);
    assert.match(stderr, /verify OK/);
  });

  for (const name of ['good', 'revoked']) {
    it(`answers by OCSP what is ${name}`, async () => {
      const args = ['ocsp', '-issuer', caPath, '-CAfile', caPath, '-url', `${cluster.url}/ocsp/demo/cluster-ca`];
      const { stdout, stderr } = await runOk(openssl, [...args, '-cert', join(folder, `${name}.crt`), '-resp_text']);
      assert.match(stderr, /Response verify OK/);
      assert.match(stdout + stderr, new RegExp(`${name}\\.crt: ${name}`));
    });
  }

  it('has no CA key in its data folder, and says where the keys are', async () => {
    const kept = readdirSync(join(cluster.coordinator.dataDir, 'keys'), { recursive: true, encoding: 'utf8' });
    assert.deepEqual(
      kept.filter((name) => name.endsWith('.key') && !name.startsWith('shared/')),
      [],
    );
    const ids = await cluster.coordinator.keys.list();
    const onToken = ids.filter((id) => !id.startsWith('shared/'));
    assert.ok(onToken.length >= 4, 'three CAs of the cluster and the control CA');
    for (const id of onToken) assert.equal(await cluster.coordinator.keys.kindOf(id), 'pkcs11');
  });

  it('has keys that the token itself calls sensitive and never extractable', async function () {
    const tool = findTool('pkcs11-tool');
    if (tool === undefined) {
      process.stderr.write('skipped: pkcs11-tool is not installed (Debian: opensc)\n');
      this.skip();
    }
    const { stdout } = await runOk(
      tool,
      ['--module', hsm.module, '--token-label', hsm.label, '--login', '--pin', hsm.pin, '--list-objects', '--type', 'privkey'],
      { env: hsm.environment },
    );
    const access = stdout.split('\n').filter((line) => /^\s*Access:/.test(line));
    assert.ok(access.length >= 4, stdout);
    for (const line of access) assert.match(line, /sensitive.*never extractable/);
  });
});
