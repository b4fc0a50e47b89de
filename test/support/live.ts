/** What tests of a running local cluster need: its records, its nodes' declared files, and a look at pairs that knows nothing of how agents place them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { type AgentStatus, allReady, fetchStatus } from '@evercert/agent/status';
import { type LocalCluster, type LocalClusterOptions, type LocalNode, startLocalCluster, waitUntil } from '@evercert/local';
import type { Certificate } from '@evercert/proto';
import { systemClock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';

/** A temporary folder, its path without symlinks. */
export function temporaryFolder(name: string): string {
  return realpathSync(mkdtempSync(join(tmpdir(), `evercert-${name}-`)));
}

/**
 * For `before`: a local cluster whose folder outlives it until `after`. Without etcd, and without automatic restarts unless the options say otherwise.
 * `dispose` stops all and removes the folder.
 */
export async function liveCluster(options: LocalClusterOptions): Promise<{ cluster: LocalCluster; dispose: () => Promise<void> }> {
  const runDir = temporaryFolder('live');
  try {
    const cluster = await startLocalCluster({ runDir, autoRestart: false, ...options });
    return {
      cluster,
      dispose: async () => {
        await cluster.stop();
        rmSync(runDir, { recursive: true, force: true });
      },
    };
  } catch (error) {
    rmSync(runDir, { recursive: true, force: true });
    throw error;
  }
}

/** All certificates that the coordinator has issued, those that newer ones have succeeded included. */
export async function issuedCertificates(cluster: LocalCluster, filter: { node?: string; name?: string } = {}): Promise<Certificate[]> {
  const admin = await cluster.admin();
  const { node = '', name = '' } = filter;
  const certificates: Certificate[] = [];
  for (let pageToken = ''; ; ) {
    const request = { cluster: cluster.name, node, name, serial: '', includeSuperseded: true, pageSize: 1000, pageToken };
    const page = await admin.call(admin.client.listCertificates, request);
    certificates.push(...page.certificates);
    if (page.nextPageToken === '') return certificates;
    pageToken = page.nextPageToken;
  }
}

/** Public keys (base64 SPKI) that more than one certificate has: there must be none. */
export function sharedKeys(certificates: readonly Certificate[]): string[] {
  const keys = certificates.map(({ certificatePem }) => spkiOf(new X509Certificate(certificatePem)));
  return keys.filter((key, index) => keys.indexOf(key) !== index);
}

export function spkiOf(certificate: X509Certificate): string {
  return certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('base64');
}

/** Serial as the coordinator writes it: lower-case hex of 16 bytes. */
export function serialOf(certificate: X509Certificate): string {
  return certificate.serialNumber.toLowerCase().padStart(32, '0');
}

const declaredFolders = ['etc/kubernetes', 'var/lib/kubelet/pki'];
const datedFile = /-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.pem$/;

/** Paths at which a node's components read, relative to its root: everything in its folders but versions and kubelet's dated files. */
export function declaredFiles(node: LocalNode): string[] {
  return declaredFolders
    .flatMap((folder) => readdirSync(join(node.rootDir, folder), { withFileTypes: true, recursive: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(node.rootDir, join(entry.parentPath, entry.name)))
    .filter((path) => !path.split('/').some((part) => part.startsWith('.')) && !datedFile.test(path))
    .sort();
}

export interface Pair {
  certificate: X509Certificate;
  /** PEM of the private key. */
  key: string;
}

/** Reads a pair (one combined file, or a .crt with the .key beside it) as a component does. Throws when key and certificate do not belong together. */
export function readPair(root: string, path: string): Pair {
  const certificatePem = readFileSync(join(root, path), 'utf8');
  const keyText = path.endsWith('.crt') ? readFileSync(join(root, path.replace(/\.crt$/, '.key')), 'utf8') : certificatePem;
  const certificate = new X509Certificate(certificatePem);
  const key = keyText.slice(keyText.indexOf('-----BEGIN PRIVATE KEY'));
  if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error(`the key of ${path} does not belong to the certificate`);
  return { certificate, key };
}

export function until(what: string, timeoutMs: number, predicate: () => boolean | Promise<boolean>, pollMs = 50): Promise<void> {
  return waitUntil(systemClock, predicate, { timeoutMs, what, pollMs });
}

/** The agent's own word; undefined while it does not answer. */
export async function statusOf(node: LocalNode): Promise<AgentStatus | undefined> {
  try {
    return await fetchStatus(node.statusSocket);
  } catch (error) {
    if (error instanceof EvercertError) return undefined;
    throw error;
  }
}

/** Until the agent says that all is well, and that it is connected. */
export async function untilReady(node: LocalNode, timeoutMs = 30_000): Promise<AgentStatus> {
  let last: AgentStatus | undefined;
  const ready = async (): Promise<boolean> => {
    last = await statusOf(node);
    return last !== undefined && last.connection.state === 'Connected' && last.certificates.length > 0 && allReady(last);
  };
  await until(`${node.name} to be Ready`, timeoutMs, ready).catch((error: unknown) => {
    throw new Error(`${String(error)}; its last status: ${JSON.stringify(last)}`, { cause: error });
  });
  return last as AgentStatus;
}

/** What no crash may leave on a node once its agent is Ready again: temporary files, drafts, journals, waiting keys, versions and pairs that nothing points to. */
export function leftovers(node: LocalNode): string[] {
  const all = readdirSync(node.rootDir, { recursive: true, encoding: 'utf8' });
  const certificates = relative(node.rootDir, join(node.stateDir, 'certificates'));
  const extra = (pattern: RegExp, kept: number): string[] => {
    const groups = new Map<string, string[]>();
    for (const path of all) {
      const group = pattern.exec(path)?.[1];
      if (group !== undefined) groups.set(group, [...(groups.get(group) ?? []), path]);
    }
    return [...groups.values()].flatMap((paths) => paths.sort().slice(0, -kept));
  };
  return [
    ...all.filter((path) => /evercert-tmp|\.draft|journal|next-key\.pem/.test(path)),
    ...all.filter((path) => path.startsWith(certificates) && path.endsWith('/next')),
    ...extra(/^(.*\/\.evercert\/[^/]+)\/(?!current$)[^/]+$/, 1),
    ...extra(new RegExp(`^(${certificates}/[^/]+/pairs)/[^/]+$`), 1),
    ...extra(/^(.*)-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.pem$/, 2),
  ];
}
