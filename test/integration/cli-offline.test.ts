import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needTool, type RunResult, repositoryRoot, run, runOk } from '../support/tools.ts';

const evercert = join(repositoryRoot, 'cli', 'bin', 'evercert');

/** The real command, as a person without a coordinator runs it. */
describe('the evercert command without a coordinator', function () {
  this.timeout(60_000);
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'evercert-offline-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const cli = (args: string[], input = ''): Promise<RunResult> =>
    run(evercert, args, { cwd: folder, input, env: { HOME: folder, EVERCERT_CONFIG: undefined } });

  /** Certificates that are not ours, made by OpenSSL as an administrator would. */
  async function opensslFolder(openssl: string): Promise<void> {
    const at = (name: string): string => join(folder, 'pki', name);
    mkdirSync(at('etcd'), { recursive: true });
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384', '-nodes'];
    await runOk(openssl, [
      'req',
      '-x509',
      ...newKey,
      '-keyout',
      at('ca.key'),
      '-out',
      at('ca.crt'),
      '-subj',
      '/CN=kubernetes-ca',
      '-days',
      '3650',
    ]);
    for (const [name, subject] of [
      ['apiserver', '/CN=kube-apiserver'],
      ['etcd/server', '/CN=cp-1'],
    ] as const) {
      await runOk(openssl, ['req', '-new', ...newKey, '-keyout', at(`${name}.key`), '-out', at('request.csr'), '-subj', subject]);
      await runOk(openssl, [
        'x509',
        '-req',
        '-in',
        at('request.csr'),
        '-CA',
        at('ca.crt'),
        '-CAkey',
        at('ca.key'),
        '-out',
        at(`${name}.crt`),
        '-days',
        '4',
      ]);
    }
    for (const key of ['ca.key', 'apiserver.key', 'etcd/server.key']) chmodSync(at(key), 0o600);
  }

  it('checks a folder that OpenSSL made: well, then soon, then broken', async function () {
    await opensslFolder(needTool(this, 'openssl'));
    const well = await cli(['certs', 'check', 'pki']);
    assert.equal(well.status, 0, well.stdout);
    assert.match(well.stdout, /3 certificates: 3 well, 0 ending soon, 0 broken\n$/);

    assert.equal((await cli(['certs', 'check', 'pki', '--warn-within', '200h'])).status, 1);

    chmodSync(join(folder, 'pki', 'apiserver.key'), 0o644);
    const broken = await cli(['certs', 'check', 'pki', '-o', 'json']);
    assert.equal(broken.status, 2);
    const { status, certificates } = JSON.parse(broken.stdout);
    assert.equal(status, 'broken');
    const { key, problems } = certificates.find(({ path }: { path: string }) => path === 'apiserver.crt');
    assert.deepEqual([key.status, key.mode, problems[0].code], ['matching', '0644', 'KeyReadableByOthers']);
  });

  it('does not wait for a named pipe in the folder', async function () {
    await runOk(needTool(this, 'mkfifo'), [join(folder, 'pipe.key')]);
    symlinkSync('pipe.key', join(folder, 'pipe.pem'));
    const { status, stdout } = await cli(['certs', 'check', '.']);
    assert.equal(status, 2);
    assert.match(stdout, /pipe\.key: NotAFile/);
  });

  it('validates manifests from files and from standard input', async () => {
    const node = 'apiVersion: evercert.io/v1\nkind: Node\nmetadata: { name: w-1 }\nspec: { role: worker }\n';
    writeFileSync(join(folder, 'node.yaml'), node);
    const valid = await cli(['validate', '-f', 'node.yaml']);
    assert.deepEqual([valid.status, valid.stdout, valid.stderr], [0, 'node/w-1 valid\n', '']);
    const invalid = await cli(['validate', '-f', '-', '-o', 'json'], node.replace('worker', 'boss'));
    assert.equal(invalid.status, 2);
    const [{ file, line, field }] = JSON.parse(invalid.stdout).faults;
    assert.deepEqual([file, line, field], ['-', 4, 'spec.role']);
  });

  it('ends with the exit codes of the one table', async () => {
    assert.equal((await cli(['version', '--client'])).status, 0);
    assert.equal((await cli(['frobnicate'])).status, 2);
    const noContext = await cli(['get', 'nodes']);
    assert.equal(noContext.status, 2);
    assert.match(noContext.stderr, new RegExp(`^error: there is no context in ${folder}/\\.config/evercert/config\\.yaml`));
  });

  it('says that the coordinator cannot be reached, with exit code 7', async function () {
    await opensslFolder(needTool(this, 'openssl'));
    // Port 1 of the loopback: nobody listens there.
    const files = [
      '--certificate-authority',
      'pki/ca.crt',
      '--client-certificate',
      'pki/apiserver.crt',
      '--client-key',
      'pki/apiserver.key',
    ];
    assert.equal((await cli(['config', 'set-context', 'nowhere', '--server', '127.0.0.1:1', ...files])).status, 0);
    const { status, stderr } = await cli(['get', 'nodes', '--request-timeout', '5s']);
    assert.equal(status, 7, stderr);
    assert.match(stderr, /^Unable to connect to the server 127\.0\.0\.1:1: /);
  });

  it('prints completion scripts that the shells accept', async function () {
    const bash = needTool(this, 'bash');
    const { stdout } = await cli(['completion', 'bash']);
    assert.equal((await run(bash, ['-n'], { input: stdout })).status, 0);
  });

  it('stays quiet when its reader goes away', async function () {
    const bash = needTool(this, 'bash');
    const { stdout, stderr } = await run(bash, ['-c', `"${evercert}" completion bash | head -1`]);
    assert.deepEqual([stdout.slice(0, 17), stderr], ['# bash completion', '']);
  });
});
