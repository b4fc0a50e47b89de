import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, SupervisedProcess, waitUntil } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { toPem } from '@evercert/shared/x509';
import { type IssuedLeaf, RotatingCa } from '../support/rotating-ca.ts';
import { needTool, run } from '../support/tools.ts';

describe('a real etcd while its CA goes from a root of its own to an intermediate under an offline root', () => {
  const folder = mkdtempSync(join(tmpdir(), 'evercert-etcd-generations-'));
  const path = (name: string): string => join(folder, name);
  const clients = new Map<string, IssuedLeaf>();
  let ca: RotatingCa;
  let curl: string;
  let url: string;
  let member: SupervisedProcess;
  let first: string;
  let serverNumber = 0;

  function put(name: string, content: string): void {
    writeFileSync(`${path(name)}.new`, content, { mode: 0o600 });
    renameSync(`${path(name)}.new`, path(name));
  }

  async function client(name: string): Promise<void> {
    const leaf = await ca.issue({ commonName: name, usages: ['digital signature', 'client auth'] });
    clients.set(name, leaf);
    put(`${name}.crt`, leaf.chainPem);
    put(`${name}.key`, leaf.keyPem);
  }

  async function serve(): Promise<void> {
    const names = { commonName: `etcd-${++serverNumber}`, dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] };
    const leaf = await ca.issue({ ...names, usages: ['digital signature', 'server auth', 'client auth'] });
    // Key and certificate are read together at each handshake: only a moment lies between the two.
    put('server.key', leaf.keyPem);
    put('server.crt', leaf.chainPem);
  }

  /** True: etcd let it in; the server's certificate is always checked against the bundle. */
  async function letIn(name: string, chain = `${name}.crt`): Promise<boolean> {
    const args = ['-sS', '--cacert', path('ca.crt'), '--cert', path(chain), '--key', path(`${name}.key`), `${url}/version`];
    const { status, stdout, stderr } = await run(curl, args);
    assert.ok(status === 0 || !/unable to get|self.signed|certificate verify failed/.test(stderr), stderr);
    return status === 0 && stdout.includes('etcdserver');
  }

  const serialOf = (name: string): string => clients.get(name)!.serial;
  const pem = async (by: string, ...revoked: string[]): Promise<string> => toPem('X509 CRL', await ca.crl(by, revoked.map(serialOf)));
  /** As the agent writes it: what was restarted has read its trusted CAs. */
  const spreadBundle = async (): Promise<void> => {
    put('ca.crt', ca.bundlePem());
    await member.stop();
    await member.start();
    await waitUntil(systemClock, () => letIn('old-good'), { timeoutMs: 20_000, what: 'etcd to be back' });
  };

  before(async function () {
    const etcd = needTool(this, 'etcd');
    curl = needTool(this, 'curl');
    ca = await RotatingCa.create(path('ca'), 'etcd-ca');
    first = ca.record.serial;
    put('ca.crt', ca.bundlePem());
    put('ca.crl', await pem(first));
    await serve();
    for (const name of ['old-good', 'old-revoked']) await client(name);
    const taken = new Set<number>();
    const [port, peer] = [await freePort('127.0.0.1', Math.random, taken), await freePort('127.0.0.1', Math.random, taken)];
    url = `https://127.0.0.1:${port}`;
    mkdirSync(path('data'), { mode: 0o700 });
    const tls = [`--cert-file=${path('server.crt')}`, `--key-file=${path('server.key')}`, `--trusted-ca-file=${path('ca.crt')}`];
    const peers = [`--listen-peer-urls=http://127.0.0.1:${peer}`, `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`];
    const args = [
      '--name=one',
      `--data-dir=${path('data')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      ...peers,
      `--initial-cluster=one=http://127.0.0.1:${peer}`,
      ...tls,
      '--client-cert-auth',
      `--client-crl-file=${path('ca.crl')}`,
      '--enable-grpc-gateway=false',
      '--logger=zap',
    ];
    const spec = { name: 'etcd', command: etcd, args, cwd: folder, logPath: path('etcd.log'), graceMs: 5000, autoRestart: false };
    member = new SupervisedProcess(spec, systemClock, () => {});
    await member.start();
    await waitUntil(systemClock, () => letIn('old-good'), { timeoutMs: 20_000, what: 'etcd' });
  });

  after(async () => {
    await member?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('refuses what the CRL of the present key lists', async () => {
    put('ca.crl', await pem(first, 'old-revoked'));
    assert.deepEqual([await letIn('old-good'), await letIn('old-revoked')], [true, false]);
  });

  it('takes clients of both keys once it has the bundle of both, those of the intermediate with their chain alone', async () => {
    await ca.nextIntermediate();
    await spreadBundle();
    ca.activate();
    for (const name of ['new-good', 'new-revoked']) await client(name);
    put('new-good-alone.crt', readFileSync(path('new-good.crt'), 'utf8').split(/(?<=-----END CERTIFICATE-----\n)/)[0]!);
    assert.deepEqual(
      [await letIn('old-good'), await letIn('new-good'), await letIn('new-good', 'new-good-alone.crt')],
      [true, true, false],
    );
  });

  it('serves a certificate of the intermediate with its chain, which clients of both keys accept', async () => {
    await serve();
    assert.deepEqual([await letIn('old-good'), await letIn('new-good')], [true, true]);
  });

  it('reads the first list of a file alone: with a list for each key, what is revoked of the other key gets in', async () => {
    put('ca.crl', (await pem(ca.record.serial, 'new-revoked')) + (await pem(first, 'old-revoked')));
    assert.deepEqual([await letIn('new-revoked'), await letIn('old-revoked')], [false, true]);
    put('ca.crl', (await pem(first, 'old-revoked')) + (await pem(ca.record.serial, 'new-revoked')));
    assert.deepEqual([await letIn('new-revoked'), await letIn('old-revoked')], [true, false]);
  });

  it('refuses what is revoked of either key by a first list of all, as nodes get it, and nothing else', async () => {
    put('ca.crl', (await pem(ca.record.serial, 'old-revoked', 'new-revoked')) + (await pem(first, 'old-revoked')));
    assert.deepEqual(
      [await letIn('old-revoked'), await letIn('new-revoked'), await letIn('old-good'), await letIn('new-good')],
      [false, false, true, true],
    );
  });

  it('refuses every client of the old key once its root is out of the bundle', async () => {
    ca.retire();
    put('ca.crt', ca.bundlePem());
    await member.stop();
    await member.start();
    await waitUntil(systemClock, () => letIn('new-good'), { timeoutMs: 20_000, what: 'etcd to be back' });
    assert.deepEqual([await letIn('old-good'), await letIn('new-revoked')], [false, false]);
  });
});
