/**
 * A cluster of kubeadm's, with a real etcd and API server, is imported, adopted and renewed while it is written to. With EVERCERT_KUBERNETES=full (`npm run test:kubernetes`) the renewals come by
 * themselves, in short lives, and the API server is waited for until it serves what was renewed (three minutes in all); else an admin asks for them.
 */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join, relative } from 'node:path';
import { Agent } from '@evercert/agent/agent';
import { agentConfigSchema } from '@evercert/agent/config';
import { type AgentStatus, fetchStatus } from '@evercert/agent/status';
import { freePort, SupervisedProcess } from '@evercert/local';
import type { Certificate, Event, Node } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { unary } from '@evercert/shared/grpc';
import { silentLogger } from '@evercert/shared/logging';
import { publicKeyPin } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';
import { createToken, deadline, startTestCoordinator, type TestCoordinator } from '../support/coordinator.ts';
import { assertSideBySide, checkExpiration, makeKubeadmFolder } from '../support/kubeadm.ts';
import { temporaryFolder, until } from '../support/live.ts';
import { kubeBinary, needTool, type RunResult, repositoryRoot, run } from '../support/tools.ts';

const cluster = 'prod';
const nodeName = 'cp-1';
const long = process.env['EVERCERT_KUBERNETES'] === 'full';
/** Leaves live this long from their first renewal on; the API server takes up to a minute to read a new one. */
const leafSeconds = long ? 150 : 3600;
/** Part of the life after which they are renewed. */
const renewAt = 0.3;

describe('a cluster of kubeadm that is imported', function () {
  this.timeout(420_000);
  let root: string;
  let folder: string;
  let home: string;
  let coordinator: TestCoordinator;
  let kubeadm: string;
  let binaries: { etcd: string; apiServer: string };
  const processes: SupervisedProcess[] = [];
  let agent: { abort: AbortController; ended: Promise<void> } | undefined;
  let original: Map<string, FileFacts>;
  let server: string;
  let writer: Writer | undefined;

  before(async function () {
    kubeadm = needTool(this, 'kubeadm', kubeBinary);
    binaries = { etcd: needTool(this, 'etcd'), apiServer: needTool(this, 'kube-apiserver', kubeBinary) };
    root = temporaryFolder('import');
    home = temporaryFolder('home');
    const node = { name: nodeName, address: '10.0.0.5', extraSans: ['api.prod.example', '127.0.0.1', 'localhost'] };
    folder = await makeKubeadmFolder(kubeadm, root, node, { kubeconfigs: true });
    coordinator = await startTestCoordinator();
    server = await startControlPlane();
    original = factsOf(folder);
  });
  after(async () => {
    await writer?.stop();
    agent?.abort.abort();
    await agent?.ended;
    for (const process of processes.reverse()) await process.stop();
    await coordinator?.dispose();
    for (const path of [root, home]) if (path !== undefined) rmSync(path, { recursive: true, force: true });
  });

  const pki = (name: string): string => join(folder, 'pki', name);
  const cli = (args: string[], input = ''): Promise<RunResult> =>
    run(join(repositoryRoot, 'cli', 'bin', 'evercert'), args, {
      input,
      env: { EVERCERT_CONFIG: join(coordinator.dataDir, 'admin', 'config.yaml'), HOME: home },
    });

  async function startControlPlane(): Promise<string> {
    const taken = new Set<number>();
    const port = (): Promise<number> => freePort('127.0.0.1', Math.random, taken);
    const client = `https://127.0.0.1:${await port()}`;
    const peer = `https://127.0.0.1:${await port()}`;
    mkdirSync(join(root, 'etcd'), { mode: 0o700 });
    await start('etcd', binaries.etcd, [
      '--name=cp-1',
      `--data-dir=${join(root, 'etcd')}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=cp-1=${peer}`,
      `--cert-file=${pki('etcd/server.crt')}`,
      `--key-file=${pki('etcd/server.key')}`,
      '--client-cert-auth',
      `--trusted-ca-file=${pki('etcd/ca.crt')}`,
      `--peer-cert-file=${pki('etcd/peer.crt')}`,
      `--peer-key-file=${pki('etcd/peer.key')}`,
      '--peer-client-cert-auth',
      `--peer-trusted-ca-file=${pki('etcd/ca.crt')}`,
    ]);
    const securePort = await port();
    await start('kube-apiserver', binaries.apiServer, [
      `--etcd-servers=${client}`,
      `--etcd-cafile=${pki('etcd/ca.crt')}`,
      `--etcd-certfile=${pki('apiserver-etcd-client.crt')}`,
      `--etcd-keyfile=${pki('apiserver-etcd-client.key')}`,
      '--bind-address=127.0.0.1',
      '--advertise-address=127.0.0.1',
      `--secure-port=${securePort}`,
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/12',
      `--tls-cert-file=${pki('apiserver.crt')}`,
      `--tls-private-key-file=${pki('apiserver.key')}`,
      `--client-ca-file=${pki('ca.crt')}`,
      `--kubelet-client-certificate=${pki('apiserver-kubelet-client.crt')}`,
      `--kubelet-client-key=${pki('apiserver-kubelet-client.key')}`,
      `--proxy-client-cert-file=${pki('front-proxy-client.crt')}`,
      `--proxy-client-key-file=${pki('front-proxy-client.key')}`,
      `--requestheader-client-ca-file=${pki('front-proxy-ca.crt')}`,
      '--requestheader-allowed-names=front-proxy-client',
      `--service-account-key-file=${pki('sa.pub')}`,
      `--service-account-signing-key-file=${pki('sa.key')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      '--authorization-mode=Node,RBAC',
    ]);
    return `https://127.0.0.1:${securePort}`;
  }

  async function start(name: string, command: string, args: string[]): Promise<void> {
    const spec = { name, command, args, cwd: root, logPath: join(root, `${name}.log`), graceMs: 5000, autoRestart: false };
    const process = new SupervisedProcess(spec, systemClock, () => undefined);
    processes.push(process);
    await process.start();
  }

  const pids = (): (number | undefined)[] => processes.map(({ pid }) => pid);

  function startAgent(): void {
    const config = agentConfigSchema.parse({
      coordinator: { endpoints: [coordinator.address], caPins: [publicKeyPin(coordinator.anchors[0]!)] },
      node: { name: nodeName, addresses: [] },
      tokenFile: join(root, 'token'),
      stateDir: join(root, 'state'),
      rootDir: root,
      statusSocket: join(root, 'status.sock'),
      scanInterval: '2s',
    });
    const abort = new AbortController();
    const options = { config, clock: systemClock, random: Math.random, logger: silentLogger, env: process.env, pid: process.pid };
    agent = { abort, ended: new Agent({ ...options, onReady: () => {}, onStatus: () => {} }).run(abort.signal) };
  }

  const status = (): Promise<AgentStatus> => fetchStatus(join(root, 'status.sock'));

  async function untilStatus(what: string, ms: number, condition: (status: AgentStatus) => boolean): Promise<AgentStatus> {
    let last: AgentStatus | undefined;
    await until(what, ms, async () => {
      try {
        last = await status();
        return condition(last);
      } catch {
        // The agent is still starting.
        return false;
      }
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}; the last status: ${JSON.stringify(last)}`);
    });
    return last as AgentStatus;
  }

  async function certificates(): Promise<Certificate[]> {
    const filter = { cluster, node: nodeName, name: '', serial: '', includeSuperseded: true, pageSize: 1000, pageToken: '' };
    return (await unary(coordinator.admin.listCertificates.bind(coordinator.admin), filter, deadline)).certificates;
  }

  async function events(): Promise<Event[]> {
    const filter = { cluster, node: '', certificate: '', reason: '', pageSize: 1000, pageToken: '', renewalLog: false };
    return (await unary(coordinator.admin.listEvents.bind(coordinator.admin), filter, deadline)).events;
  }

  async function node(): Promise<Node> {
    const { nodes } = await unary(coordinator.admin.listNodes.bind(coordinator.admin), { cluster, name: nodeName }, deadline);
    return nodes[0]!;
  }

  it('is described by a dry run, which changes nothing', async () => {
    const { status: code, stdout, stderr } = await cli(['cluster', 'import', cluster, '--from', folder, '--dry-run']);
    assert.equal(code, 1, stdout + stderr);
    assert.match(stdout, /^SEVERITY +KIND +CERTIFICATE +FILE +FINDING\nWarning/);
    assert.match(stdout, /Info +Policy .*apiServerExtraSans: api.prod.example, localhost, 127.0.0.1/);
    assert.match(
      stdout,
      /Info +Different +apiserver +\/etc\/kubernetes\/pki\/apiserver.crt +taken over as it is; .*key: RSA 2048 becomes ECDSA P-384/,
    );
    assert.match(stdout, /Warning +Different +apiserver-kubelet-client .*loses system:masters, gains kubeadm:cluster-admins/);
    assert.match(stdout, /Info +Missing +kubelet-serving /);
    assert.match(stdout, /Info +Unmanaged +<none> +\/etc\/kubernetes\/admin.conf /);
    assert.doesNotMatch(stdout, /PRIVATE KEY/);
    assert.equal((await cli(['get', 'clusters', '-o', 'name'])).stdout, '');
    assert.deepEqual(factsOf(folder), original);
  });

  it('is imported with its keys, and only when its warnings are confirmed', async () => {
    const args = ['cluster', 'import', cluster, '--from', folder, '--leaf-lifetime', `${leafSeconds}s`];
    const refused = await cli(args);
    assert.equal(refused.status, 6, refused.stderr);
    assert.match(refused.stderr, /confirm them with --yes/);
    const done = await cli([...args, '--yes']);
    assert.equal(done.status, 0, done.stderr);
    assert.match(done.stdout, /\ncluster\/prod imported\nca\/cluster-ca taken over: rsa-2048, /);
    assert.match((await cli(['get', 'cas', '-c', cluster])).stdout, /cluster-ca +rsa-2048 +here/);
    const again = await cli([...args, '--yes']);
    assert.equal(again.status, 5);
  });

  it('has its certificates adopted as they are: no file changes, nothing restarts', async () => {
    await until('kube-apiserver to be ready', 60_000, async () => (await call(server, folder, 'GET', '/readyz')).status === 200);
    const running = pids();
    await applyManifests();
    const token = await createToken(coordinator, cluster, { nodeName, addresses: ['10.0.0.5'] });
    writeFileSync(join(root, 'token'), `${token}\n`);
    startAgent();
    const adopted = await untilStatus(
      'all Ready',
      20_000,
      ({ certificates: all }) => all.length > 0 && all.every(({ state }) => state === 'Ready'),
    );
    const now = factsOf(folder);
    for (const [path, facts] of original) assert.deepEqual(now.get(path), facts, path);
    assert.deepEqual(pids(), running);

    const recorded = new Map((await certificates()).map((one) => [one.serial, one]));
    for (const { name, serial } of adopted.certificates.filter(({ name: each }) => each !== 'kubelet-serving')) {
      assert.equal(recorded.get(serial)?.reason, 'Adopted', name);
      assert.equal(recorded.get(serial)?.name, name);
    }
    const apiserver = adopted.certificates.find(({ name }) => name === 'apiserver');
    assert.equal(apiserver?.serial, new X509Certificate(readFileSync(pki('apiserver.crt'))).serialNumber.toLowerCase());
    assert.ok(Date.parse(apiserver?.notAfter ?? '') - Date.now() > 300 * 86_400_000);
    assert.ok(Date.parse(apiserver?.nextRenewalAt ?? '') - Date.now() < leafSeconds * 1000 * renewAt);
    const told = await events();
    assert.ok(told.some(({ reason, certificate }) => reason === 'CertificateAdopted' && certificate === 'etcd-peer'));
    assert.deepEqual(
      told.filter(({ reason }) => /Reload|FileRestored|Refused|Failed/.test(reason)).map(({ message }) => message),
      [],
    );
    await until('the node to be Ready', 10_000, async () => (await node()).status?.phase === 'Ready');
  });

  it('is renewed three times while it is written to, without a failure that a retrying client sees, and without a restart', async () => {
    const running = pids();
    writer = new Writer(server, folder);
    writer.start();
    const renewals = (least: number) =>
      untilStatus(`${least} renewals`, 300_000, ({ certificates: all }) =>
        all.filter(({ name }) => name !== 'kubelet-serving').every(({ issuedTotal, state }) => issuedTotal >= least && state === 'Ready'),
      );
    if (long) {
      await renewals(3);
      // What the API server reads by itself, it has read within a minute.
      await until('the API server to serve a certificate of ours', 75_000, async () => {
        const { serial } = await call(server, folder, 'GET', '/readyz');
        return serial !== undefined && serial !== original.get('pki/apiserver.crt')?.serial;
      });
    } else {
      for (const least of [1, 2, 3]) {
        assert.equal((await cli(['renew', `node/${nodeName}`, '-c', cluster])).status, 0);
        await renewals(least);
        await systemClock.sleep(3000);
      }
    }
    const renewed = await renewals(3);
    await writer.stop();
    assert.deepEqual(writer.failures, []);
    assert.ok(writer.writes > (long ? 200 : 20), `${writer.writes} writes`);
    assert.deepEqual(pids(), running, 'neither etcd nor the API server was started anew');
    assert.ok(renewed.certificates.every(({ lapses }) => lapses === 0));
    const served = new X509Certificate(readFileSync(pki('apiserver.crt')));
    assert.match(served.subjectAltName ?? '', /DNS:api\.prod\.example/);
    assert.equal(served.publicKey.asymmetricKeyType, 'ec');
    // The certificates that were there before are good for nothing that the coordinator would not know of.
    assert.equal((await node()).status?.phase, 'Ready');
  });

  it('leaves nothing of its keys where it does not belong', async () => {
    const secrets = ['pki/ca.key', 'pki/sa.key'].map((name) => readFileSync(join(folder, name), 'utf8').split('\n')[3]!);
    const told = JSON.stringify(await events());
    for (const secret of secrets) assert.ok(!told.includes(secret));
  });

  it('has `kubeadm certs check-expiration` say of it what is there, and `evercert certs check` no less', async function () {
    if (process.getuid?.() !== 0) this.skip();
    const report = await cli(['certs', 'check', folder, '--root', root, '-o', 'json']);
    const rows = await checkExpiration(kubeadm, root);
    assert.equal(rows.length, 13);
    assertSideBySide(rows, JSON.parse(report.stdout));
    // What it says is what Evercert issued last.
    const newest = new X509Certificate(readFileSync(pki('apiserver.crt')));
    const minute = Math.floor(Date.parse(newest.validTo) / 60_000) * 60_000;
    assert.equal(rows.find(({ name }) => name === 'apiserver')?.notAfterMs, minute);
    assert.equal(
      (await certificates()).find(({ current, name }) => current && name === 'apiserver')?.serial,
      newest.serialNumber.toLowerCase(),
    );
  });

  /** Renewals come early enough for the API server's minute; kubeconfigs stay in the form that kubeadm reads, and nothing is told to reload. */
  async function applyManifests(): Promise<void> {
    const { manifests } = await unary(coordinator.admin.listManifests.bind(coordinator.admin), { cluster, kind: '', name: '' }, deadline);
    const documents = manifests
      .filter(({ kind }) => kind === 'CertificateManifest')
      .map(({ yaml, name }) => {
        const document = parse(yaml);
        document.spec.renewAt = renewAt;
        delete document.spec.reload;
        delete document.spec.verify;
        if (name === 'controller-manager' || name === 'scheduler') {
          delete document.spec.files;
          const { path, server: url } = document.spec.outputs[0].kubeconfig;
          document.spec.outputs = [{ kubeconfig: { path, server: url } }];
        }
        return stringify(document);
      });
    const applied = await cli(['apply', '-f', '-', '-c', cluster], documents.join('---\n'));
    assert.equal(applied.status, 0, applied.stderr);
  }
});

interface FileFacts {
  ino: number;
  mtimeMs: number;
  sha256: string;
  serial?: string;
}

/** What would show that a file was written, by its path in the folder. */
function factsOf(folder: string): Map<string, FileFacts> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory());
  return new Map(
    files.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      const { ino, mtimeMs } = lstatSync(path);
      const content = readFileSync(path);
      const serial = path.endsWith('.crt') ? { serial: new X509Certificate(content).serialNumber } : {};
      return [relative(folder, path), { ino, mtimeMs, sha256: createHash('sha256').update(content).digest('hex'), ...serial }];
    }),
  );
}

/** One call over a connection of its own, with the credentials of admin.conf. */
function call(
  server: string,
  folder: string,
  method: string,
  path: string,
  body?: object,
): Promise<{ status: number; text: string; serial: string | undefined }> {
  const { user } = parse(readFileSync(join(folder, 'admin.conf'), 'utf8')).users[0];
  const data = (name: string): Buffer => Buffer.from(user[name], 'base64');
  const options = {
    method,
    agent: false as const,
    ca: readFileSync(join(folder, 'pki', 'ca.crt')),
    cert: data('client-certificate-data'),
    key: data('client-key-data'),
    timeout: 5000,
    headers: { 'content-type': 'application/json' },
  };
  return new Promise((resolve, reject) => {
    const outgoing = request(server + path, options, (response) => {
      const { serialNumber } = (response.socket as unknown as { getPeerCertificate(): { serialNumber?: string } }).getPeerCertificate();
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString(), serial: serialNumber }));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 5 s')));
    outgoing.on('error', reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** Writes and reads back, again and again; a call that fails is tried again for ten seconds, as client-go and people do. */
class Writer {
  writes = 0;
  retries = 0;
  readonly failures: string[] = [];
  readonly #server: string;
  readonly #folder: string;
  #running = false;
  #done: Promise<void> = Promise.resolve();

  constructor(server: string, folder: string) {
    this.#server = server;
    this.#folder = folder;
  }

  start(): void {
    this.#running = true;
    this.#done = this.#run();
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    const collection = '/api/v1/namespaces/default/configmaps';
    while (this.#running) {
      const name = `w-${this.writes}`;
      const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { n: String(this.writes) } };
      await this.#insist(`write ${name}`, async () =>
        [200, 201, 409].includes((await call(this.#server, this.#folder, 'POST', collection, body)).status),
      );
      await this.#insist(`read ${name}`, async () =>
        (await call(this.#server, this.#folder, 'GET', `${collection}/${name}`)).text.includes(`"n":"${this.writes}"`),
      );
      this.writes += 1;
      await systemClock.sleep(100);
    }
  }

  async #insist(what: string, attempt: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + 10_000;
    let why = 'another answer';
    while (performance.now() < end) {
      try {
        if (await attempt()) return;
      } catch (error) {
        why = String(error);
      }
      this.retries += 1;
      await systemClock.sleep(200);
    }
    this.failures.push(`${what}: ${why}`);
  }
}
