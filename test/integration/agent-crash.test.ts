import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { copyFileSync, existsSync, lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pairFaultPoints } from '@evercert/agent/files';
import { identityFaultPoints } from '@evercert/agent/identity';
import type { LocalCluster, LocalNode } from '@evercert/local';
import type { Certificate } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { certificatesFromPem, verifyChain } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';
import {
  declaredFiles,
  issuedCertificates,
  leftovers,
  liveCluster,
  readPair,
  serialOf,
  sharedKeys,
  statusOf,
  until,
  untilReady,
} from '../support/live.ts';

const backMs = 40_000;

/** Starts the agent so that it dies at the point, and waits until it has. */
async function dieAt(node: LocalNode, point: string, timeoutMs = backMs): Promise<void> {
  await node.agent.start({ EVERCERT_FAULT_POINT: point });
  const exit = await node.agent.waitForExit(timeoutMs).catch((error: unknown) => {
    throw new Error(`${node.name} did not pass ${point}`, { cause: error });
  });
  assert.equal(exit?.signal, 'SIGKILL', `${node.name} at ${point}`);
}

/** A file that is being written may be met as well: it goes within a moment. */
async function noLeftovers(node: LocalNode, point: string): Promise<void> {
  let left: string[] = [];
  const none = (): boolean => {
    left = leftovers(node);
    return left.length === 0;
  };
  await until('leftovers to go', 2000, none).catch(() => assert.deepEqual(left, [], `${node.name} after ${point}`));
}

describe('an agent killed while it gets its identity', function () {
  this.timeout(120_000);
  const lifetimeSeconds = 18;
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  const nodes = new Map<string, LocalNode>();

  before(async () => {
    const names = identityFaultPoints.map((_, index) => `worker-${index + 1}`);
    const env = Object.fromEntries(identityFaultPoints.map((point, index) => [names[index] as string, { EVERCERT_FAULT_POINT: point }]));
    const options = { controlPlanes: 1, workers: names.length, leafLifetimeSeconds: 3600, identityLifetimeSeconds: lifetimeSeconds, env };
    ({ cluster, dispose } = await liveCluster(options));
    for (const [index, point] of identityFaultPoints.entries()) nodes.set(point, cluster.node(names[index] as string));
  });

  after(() => dispose());

  it('by joining, at every step, leaves nothing at the declared paths and joins by itself when it is started again', async () => {
    for (const [point, node] of nodes) {
      const exit = await node.agent.waitForExit(backMs);
      assert.equal(exit?.signal, 'SIGKILL', point);
      assert.deepEqual(readdirSync(node.rootDir), ['etc', 'var'], point);
      assert.equal(existsSync(join(node.rootDir, 'etc/kubernetes')), false, point);
    }
    await Promise.all([...nodes.values()].map((node) => node.agent.start()));
    for (const [point, node] of nodes) await identityIsTheNewest(point, node, 1);
  });

  it('by joining, has used its token once', async () => {
    const admin = await cluster.admin();
    const { tokens } = await admin.call(admin.client.listTokens, { cluster: cluster.name });
    assert.deepEqual(
      tokens.map(({ uses, maxUses }) => [uses, maxUses]),
      cluster.nodes.map(() => [1, 1]),
    );
  });

  it('by renewing it, at every step, keeps a valid identity and renews by itself when it is started again', async () => {
    await Promise.all(
      [...nodes].map(async ([point, node]) => {
        await node.agent.kill();
        await dieAt(node, point, lifetimeSeconds * 1000);
        const { certificate } = identityOf(node, point);
        assert.ok(certificate.validToDate.getTime() > systemClock.nowMs(), `${point}: the identity has expired`);
        await node.agent.start();
        await identityIsTheNewest(point, node, 2);
      }),
    );
  });

  it('leaves no second certificate for a key, and all nodes Ready', async () => {
    assert.deepEqual(sharedKeys(await issuedCertificates(cluster)), []);
    await cluster.waitUntilReady(backMs);
  });

  /** What is on disk, key and certificate matching; throws otherwise. */
  function identityOf(node: LocalNode, point: string): { certificate: X509Certificate } {
    const { chain, privateKey } = JSON.parse(readFileSync(join(node.stateDir, 'identity', 'identity.json'), 'utf8'));
    const certificate = new X509Certificate(chain);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(privateKey)), `${point}: the identity's key is another one's`);
    return { certificate };
  }

  /** No orphan: what the node uses is the newest that the coordinator knows, and there are no more than it asked for. */
  async function identityIsTheNewest(point: string, node: LocalNode, count: number): Promise<void> {
    let identities: Certificate[] = [];
    const settled = async (): Promise<boolean> => {
      const serial = (await statusOf(node))?.identity.serial;
      identities = await issuedCertificates(cluster, { node: node.name, name: 'identity' });
      return identities.length >= count && identities.find(({ current }) => current)?.serial === serial;
    };
    await until(`${node.name} to use the newest identity after ${point}`, backMs, settled);
    await untilReady(node, backMs);
    assert.equal(identities.length, count, `${point}: ${identities.map(({ serial }) => serial).join(', ')}`);
    const { certificate } = identityOf(node, point);
    assert.equal(serialOf(certificate), identities.find(({ current }) => current)?.serial, point);
    await noLeftovers(node, point);
  }
});

/** How an installation comes about that passes a step. */
type Cause = 'renewal' | 'first' | 'adoption' | 'undeclared';

const named = (...steps: string[]): string[] => steps.flatMap((step) => [`agent.pair.${step}.before`, `agent.pair.${step}.after`]);
const renamePoints = named('rename-temporary', 'rename-keep', 'rename');
const adoptionPoints = named('capture-folder', 'capture-switch');
const undeclaredPoints = named('undeclare');
const firstPoints = named('pending-key', 'pending-chain', 'link', 'commit', 'switch', 'dated-switch');
const renewalPoints = pairFaultPoints.filter(
  (point) => ![...renamePoints, ...adoptionPoints, ...undeclaredPoints, ...named('link')].includes(point),
);

const pki = 'etc/kubernetes/pki';
const walkedPair = `${pki}/walked.crt`;
const walkedDated = 'var/lib/kubelet/pki/walked-current.pem';
const walkedChain = `${pki}/walked-chain.pem`;

function walkedManifest(name: string, node: LocalNode, chain: boolean): string {
  const more = chain ? [{ chain: { path: `/${walkedChain}` } }] : [];
  return stringify({
    apiVersion: 'evercert.io/v1',
    kind: 'CertificateManifest',
    metadata: { name },
    spec: {
      selector: { nodes: [node.name] },
      issuer: 'cluster-ca',
      subject: { commonName: 'walked' },
      dnsNames: ['{{ node.name }}'],
      usages: ['digital signature', 'server auth'],
      files: { certificate: `/${walkedPair}`, privateKey: `/${walkedPair.replace('.crt', '.key')}` },
      outputs: [{ combined: { path: `/${walkedDated}`, dated: true } }, { kubeconfig: { path: '/etc/kubernetes/walked.conf' } }, ...more],
    },
  });
}

describe('an agent killed while it installs a pair', function () {
  this.timeout(400_000);
  let cluster: LocalCluster;
  let dispose = async (): Promise<void> => undefined;
  const passed = new Set<string>();

  before(async () => {
    ({ cluster, dispose } = await liveCluster({ controlPlanes: 1, workers: 5, leafLifetimeSeconds: 96 * 3600 }));
    const renaming = cluster.node('worker-4');
    await renaming.agent.stop();
    setPairStrategy(renaming, 'rename');
    await renaming.agent.start();
    for (const node of cluster.nodes) await untilReady(node, backMs);
  });

  after(() => dispose());

  it('has a matching, valid pair or nothing at every step, by either strategy, and comes back by itself each time', async () => {
    const half = Math.ceil(renewalPoints.length / 2);
    await Promise.all([
      walk('worker-1', ['renewal', renewalPoints.slice(0, half)]),
      walk('worker-2', ['renewal', renewalPoints.slice(half)]),
      walk('worker-3', ['first', firstPoints]),
      walk('worker-4', ['renewal', renamePoints]),
      walk('worker-5', ['adoption', adoptionPoints], ['undeclared', undeclaredPoints]),
    ]);
  });

  it('was killed at every fault point', () => {
    assert.deepEqual(
      pairFaultPoints.filter((point) => !passed.has(point)),
      [],
    );
  });

  it('left no certificate that was not installed, no second one for a key, and all nodes Ready', async () => {
    await cluster.waitUntilReady(backMs);
    const issued = await issuedCertificates(cluster);
    assert.deepEqual(sharedKeys(issued), []);
    for (const node of cluster.nodes) await noLeftovers(node, 'the end');
  });

  async function walk(name: string, ...ways: [cause: Cause, points: readonly string[]][]): Promise<void> {
    const walked = new Walk(cluster, cluster.node(name), passed);
    await walked.begin();
    for (const [cause, points] of ways) for (const point of points) await walked.step(cause, point);
  }
});

/** One node on its way through the fault points. */
class Walk {
  readonly #cluster: LocalCluster;
  readonly #node: LocalNode;
  readonly #passed: Set<string>;
  #generation = 0;
  /** Serials of the present certificate's installations, as seen on disk. */
  #installed: string[] = [];

  constructor(cluster: LocalCluster, node: LocalNode, passed: Set<string>) {
    this.#cluster = cluster;
    this.#node = node;
    this.#passed = passed;
  }

  get #name(): string {
    return `${this.#node.name}-${this.#generation}`;
  }

  /** Declares a certificate of its own for this node, and waits until it is there. */
  async begin(): Promise<void> {
    await this.#redeclare();
    await this.#untilSettled('the beginning', 1);
  }

  async step(cause: Cause, point: string): Promise<void> {
    const node = this.#node;
    await node.agent.kill();
    const expected = await this.#prepare(cause);
    await dieAt(node, point);
    this.#passed.add(point);
    if (cause === 'first' && !existsSync(join(node.rootDir, walkedPair)))
      assert.equal(existsSync(join(node.rootDir, walkedDated)), false, point);
    else if (!renamePoints.includes(point)) this.#assertPair(walkedPair, point);
    await node.agent.start();
    await this.#untilSettled(point, expected);
    assert.equal(existsSync(join(node.rootDir, walkedChain)), cause !== 'undeclared', point);
    if (cause === 'undeclared') {
      await this.#apply(true);
      await until('the chain to be there again', backMs, () => existsSync(join(node.rootDir, walkedChain)));
    }
    await noLeftovers(node, point);
  }

  /** Brings it about that the agent has something to do at its start. Returns how many certificates will have been issued then. */
  async #prepare(cause: Cause): Promise<number> {
    const admin = await this.#cluster.admin();
    if (cause === 'first') {
      await this.#redeclare();
      return 1;
    }
    if (cause === 'renewal') {
      const request = { cluster: this.#cluster.name, node: this.#node.name, certificates: [this.#name] };
      await admin.call(admin.client.renewCertificates, request);
      return this.#installed.length + 1;
    }
    if (cause === 'undeclared') await this.#apply(false);
    else this.#unlink();
    return this.#installed.length;
  }

  /** Plain files with the same content in the place of the symlinks, as kubeadm leaves them. */
  #unlink(): void {
    for (const path of declaredFiles(this.#node).filter((each) => each.includes('walked'))) {
      const real = join(this.#node.rootDir, path);
      if (!lstatSync(real).isSymbolicLink()) continue;
      copyFileSync(real, `${real}.plain`);
      renameSync(`${real}.plain`, real);
    }
  }

  /** Another certificate, never issued yet, in the place of the present one. */
  async #redeclare(): Promise<void> {
    const admin = await this.#cluster.admin();
    if (this.#generation > 0)
      await admin.call(admin.client.deleteManifest, {
        cluster: this.#cluster.name,
        kind: 'CertificateManifest',
        name: this.#name,
        dryRun: false,
      });
    this.#generation += 1;
    this.#installed = [];
    await this.#apply(true);
  }

  async #apply(chain: boolean): Promise<void> {
    const admin = await this.#cluster.admin();
    const documents = [{ source: 'walked.yaml', yaml: walkedManifest(this.#name, this.#node, chain) }];
    await admin.call(admin.client.apply, { cluster: this.#cluster.name, documents, dryRun: false });
  }

  /** Until node and coordinator agree on the newest certificate; then what was issued must be what was installed, and nothing else. */
  async #untilSettled(point: string, expected: number): Promise<void> {
    const node = this.#node;
    let issued: Certificate[] = [];
    const settled = async (): Promise<boolean> => {
      issued = await issuedCertificates(this.#cluster, { node: node.name, name: this.#name });
      const status = (await statusOf(node))?.certificates.find(({ name }) => name === this.#name);
      return (
        issued.length >= expected && status?.state === 'Ready' && issued.some(({ current, serial }) => current && serial === status.serial)
      );
    };
    await until(`${this.#name} to be renewed after ${point}`, backMs, settled).catch(async (error: unknown) => {
      const state = JSON.stringify([await statusOf(node), issued.map(({ serial, current }) => [serial, current])]);
      throw new Error(`${String(error)}: ${state}`, { cause: error });
    });
    await untilReady(node, backMs);
    const serials = [walkedPair, walkedDated].map((path) => this.#assertPair(path, point));
    assert.equal(serials[0], serials[1], point);
    if (!this.#installed.includes(serials[0] as string)) this.#installed.push(serials[0] as string);
    assert.deepEqual(
      issued.map(({ serial }) => serial).sort(),
      [...this.#installed].sort(),
      `${point}: issued and installed are not the same`,
    );
  }

  /** Matching, within its time, and from the CA that the node trusts. Returns the serial. */
  #assertPair(path: string, point: string): string {
    const { rootDir, pkiDir } = this.#node;
    const { certificate } = readPair(rootDir, path);
    const anchors = certificatesFromPem(readFileSync(join(pkiDir, 'ca.crt')));
    verifyChain({ chain: [certificate.raw], anchors, atMs: systemClock.nowMs(), usage: 'server auth' });
    assert.ok(certificate.validToDate.getTime() > systemClock.nowMs(), point);
    return serialOf(certificate);
  }
}

function setPairStrategy(node: LocalNode, pairStrategy: string): void {
  const config = parse(readFileSync(node.configPath, 'utf8')) as object;
  writeFileSync(node.configPath, stringify({ ...config, pairStrategy }));
}
