import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contextsPath, loadMaterial, readContexts, resolveContext } from '@evercert/cli/contexts';
import { certificatesToPem, privateKeyToPem } from '@evercert/shared/x509';
import { testCa } from './pki-folder.ts';
import { contextsFile, run } from './support.ts';

describe('the contexts file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-contexts-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const files = ['--certificate-authority', 'ca.crt', '--client-certificate', 'admin.crt', '--client-key', 'admin.key'];
  const config = (...args: string[]) => run(['config', ...args, '--config', join(folder, 'deep', 'config.yaml')], { cwd: folder });

  it('is the one named by --config, else by the environment, else in the home folder', () => {
    const base = { homeDir: '/home/me', cwd: '/srv' };
    assert.equal(contextsPath({ ...base, env: {} }), '/home/me/.config/evercert/config.yaml');
    assert.equal(contextsPath({ ...base, env: { EVERCERT_CONFIG: 'my.yaml' } }), '/srv/my.yaml');
    assert.equal(contextsPath({ ...base, env: { EVERCERT_CONFIG: 'my.yaml' }, config: '/etc/other.yaml' }), '/etc/other.yaml');
  });

  it('gives paths relative to itself', async () => {
    const context = await resolveContext(contextsFile, undefined);
    assert.equal(context.clientKey, join(contextsFile, '..', 'admin.key'));
    assert.deepEqual([context.name, context.cluster], ['demo', 'demo']);
  });

  it('is made by set-context, readable by its owner alone, with the first context as the current one', async () => {
    const outcome = await config('set-context', 'prod', '--server', 'C.example:7443', ...files, '--cluster', 'blue');
    assert.deepEqual(outcome, { exitCode: 0, out: 'Context "prod" created.\n', err: '' });
    const path = join(folder, 'deep', 'config.yaml');
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(statSync(join(folder, 'deep')).mode & 0o777, 0o700);
    const { currentContext, contexts } = await readContexts(path);
    assert.equal(currentContext, 'prod');
    assert.deepEqual(contexts[0], {
      name: 'prod',
      server: 'c.example:7443',
      certificateAuthority: join(folder, 'ca.crt'),
      clientCertificate: join(folder, 'admin.crt'),
      clientKey: join(folder, 'admin.key'),
      cluster: 'blue',
    });
  });

  it('changes only what is named', async () => {
    await config('set-context', 'prod', '--server', 'c:1', ...files);
    await config('set-context', 'test', '--server', 'd:2', ...files);
    assert.equal((await config('set-context', 'prod', '--cluster', 'green')).out, 'Context "prod" modified.\n');
    assert.equal(
      (await config('get-contexts')).out,
      'CURRENT   NAME   SERVER   CLUSTER\n*         prod   c:1      green\n          test   d:2\n',
    );
    assert.equal((await config('use-context', 'test')).out, 'Switched to context "test".\n');
    assert.equal((await config('current-context')).out, 'test\n');
  });

  it('refuses what would not work, and then writes nothing', async () => {
    assert.equal((await config('set-context', 'prod', '--server', 'c:1')).exitCode, 2);
    const bad = await config('set-context', 'prod', '--server', 'no port', ...files);
    assert.equal(bad.exitCode, 2);
    assert.match(bad.err, /contexts\.0\.server/);
    assert.match((await config('get-contexts')).err, /^No contexts found in /);
    assert.equal((await config('use-context', 'prod')).exitCode, 2);
    assert.match((await config('current-context')).err, /there is no context in .*admin\/config\.yaml/);
  });

  it('is refused with file and line for a key that it does not know', async () => {
    const path = join(folder, 'config.yaml');
    writeFileSync(path, readFileSync(contextsFile, 'utf8').replace('clientKey:', 'clientkey:'));
    const { exitCode, err } = await run(['get', 'nodes', '--config', path]);
    assert.equal(exitCode, 2);
    assert.match(err, /config\.yaml:8:\d+: contexts\[0\]\.clientkey: unknown key "clientkey"; did you mean "clientKey"/);
  });

  it('holds other coordinators of the same store beside the server', async () => {
    await config('set-context', 'prod', '--server', 'a:1', ...files, '--endpoints', 'B.example:2,a:1,c:3');
    const { contexts } = await readContexts(join(folder, 'deep', 'config.yaml'));
    assert.deepEqual(contexts[0]?.endpoints, ['b.example:2', 'a:1', 'c:3']);
    assert.match((await config('get-contexts')).out, /prod {3}a:1,b\.example:2,a:1,c:3/);
    await config('set-context', 'prod', '--server', 'd:4');
    assert.equal((await readContexts(join(folder, 'deep', 'config.yaml'))).contexts[0]?.endpoints?.length, 3);
    await config('set-context', 'prod', '--endpoints', '');
    assert.equal((await readContexts(join(folder, 'deep', 'config.yaml'))).contexts[0]?.endpoints, undefined);
    assert.equal((await config('set-context', 'prod', '--endpoints', 'no port')).exitCode, 2);
  });

  describe('and the files that it names', () => {
    const material = async () => loadMaterial(await resolveContext(join(folder, 'config.yaml'), 'demo'));
    beforeEach(async () => {
      const ca = await testCa('control-ca');
      const admin = await ca.issue('admin');
      writeFileSync(join(folder, 'config.yaml'), readFileSync(contextsFile));
      writeFileSync(join(folder, 'ca.crt'), certificatesToPem([ca.der]));
      writeFileSync(join(folder, 'admin.crt'), certificatesToPem([admin.der]));
      writeFileSync(join(folder, 'admin.key'), privateKeyToPem(admin.privateKey), { mode: 0o600 });
    });

    it('are read', async () => {
      const { server, trustAnchors, chain, privateKey } = await material();
      assert.deepEqual((await material()).endpoints, [server]);
      assert.deepEqual([server, trustAnchors.length, chain.length, privateKey.type], ['coordinator.test:7443', 1, 1, 'private']);
    });

    it('are refused when the key can be used by others', async () => {
      chmodSync(join(folder, 'admin.key'), 0o644);
      await assert.rejects(material(), { code: 'InvalidConfig', message: /admin\.key: has mode 0644.*chmod 0600/ });
    });

    it('are refused when they are missing or hold something else', async () => {
      writeFileSync(join(folder, 'ca.crt'), 'nothing');
      await assert.rejects(material(), {
        code: 'InvalidConfig',
        message: /context "demo".*certificateAuthority .*ca\.crt: there is no certificate/,
      });
      rmSync(join(folder, 'ca.crt'));
      await assert.rejects(material(), { code: 'InvalidConfig', message: /cannot read its certificateAuthority/ });
      writeFileSync(join(folder, 'admin.key'), 'secret, but no key');
      await assert.rejects(material(), (error: Error) => !error.message.includes('secret'));
    });
  });
});
