/** A control-plane node's folder as the real kubeadm makes it, and what kubeadm says of it later. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from './tools.ts';

export interface KubeadmNode {
  name: string;
  /** What the node's certificates are for; nothing has to listen there. */
  address: string;
  /** Further names of the API server. */
  extraSans: string[];
}

/** `ROOT/etc/kubernetes`, with all certificates and, if wanted, the kubeconfigs. About 5 s: RSA keys. */
export async function makeKubeadmFolder(
  kubeadm: string,
  root: string,
  node: KubeadmNode,
  { kubeconfigs }: { kubeconfigs: boolean },
): Promise<string> {
  const folder = join(root, 'etc', 'kubernetes');
  mkdirSync(folder, { recursive: true });
  const config = join(root, 'kubeadm.yaml');
  writeFileSync(
    config,
    [
      'apiVersion: kubeadm.k8s.io/v1beta2',
      'kind: InitConfiguration',
      `nodeRegistration: { name: ${node.name} }`,
      `localAPIEndpoint: { advertiseAddress: ${node.address}, bindPort: 6443 }`,
      '---',
      'apiVersion: kubeadm.k8s.io/v1beta2',
      'kind: ClusterConfiguration',
      'kubernetesVersion: v1.20.2',
      `certificatesDir: ${join(folder, 'pki')}`,
      `apiServer: { certSANs: [${node.extraSans.map((san) => `"${san}"`).join(', ')}] }`,
      '',
    ].join('\n'),
  );
  await runOk(kubeadm, ['init', 'phase', 'certs', 'all', '--config', config]);
  if (kubeconfigs) await runOk(kubeadm, ['init', 'phase', 'kubeconfig', 'all', '--config', config, '--kubeconfig-dir', folder]);
  return folder;
}

export interface ExpirationRow {
  name: string;
  /** To the minute; undefined: kubeadm misses it. */
  notAfterMs: number | undefined;
  residual: string;
  /** Of leaves in the PKI folder; empty for kubeconfigs, and for CAs. */
  authority: string;
  externallyManaged: boolean;
  isCa: boolean;
}

/** `kubeadm certs check-expiration` of a root folder, read. Needs root: kubeadm looks for kubeconfigs at one place only, and is put into the folder by chroot. */
export async function checkExpiration(kubeadm: string, root: string): Promise<ExpirationRow[]> {
  const { stdout } = await runOk(kubeadm, ['certs', 'check-expiration', '--rootfs', root]);
  let isCa = false;
  const rows: ExpirationRow[] = [];
  for (const text of stdout.split('\n')) {
    if (text.startsWith('CERTIFICATE AUTHORITY')) isCa = true;
    const missing = /^!MISSING! (\S+)/.exec(text)?.[1];
    if (missing !== undefined)
      rows.push({ name: missing, notAfterMs: undefined, residual: '', authority: '', externallyManaged: false, isCa });
    const found = /^(\S+) +(\w{3} \d\d, \d{4} \d\d:\d\d UTC) +(\S+) +(?:(\S+) +)?(yes|no) *$/.exec(text);
    if (!found) continue;
    const [, name = '', end = '', residual = '', authority = '', external] = found;
    rows.push({ name, notAfterMs: Date.parse(end), residual, authority, externallyManaged: external === 'yes', isCa });
  }
  return rows;
}

/** The JSON form of `evercert certs check`, as far as it is compared. */
export interface CertificateCheck {
  certificates: {
    path: string;
    notAfter: string;
    remainingSeconds: number;
    chain: { anchor?: { path: string; key: string } };
    key: { status: string };
  }[];
  absent: string[];
}

/** Every row of kubeadm's table is in the report: name, end, residual time, CA, and whether the CA's key is there. */
export function assertSideBySide(rows: readonly ExpirationRow[], report: CertificateCheck): void {
  for (const row of rows) {
    const path = pathOf(row.name, row.isCa);
    const ours = report.certificates.find((one) => one.path === path);
    if (row.notAfterMs === undefined) {
      assert.equal(ours, undefined, path);
      assert.ok(report.absent.includes(path), path);
      continue;
    }
    assert.ok(ours, `${path} is in the report`);
    assert.equal(Math.floor(Date.parse(ours.notAfter) / 60_000) * 60_000, row.notAfterMs, row.name);
    const { anchor } = ours.chain;
    if (row.authority !== '') assert.equal(anchor?.path, pathOf(row.authority, true), row.name);
    assert.equal((row.isCa ? ours.key.status : anchor?.key) === 'elsewhere', row.externallyManaged, row.name);
    assert.ok(Math.abs(ours.remainingSeconds - residualSeconds(row.residual)) <= unitSeconds(row.residual), `${row.name}: ${row.residual}`);
  }
}

/** The file that kubeadm's name stands for, in /etc/kubernetes. */
export function pathOf(name: string, isCa: boolean): string {
  if (name.endsWith('.conf')) return name;
  if (isCa) return `pki/${name.replace(/^etcd-ca$/, 'etcd/ca')}.crt`;
  return `pki/${name.replace(/^etcd-/, 'etcd/')}.crt`;
}

const units: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, y: 365 * 86_400 };

function unitSeconds(residual: string): number {
  return units[residual.at(-1) ?? ''] ?? Number.POSITIVE_INFINITY;
}

function residualSeconds(residual: string): number {
  const [, amount = '0', unit = 's'] = /^(?:<invalid>|(\d+)([smhdy]))$/.exec(residual) ?? [];
  return Number(amount) * (units[unit] ?? 1);
}
