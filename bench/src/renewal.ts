/**
 * The coordinator's CPU for one renewal: a P-384 request over an open mTLS connection, everything on (authorization, policy, durable store with fsync, event log), beside the bare
 * cost of verifying the request and signing. Rounds of both alternate, so that a machine that gets slower or faster hits both alike.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type AdminApi, freePort, LocalCoordinator, prepareRunFolder } from '@evercert/local';
import { type ConnectResponse, EnrollmentServiceClient, NodeServiceClient, Role } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { createClientCredentials, unary } from '@evercert/shared/grpc';
import { certificatesFromPem, createCsr, generateKeyPair, type KeyAlgorithm } from '@evercert/shared/x509';
import type { BareOrder, BareResult } from './bare.ts';
import { cpuMsOf, inParallel, median } from './cpu.ts';

export interface RenewalOptions {
  caAlgorithm: 'ecdsa-p384' | 'rsa-4096';
  rounds: number;
  perRound: number;
  /** Renewals before the first round. */
  warmUp: number;
  inFlight: number;
  /** Folder for a V8 CPU profile of the coordinator. */
  profileDir?: string | undefined;
}

export interface RenewalResult {
  /** The coordinator's CPU (user and system) per renewal, in milliseconds: the median of the rounds. */
  cpuMs: number;
  bareCpuMs: number;
  ratioToBare: number;
  bareWithoutKeyImportCpuMs: number;
  perSecond: number;
  rounds: { cpuMs: number; bareCpuMs: number }[];
}

const cluster = 'bench';
const deadline = { deadlineMs: 60_000 };
const manifest = `apiVersion: evercert.io/v1
kind: CertificateManifest
metadata: { name: bench }
spec:
  selector: { role: worker }
  issuer: cluster-ca
  subject: { commonName: bench, organizations: [bench] }
  dnsNames: ["{{ node.name }}", localhost]
  ipAddresses: ["{{ node.addresses }}", 127.0.0.1]
  usages: [digital signature, server auth, client auth]
  privateKey: { algorithm: ECDSA, size: 384 }
  files: { certificate: /etc/kubernetes/pki/bench.crt, privateKey: /etc/kubernetes/pki/bench.key }
`;

export async function benchRenewal(options: RenewalOptions): Promise<RenewalResult> {
  const folder = prepareRunFolder(undefined, systemClock.nowMs());
  const taken = new Set<number>();
  const [port, webPort] = [await freePort('127.0.0.1', Math.random, taken), await freePort('127.0.0.1', Math.random, taken)];
  const coordinator = new LocalCoordinator({
    folder,
    port,
    webPort,
    config: {},
    autoRestart: false,
    clock: systemClock,
    notify: () => {},
  });
  const bare = new BareProcess();
  try {
    await coordinator.start(options.profileDir === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${options.profileDir}` });
    const node = await prepareNode(coordinator, options.caAlgorithm);
    const pid = coordinator.process.pid;
    if (pid === undefined) throw new Error('the coordinator does not run');
    // A coordinator runs for months: what is measured is compiled code, not the compiler.
    await node.renew(await makeRequests(options.warmUp), options.inFlight);
    const rounds: (RenewalResult['rounds'][number] & { withoutImport: number; perSecond: number })[] = [];
    for (let round = 0; round < options.rounds; round++) {
      const csrs = await makeRequests(options.perRound);
      const [before, start] = [cpuMsOf(pid), performance.now()];
      await node.renew(csrs, options.inFlight);
      const [after, end] = [cpuMsOf(pid), performance.now()];
      const order = { csrs: csrs.map((csr) => csr.toString('base64')), caAlgorithm: options.caAlgorithm, inFlight: options.inFlight };
      const { cpuMs: bareCpuMs, withoutKeyImportCpuMs } = await bare.measure(order);
      rounds.push({
        cpuMs: (after - before) / csrs.length,
        bareCpuMs,
        withoutImport: withoutKeyImportCpuMs,
        perSecond: (csrs.length * 1000) / (end - start),
      });
    }
    node.close();
    const cpuMs = median(rounds.map((round) => round.cpuMs));
    const bareCpuMs = median(rounds.map((round) => round.bareCpuMs));
    return {
      cpuMs,
      bareCpuMs,
      ratioToBare: cpuMs / bareCpuMs,
      bareWithoutKeyImportCpuMs: median(rounds.map(({ withoutImport }) => withoutImport)),
      perSecond: median(rounds.map(({ perSecond }) => perSecond)),
      rounds: rounds.map((round) => ({ cpuMs: round.cpuMs, bareCpuMs: round.bareCpuMs })),
    };
  } finally {
    bare.stop();
    await coordinator.stop();
    folder.release();
  }
}

/** New requests, each with a key of its own: a key that was used before would get its old answer back. */
async function makeRequests(count: number): Promise<Buffer[]> {
  const csrs: Buffer[] = new Array(count);
  await inParallel(count, 4, async (index) => {
    const { privateKey } = await generateKeyPair('ecdsa-p384');
    csrs[index] = await createCsr({ privateKey, commonName: 'bench' });
  });
  return csrs;
}

interface BenchNode {
  renew(csrs: Buffer[], inFlight: number): Promise<void>;
  close(): void;
}

async function prepareNode(coordinator: LocalCoordinator, keyAlgorithm: KeyAlgorithm): Promise<BenchNode> {
  const admin = await coordinator.admin();
  await admin.createCluster(cluster, {
    keyAlgorithm,
    layout: '',
    dnsDomain: '',
    serviceCidr: '',
    controlPlaneEndpoint: '',
    nodeAddressRanges: [],
    allowedPaths: [],
    leafLifetimeSeconds: 0,
    identityLifetimeSeconds: 0,
    apiServerExtraSans: [],
    controlPlaneRecovery: '',
    workerRecovery: '',
    replacement: undefined,
    adopt: false,
    rotation: undefined,
  });
  await admin.call(admin.client.apply, { cluster, documents: [{ source: 'bench.yaml', yaml: manifest }], dryRun: false });
  const { chain, privateKey, trustAnchors } = await enroll(coordinator, admin);
  const client = new NodeServiceClient(coordinator.address, createClientCredentials({ trustAnchors, chain, privateKey }));
  const specHash = await specHashOf(client);
  return {
    renew: (csrs, inFlight) =>
      inParallel(csrs.length, inFlight, async (index) => {
        const csr = csrs[index] as Buffer;
        await unary(client.issueCertificate.bind(client), { name: 'bench', csr, specHash, reason: 'Scheduled' }, deadline);
      }),
    close: () => client.close(),
  };
}

async function enroll(
  coordinator: LocalCoordinator,
  admin: AdminApi,
): Promise<{ chain: Buffer[]; privateKey: KeyObject; trustAnchors: Buffer[] }> {
  const { token } = await admin.createToken(cluster, { name: 'bench-1', role: Role.WORKER, addresses: ['192.0.2.1'] });
  const trustAnchors = certificatesFromPem(readFileSync(join(coordinator.adminDir, 'ca.crt')));
  const client = new EnrollmentServiceClient(coordinator.address, createClientCredentials({ trustAnchors }));
  const { privateKey } = await generateKeyPair('ecdsa-p256');
  const csr = await createCsr({ privateKey, commonName: 'bench-1' });
  const facts = { hostname: 'bench-1', addresses: [], agentVersion: 'bench', os: '' };
  const { chain } = await unary(client.enroll.bind(client), { token, nodeName: 'bench-1', csr, facts, role: Role.WORKER }, deadline);
  client.close();
  return { chain, privateKey, trustAnchors };
}

function specHashOf(client: NodeServiceClient): Promise<string> {
  return new Promise((resolve, reject) => {
    const stream = client.connect();
    stream.on('error', reject);
    stream.on('data', ({ message }: ConnectResponse) => {
      if (message?.$case !== 'desiredState') return;
      const found = message.value.certificates.find(({ name }) => name === 'bench');
      stream.off('error', reject);
      stream.on('error', () => {});
      stream.cancel();
      if (found) resolve(found.specHash);
      else reject(new Error('the benchmark manifest is not in effect'));
    });
    const facts = { hostname: 'bench-1', addresses: [], agentVersion: 'bench', os: '' };
    stream.write({ message: { $case: 'hello', value: { facts, desiredRevision: '' } } });
  });
}

/** bare.ts as a child, so that only its own work is counted. */
class BareProcess {
  readonly #child: ChildProcess;
  readonly #lines: Interface;

  constructor() {
    this.#child = spawn(process.execPath, [fileURLToPath(import.meta.resolve('./bare.ts'))], { stdio: ['pipe', 'pipe', 'inherit'] });
    if (!this.#child.stdout) throw new Error('no pipe to the child');
    this.#lines = createInterface({ input: this.#child.stdout });
  }

  measure(order: BareOrder): Promise<BareResult> {
    return new Promise((resolve, reject) => {
      this.#child.once('exit', (code) => reject(new Error(`the bare process ended with ${code}`)));
      this.#lines.once('line', (line) => resolve(JSON.parse(line) as BareResult));
      this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    });
  }

  stop(): void {
    this.#child.kill();
  }
}
