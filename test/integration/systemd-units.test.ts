import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { chmodSync, cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KeyBench } from '../support/keys.ts';
import { findTool, needTool, repositoryRoot, run, runOk } from '../support/tools.ts';

const highestExposure = 2.5;
const install = join(repositoryRoot, 'deploy', 'install.sh');

describe('the systemd installation', () => {
  let root: string;
  let analyze: string;

  before(async function () {
    analyze = needTool(this, 'systemd-analyze');
    root = mkdtempSync(join(tmpdir(), 'evercert-units-'));
    for (const part of ['coordinator', 'agent']) await runOk(install, [part, '--destdir', root]);
    // The targets that the units name.
    cpSync('/lib/systemd/system', join(root, 'lib', 'systemd', 'system'), { recursive: true, force: false, verbatimSymlinks: true });
  });

  after(() => {
    if (root !== undefined) rmSync(root, { recursive: true, force: true });
  });

  for (const part of ['coordinator', 'agent']) {
    const unit = `evercert-${part}.service`;

    it(`gives the ${part} a unit that systemd-analyze verify accepts without a word`, async () => {
      const result = await run(analyze, ['verify', `--root=${root}`, '--recursive-errors=yes', unit]);
      assert.deepEqual([result.status, result.stdout + result.stderr], [0, '']);
    });

    it(`keeps the ${part}'s exposure at most ${highestExposure}`, async () => {
      const { stdout } = await runOk(analyze, ['security', '--offline=true', '--no-pager', `--root=${root}`, unit]);
      const exposure = /Overall exposure level for .*: ([0-9.]+)/.exec(stdout)?.[1];
      assert.ok(exposure !== undefined && Number(exposure) <= highestExposure, `exposure ${exposure}\n${stdout}`);
    });

    it(`starts the ${part} by a launcher that lies where the unit looks`, () => {
      const command = /^ExecStart=(\S+)/m.exec(readFileSync(join(root, 'lib', 'systemd', 'system', unit), 'utf8'))?.[1] ?? '';
      assert.ok(statSync(join(root, command)).mode & 0o001, command);
    });
  }

  it('accepts each of the drop-ins that come as examples', async () => {
    const examples = join(repositoryRoot, 'deploy', 'systemd', 'examples', 'evercert-coordinator.service.d');
    const dropIns = join(root, 'etc', 'systemd', 'system', 'evercert-coordinator.service.d');
    for (const name of readdirSync(examples)) {
      cpSync(join(examples, name), join(dropIns, name), { recursive: true });
      const result = await run(analyze, ['verify', `--root=${root}`, '--recursive-errors=yes', 'evercert-coordinator.service']);
      assert.deepEqual([result.status, result.stdout + result.stderr], [0, ''], name);
      rmSync(dropIns, { recursive: true });
    }
  });

  it("lets no copy of the coordinator's memory be written: no core dump, no swap, no debugger by the environment", () => {
    const unit = readFileSync(join(root, 'lib', 'systemd', 'system', 'evercert-coordinator.service'), 'utf8');
    for (const line of ['LimitCORE=0', 'CoredumpFilter=elf-headers', 'MemorySwapMax=0', 'UnsetEnvironment=NODE_OPTIONS'])
      assert.ok(unit.split('\n').includes(line), line);
  });

  it('is refused by the same check when a setting is misspelt', async () => {
    const file = join(root, 'lib', 'systemd', 'system', 'evercert-misspelt.service');
    const text = readFileSync(join(root, 'lib', 'systemd', 'system', 'evercert-agent.service'), 'utf8');
    writeFileSync(file, text.replace('PrivateTmp', 'PrivateTemp'));
    const result = await run(analyze, ['verify', `--root=${root}`, '--recursive-errors=yes', 'evercert-misspelt.service']);
    assert.equal(result.status, 1);
    assert.match(result.stderr, /PrivateTemp/);
  });

  it('installs programs that run from there, on the Node that they bring', async () => {
    for (const program of ['evercert-coordinator', 'evercert-agent', 'evercert']) {
      const { stdout } = await runOk(join(root, 'usr', 'bin', program), ['--version'], { env: { PATH: '/usr/bin:/bin' } });
      assert.match(stdout, /^\d+\.\d+\.\d+\n$/, program);
    }
  });

  it('brings no package that only development needs', () => {
    const modules = join(root, 'usr', 'lib', 'evercert', 'node_modules');
    assert.deepEqual(
      ['mocha', 'typescript', '@biomejs', '@bufbuild/buf', 'winston'].map((name) => existsSync(join(modules, name))),
      [false, false, false, false, true],
    );
  });

  it('keeps a configuration that is there when it is run again', async () => {
    const configuration = join(root, 'etc', 'evercert', 'coordinator.yaml');
    writeFileSync(configuration, '# mine\n');
    const { stdout } = await runOk(install, ['coordinator', '--destdir', root]);
    assert.equal(readFileSync(configuration, 'utf8'), '# mine\n');
    assert.match(stdout, /Kept/);
    assert.ok(existsSync(join(root, 'usr', 'lib', 'evercert', 'agent', 'src')), 'the agent that was there before');
  });

  it('puts the agent configuration, which may name a token, out of the reach of others', () => {
    assert.equal(statSync(join(root, 'etc', 'evercert-agent', 'agent.yaml')).mode & 0o777, 0o600);
  });

  it('writes another prefix into the unit', async () => {
    const other = mkdtempSync(join(tmpdir(), 'evercert-prefix-'));
    try {
      await runOk(install, ['agent', '--destdir', other, '--prefix', '/usr/local']);
      assert.match(
        readFileSync(join(other, 'lib', 'systemd', 'system', 'evercert-agent.service'), 'utf8'),
        /^ExecStart=\/usr\/local\/bin\/evercert-agent /m,
      );
    } finally {
      rmSync(other, { recursive: true, force: true });
    }
  });

  it('has the CA keys opened by a passphrase that lies on the disk encrypted alone', async function () {
    const creds = needTool(this, 'systemd-creds');
    if (process.getuid?.() !== 0) return this.skip();
    const folder = mkdtempSync(join(tmpdir(), 'evercert-credentials-'));
    const bench = await KeyBench.open();
    try {
      const encrypted = join(folder, 'ca-passphrase.encrypted');
      await runOk(creds, ['encrypt', '--with-key=host', '--name=ca-passphrase', '-', encrypted], {
        input: randomBytes(32).toString('base64'),
      });
      // What LoadCredentialEncrypted= does for the service.
      await runOk(creds, ['decrypt', '--name=ca-passphrase', encrypted, join(folder, 'ca-passphrase')]);
      chmodSync(join(folder, 'ca-passphrase'), 0o400);
      const env = { CREDENTIALS_DIRECTORY: folder };
      await (await bench.provider({ provider: 'file' }, { env })).generate('demo/ca', 'ecdsa-p256');
      assert.ok(await (await bench.provider({ provider: 'file' }, { env })).signer('demo/ca'));
      assert.equal(existsSync(join(bench.folder, 'ca-passphrase')), false);
      await assert.rejects(runOk(creds, ['decrypt', '--name=ca-kek', encrypted, '-']), /./);
    } finally {
      await bench.dispose();
      rmSync(folder, { recursive: true });
    }
  });

  it('declares users and folders that systemd accepts', async function () {
    const sysusers = needTool(this, 'systemd-sysusers');
    const tmpfiles = findTool('systemd-tmpfiles');
    assert.ok(tmpfiles);
    if (process.getuid?.() !== 0) return this.skip();
    await runOk(sysusers, [`--root=${root}`, 'evercert-coordinator.conf']);
    assert.match(readFileSync(join(root, 'etc', 'passwd'), 'utf8'), /^evercert:x:\d+:\d+:/m);
    for (const part of ['coordinator', 'agent']) {
      const result = await run(tmpfiles, [`--root=${root}`, '--create', `evercert-${part}.conf`]);
      assert.deepEqual([result.status, result.stderr], [0, '']);
    }
    assert.equal(statSync(join(root, 'var', 'lib', 'kubelet', 'pki')).mode & 0o777, 0o750);
  });

  it('tells a wrong argument and what it expected', async () => {
    const result = await run(install, ['kubelet']);
    assert.equal(result.status, 1);
    assert.match(result.stderr, /unknown argument 'kubelet'/);
  });
});
