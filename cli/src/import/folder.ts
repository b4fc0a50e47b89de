/** Finds a cluster's CAs and certificates in kubeadm's folder, or a copy of it. Reads only. */
import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import type { ImportedAuthority, ImportedCertificate, ImportFinding } from '@evercert/proto';
import { formatFileMode } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf } from '@evercert/shared/files';
import { type IssuerName, issuers } from '@evercert/shared/manifest';
import { certificatesToPem } from '@evercert/shared/x509';
import { parse } from 'yaml';
import { takeInventory } from '../certs-check/index.ts';
import type { Inventory } from '../certs-check/types.ts';

export interface FoundCluster {
  authorities: ImportedAuthority[];
  /** Secret; empty: not there, or not wanted. */
  serviceAccountKeyPem: string;
  /** Leaves, by the paths at which components read them. */
  certificates: ImportedCertificate[];
  /** `HOST:PORT` of the API server in admin.conf; empty: there is none. */
  server: string;
  /** What is wrong with the files themselves. */
  findings: ImportFinding[];
}

/** Where kubeadm, and both of Evercert's layouts, have them below the PKI folder. */
const authorityFiles: Record<IssuerName, string> = { 'cluster-ca': 'ca', 'etcd-ca': 'etcd/ca', 'front-proxy-ca': 'front-proxy-ca' };

const kubernetesFolder = '/etc/kubernetes';
const kubeletFolder = '/var/lib/kubelet/pki';
const maxFileBytes = 1024 * 1024;
const othersMayRead = 0o004;

/** `folder`: /etc/kubernetes, its pki, or a copy of either. InvalidArgument: it holds no ca.crt where one is expected, or a file cannot be read. */
export async function findCluster(folder: string, { keys }: { keys: boolean }): Promise<FoundCluster> {
  const { pki, base } = await locate(folder);
  const authorities: ImportedAuthority[] = [];
  for (const name of issuers) {
    const stem = join(pki, authorityFiles[name]);
    const certificatesPem = await readIfThere(`${stem}.crt`);
    if (certificatesPem === undefined) continue;
    const privateKeyPem = keys ? ((await readIfThere(`${stem}.key`)) ?? '') : '';
    authorities.push({ name, certificatesPem, privateKeyPem, source: relative(folder, `${stem}.crt`) });
  }
  const serviceAccountKeyPem = keys ? ((await readIfThere(join(pki, 'sa.key'))) ?? '') : '';
  const root = base ?? pki;
  const places = [{ real: root, canonical: base === undefined ? `${kubernetesFolder}/pki` : kubernetesFolder }];
  const kubelet = base?.endsWith(kubernetesFolder) ? join(base.slice(0, -kubernetesFolder.length) || '/', kubeletFolder) : undefined;
  if (kubelet !== undefined && (await isFolder(kubelet))) places.push({ real: kubelet, canonical: kubeletFolder });
  const certificates: ImportedCertificate[] = [];
  const findings: ImportFinding[] = [];
  for (const place of places) {
    const inventory = await takeInventory(place.real, base?.slice(0, -kubernetesFolder.length) || '/');
    certificates.push(...leavesOf(inventory, place.canonical));
    findings.push(...troublesOf(inventory, place.canonical));
  }
  const server = base === undefined ? '' : await serverOf(join(base, 'admin.conf'));
  return { authorities, serviceAccountKeyPem, certificates: unique(certificates), server, findings };
}

/** The PKI folder, and the folder with the kubeconfigs above it where that is there. */
async function locate(folder: string): Promise<{ pki: string; base: string | undefined }> {
  if (await isFile(join(folder, 'pki', 'ca.crt'))) return { pki: join(folder, 'pki'), base: folder };
  if (await isFile(join(folder, 'ca.crt'))) {
    const above = dirname(folder);
    const isKubernetes = basename(folder) === 'pki' && ((await isFile(join(above, 'admin.conf'))) || above.endsWith(kubernetesFolder));
    return { pki: folder, base: isKubernetes ? above : undefined };
  }
  throw new EvercertError(
    'InvalidArgument',
    `--from ${folder}: there is neither pki/ca.crt nor ca.crt in it; expected /etc/kubernetes or /etc/kubernetes/pki of a control-plane node, or a copy`,
  );
}

function leavesOf({ certificates, superseded }: Inventory, canonical: string): ImportedCertificate[] {
  return certificates
    .filter(({ info, listed, embeddedCa, path }) => listed && !embeddedCa && !info.isCa && !superseded.has(path))
    .map(({ path, info, following }) => ({
      path: path.startsWith('/') ? path : join(canonical, path),
      certificatePem: certificatesToPem([info.der, ...following]),
    }));
}

/** A file that a kubeconfig refers to may be met twice. */
function unique(certificates: readonly ImportedCertificate[]): ImportedCertificate[] {
  return [...new Map(certificates.map((one) => [one.path, one])).values()];
}

function troublesOf({ keys, problems }: Inventory, canonical: string): ImportFinding[] {
  const warning = (path: string, message: string): ImportFinding => ({
    severity: 'Warning',
    path: join(canonical, path),
    certificate: '',
    kind: 'Unmanaged',
    message,
  });
  return [
    ...problems.map(({ path, message }) => warning(path, message)),
    ...keys
      .filter(({ mode }) => (mode & othersMayRead) !== 0)
      .map(({ path, mode }) =>
        warning(path, `mode ${formatFileMode(mode)}: everybody can read the private key in it; chmod 0600, and have it renewed`),
      ),
  ];
}

/** Where admin.conf reaches the API server. */
async function serverOf(path: string): Promise<string> {
  const text = await readIfThere(path);
  try {
    const config =
      text === undefined ? undefined : (parse(text, { logLevel: 'silent' }) as { clusters?: { cluster?: { server?: unknown } }[] });
    const { server } = config?.clusters?.[0]?.cluster ?? {};
    return typeof server === 'string' ? new URL(server).host : '';
  } catch {
    // It only helps to guess; what is wrong with the file is told as its own finding.
    return '';
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isFile() ?? false;
}

async function isFolder(path: string): Promise<boolean> {
  return (await statIfThere(path))?.isDirectory() ?? false;
}

async function statIfThere(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw unreadable(path, error);
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  const found = await statIfThere(path);
  if (!found) return undefined;
  if (!found.isFile() || found.size > maxFileBytes)
    throw new EvercertError('InvalidArgument', `${path}: expected a file of at most ${maxFileBytes} bytes`);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  }
}

function unreadable(path: string, error: unknown): EvercertError {
  const why = errnoOf(error) === 'EACCES' ? 'permission denied: run this as a user that may read it' : String(error);
  return new EvercertError('InvalidArgument', `cannot read ${path}: ${why}`, { cause: error });
}
