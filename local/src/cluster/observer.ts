import { X509Certificate } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';

/** Folders of a node that hold certificates in use. */
const folders = ['etc/kubernetes', 'var/lib/kubelet/pki'];
const certificateFile = /\.(?:crt|pem|conf)$/;
/** kubelet's own way: the dated files before the current one stay for a while and may end; nobody uses them. */
const datedFile = /-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d\.pem$/;
const maxDepth = 4;

export interface ObservedFile {
  /** Relative to the node's root. */
  path: string;
  serial: string;
  notAfterMs: number;
}

/**
 * Looks at a node's certificate files from outside, as an auditor who believes neither agent nor coordinator: counts the certificates seen in each file, the keys
 * that came back in another certificate, and the certificates that ran out where they lay.
 */
export class CertificateObserver {
  readonly #rootDir: string;
  readonly #serials = new Map<string, Set<string>>();
  readonly #serialsByKey = new Map<string, Set<string>>();
  readonly #lapsed = new Set<string>();

  constructor(rootDir: string) {
    this.#rootDir = rootDir;
  }

  /** Certificates that took the place of another in their file. */
  get replacements(): number {
    return [...this.#serials.values()].reduce((sum, serials) => sum + serials.size - 1, 0);
  }

  /** Keys that were seen in more than one certificate. */
  get reusedKeys(): number {
    return [...this.#serialsByKey.values()].filter((serials) => serials.size > 1).length;
  }

  /** Serials of certificates that were past their end and still in place. */
  get lapsedSerials(): string[] {
    return [...this.#lapsed];
  }

  /** Looks once. A file that is away or half written in this very moment is left for the next look. */
  async look(nowMs: number): Promise<ObservedFile[]> {
    const paths = (await Promise.all(folders.map((folder) => list(join(this.#rootDir, folder), maxDepth)))).flat();
    const files = await Promise.all(paths.map((path) => this.#read(path)));
    const observed = files.filter((file) => file !== undefined);
    for (const { serial, notAfterMs } of observed) if (notAfterMs < nowMs) this.#lapsed.add(serial);
    return observed;
  }

  async #read(path: string): Promise<ObservedFile | undefined> {
    const certificate = leafOf(await readFile(path, 'utf8').catch(() => ''));
    if (!certificate) return undefined;
    const name = relative(this.#rootDir, path);
    const serial = certificate.serialNumber.toLowerCase();
    addTo(this.#serials, name, serial);
    addTo(this.#serialsByKey, certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'), serial);
    return { path: name, serial, notAfterMs: certificate.validToDate.getTime() };
  }
}

function addTo(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key);
  if (set) set.add(value);
  else map.set(key, new Set([value]));
}

async function list(folder: string, depth: number): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const paths = entries
    // Names that begin with a dot are the agent's own: versions, temporary files.
    .filter((entry) => !entry.name.startsWith('.'))
    .map((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return depth > 0 ? list(path, depth - 1) : [];
      return certificateFile.test(entry.name) && !datedFile.test(entry.name) ? [path] : [];
    });
  return (await Promise.all(paths)).flat();
}

/** The first certificate in a PEM file or embedded in a kubeconfig; undefined for CAs and for what is no certificate. */
function leafOf(content: string): X509Certificate | undefined {
  const embedded = /client-certificate-data: *"?([A-Za-z0-9+/=]+)/.exec(content)?.[1];
  const text = embedded ? Buffer.from(embedded, 'base64').toString() : content;
  const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text)?.[0];
  if (!block) return undefined;
  try {
    const certificate = new X509Certificate(block);
    return certificate.ca ? undefined : certificate;
  } catch {
    // Damaged on purpose by a test, or read in mid-write by one: the agent's business, told by its own reports.
    return undefined;
  }
}
