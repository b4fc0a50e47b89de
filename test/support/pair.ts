/** What tests of the agent's files need: a CA, specifications, a folder that stands for a node's disk, and a checker that knows nothing of how files are placed. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type CertificateFilesOptions, createCertificateFiles } from '@evercert/agent/files';
import { FakeClock } from '@evercert/shared/clock';
import { silentLogger } from '@evercert/shared/logging';
import type { FileSpec, OutputSpec, ResolvedCertificate } from '@evercert/shared/manifest';
import {
  certificatesFromPem,
  certificatesToPem,
  createRootCertificate,
  generateKeyPair,
  issueLeaf,
  newSerial,
  prepareIssuer,
  privateKeyFromPem,
  privateKeyToPem,
  signerFor,
  spkiDer,
} from '@evercert/shared/x509';

export const startMs = Date.parse('2026-11-24T20:45:07Z');
const hourMs = 3_600_000;

export interface TestCa {
  der: Buffer;
  /** Certificate and private key. */
  pem: string;
  /** A chain for the key that says what the specification asks for. */
  issue(spec: ResolvedCertificate, key: KeyObject, times?: { notBeforeMs?: number; notAfterMs?: number }): Promise<Buffer[]>;
}

export async function createTestCa(commonName = 'kubernetes-ca'): Promise<TestCa> {
  const { privateKey } = await generateKeyPair('ecdsa-p384');
  const der = await createRootCertificate({
    commonName,
    signer: signerFor(privateKey),
    serial: newSerial(),
    notBefore: new Date(startMs - 24 * hourMs),
    notAfter: new Date(startMs + 10_000 * hourMs),
  });
  return testCaFromPem(certificatesToPem([der]) + privateKeyToPem(privateKey));
}

export function testCaFromPem(pem: string): TestCa {
  const [der] = certificatesFromPem(pem);
  if (der === undefined) throw new Error('there is no certificate in the PEM text');
  const issuer = prepareIssuer(der, signerFor(privateKeyFromPem(pem)));
  return {
    der,
    pem,
    issue: async (spec, key, times = {}) => [
      await issueLeaf(issuer, {
        spki: spkiDer(key),
        keyAlgorithm: spec.keyAlgorithm,
        profile: { ...spec, uris: [] },
        serial: newSerial(),
        notBefore: new Date(times.notBeforeMs ?? startMs - 60_000),
        notAfter: new Date(times.notAfterMs ?? startMs + 96 * hourMs),
      }),
    ],
  };
}

export function fileSpec(path: string, mode = 0o600): FileSpec {
  return { path, mode };
}

export const pki = '/etc/kubernetes/pki';
export const outputs = {
  pem: { type: 'pem', certificate: fileSpec(`${pki}/apiserver.crt`, 0o644), privateKey: fileSpec(`${pki}/apiserver.key`) },
  pemApart: {
    type: 'pem',
    certificate: fileSpec('/etc/kubernetes/certs/a.pem', 0o644),
    privateKey: fileSpec('/etc/kubernetes/keys/a.pem'),
  },
  chain: { type: 'chain', file: fileSpec('/etc/kubernetes/chain.pem', 0o644) },
  combined: { type: 'combined', file: fileSpec(`${pki}/both.pem`), dated: false },
  dated: { type: 'combined', file: fileSpec('/var/lib/kubelet/pki/kubelet-client-current.pem'), dated: true },
  kubeconfig: {
    type: 'kubeconfig',
    file: fileSpec('/etc/kubernetes/admin.conf'),
    clusterName: 'demo',
    server: 'https://127.0.0.1:6443',
    user: 'kubernetes-admin',
  },
  references: {
    type: 'kubeconfig',
    file: fileSpec('/etc/kubernetes/scheduler.conf'),
    clusterName: 'demo',
    server: 'https://127.0.0.1:6443',
    user: 'scheduler',
    certificatePath: `${pki}/apiserver.crt`,
    privateKeyPath: `${pki}/apiserver.key`,
    certificateAuthorityPath: `${pki}/ca.crt`,
  },
  pkcs12: { type: 'pkcs12', file: fileSpec(`${pki}/apiserver.p12`), passwordPath: '/etc/kubernetes/p12-password' },
} as const satisfies Record<string, OutputSpec>;

export function certificateSpec(outputs: readonly OutputSpec[], changes: Partial<ResolvedCertificate> = {}): ResolvedCertificate {
  return {
    name: 'apiserver',
    issuer: 'cluster-ca',
    commonName: 'kube-apiserver',
    organizations: [],
    dnsNames: ['cp-1', 'kubernetes'],
    ipAddresses: ['10.96.0.1', '2001:db8::1'],
    usages: ['digital signature', 'key encipherment', 'server auth'],
    keyAlgorithm: 'ecdsa-p384',
    lifetimeSeconds: 96 * 3600,
    renewAt: 2 / 3,
    outputs: [...outputs],
    specHash: 'spec-1',
    ...changes,
  };
}

export const allowedPaths = ['/etc/kubernetes', '/var/lib/kubelet/pki'];

/** A temporary folder that stands for a node: `root` for its disk, `state` for the agent's folder. */
export class TestDisk {
  readonly folder: string;
  readonly root: string;
  readonly clock = new FakeClock(startMs);

  constructor(folder = realpathSync(mkdtempSync(join(tmpdir(), 'evercert-files-')))) {
    this.folder = folder;
    this.root = join(folder, 'root');
    for (const path of [pki, '/var/lib/kubelet/pki']) mkdirSync(this.real(path), { recursive: true });
    this.write('/etc/kubernetes/p12-password', 'correct horse\n');
  }

  get stateDir(): string {
    return join(this.folder, 'state');
  }

  real(path: string): string {
    return join(this.root, path);
  }

  read(path: string): string {
    return readFileSync(this.real(path), 'utf8');
  }

  write(path: string, content: string | Buffer, mode = 0o644): void {
    mkdirSync(dirname(this.real(path)), { recursive: true });
    writeFileSync(this.real(path), content, { mode });
  }

  mode(path: string): number {
    return statSync(this.real(path)).mode & 0o7777;
  }

  files(options: Partial<CertificateFilesOptions> = {}): ReturnType<typeof createCertificateFiles> {
    return createCertificateFiles({
      stateDir: this.stateDir,
      rootDir: this.root,
      allowedPaths,
      clock: this.clock,
      logger: silentLogger,
      ...options,
    });
  }

  /** Everything below a folder, by path relative to it, without the symlinks' targets. */
  list(path: string): string[] {
    return readdirSync(this.real(path), { recursive: true, encoding: 'utf8' }).sort();
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Asks for a certificate as an agent does, and installs it. */
export async function installNew(files: ReturnType<TestDisk['files']>, ca: TestCa, spec: ResolvedCertificate, anchors = [ca.der]) {
  const { privateKey } = await files.ensurePendingKey(spec);
  await files.savePendingChain(spec.name, await ca.issue(spec, privateKey), startMs);
  return files.install(spec, anchors);
}

/** A pair as kubeadm left it: two regular files. */
export async function writeForeignPair(
  disk: TestDisk,
  ca: TestCa,
  spec: ResolvedCertificate,
): Promise<{ certificate: string; key: string }> {
  const { privateKey } = await generateKeyPair('ecdsa-p384');
  const certificate = certificatesToPem(await ca.issue(spec, privateKey));
  const key = privateKeyToPem(privateKey);
  for (const output of spec.outputs) {
    if (output.type === 'pem') {
      disk.write(output.certificate.path, certificate);
      disk.write(output.privateKey.path, key, 0o600);
    } else if (output.type === 'combined') disk.write(output.file.path, certificate + key, 0o600);
  }
  return { certificate, key };
}

/**
 * Looks at declared paths as a component does, by their plain names and node:crypto alone. Returns the serials (lower-case hex) that were read, one for each
 * output that holds a certificate and its key; throws when a key does not belong to its certificate.
 */
export function serialsInUse(disk: Pick<TestDisk, 'read'>, spec: ResolvedCertificate): string[] {
  return spec.outputs.flatMap((output) => {
    if (output.type === 'pem')
      return [matching(disk.read(output.certificate.path), disk.read(output.privateKey.path), output.certificate.path)];
    if (output.type === 'combined') return [matching(disk.read(output.file.path), disk.read(output.file.path), output.file.path)];
    return [];
  });
}

function matching(certificatePem: string, keyPem: string, path: string): string {
  const certificate = new X509Certificate(certificatePem);
  const key = createPrivateKey(keyPem.slice(keyPem.indexOf('-----BEGIN PRIVATE KEY')));
  if (!certificate.checkPrivateKey(key)) throw new Error(`the key beside ${path} does not belong to it`);
  return certificate.serialNumber.toLowerCase().padStart(32, '0');
}
