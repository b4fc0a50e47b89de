import { hash, type KeyObject } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import {
  createFileDurable,
  removeIfThere,
  replaceSymlinkDurable,
  sweepTemporaries,
  syncDirectory,
  toFileError,
  writeFileDurable,
} from '@evercert/shared/files';
import type { ResolvedCertificate } from '@evercert/shared/manifest';
import {
  certificatesFromPem,
  certificatesToPem,
  keyAlgorithmOf,
  pairMatches,
  parseCertificate,
  privateKeyFromPem,
  privateKeyToPem,
} from '@evercert/shared/x509';
import { emptyLayout, type LayoutRecord } from './layout.ts';
import { makeFolder } from './paths.ts';
import { step } from './points.ts';
import { ensurePrivateFolder, freeName, linkText, listFolder, lookAt, readBounded, removeTree, tightenTree } from './tree.ts';
import type { InstalledPair, PairMeta, PendingPair } from './types.ts';

/** What an interrupted change needs to be completed. */
export interface Journal {
  schema: 1;
  /** The pair's version in the state folder. */
  pair: string;
  spec: ResolvedCertificate;
  /** DER in base64. */
  trustAnchors: string[];
}

interface PendingMeta {
  schema: 1;
  specHash: string;
  issuedAtMs?: number;
}

const privateMode = 0o600;
const folderMode = 0o700;

/**
 * The state folder of one certificate:
 * `next/` is the pending slot; `pairs/VERSION/` holds a pair; `installed` is a symlink to the pair in use, so that one rename commits key, chain and
 * facts together; `kubeconfigs/` remembers what those held; `journal.json` exists while declared paths are being changed; `layout.json` says what was put there.
 */
export class CertificateState {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  async open(): Promise<void> {
    for (const folder of [this.folder, join(this.folder, 'pairs')]) await ensurePrivateFolder(folder);
    // Only somebody else can have put a folder or file there; the pair in it is found again at the declared paths.
    const installed = join(this.folder, 'installed');
    if ((await lookAt(installed))?.isSymbolicLink() === false) await removeTree(installed);
  }

  // The pending slot

  async pending(): Promise<PendingPair | undefined> {
    const meta = await this.#readJson<PendingMeta>('next/meta.json');
    const privateKey = keyFrom(await this.#read('next/key.pem'));
    const keyAlgorithm = privateKey === undefined ? undefined : keyAlgorithmOf(privateKey);
    if (meta === undefined || privateKey === undefined || keyAlgorithm === undefined) return undefined;
    const chain = chainFrom(await this.#read('next/chain.pem'));
    const usable = chain?.[0] !== undefined && pairMatches(chain[0], privateKey);
    return { privateKey, keyAlgorithm, specHash: meta.specHash, ...(usable ? { chain } : {}) };
  }

  /** When the coordinator recorded the issue of the pending chain. */
  async pendingIssuedAtMs(): Promise<number | undefined> {
    return (await this.#readJson<PendingMeta>('next/meta.json'))?.issuedAtMs;
  }

  async writePendingKey(privateKey: KeyObject, specHash: string): Promise<void> {
    const draft = join(this.folder, 'next.draft');
    await removeTree(draft);
    await makeFolder(draft, folderMode);
    await createFileDurable(join(draft, 'key.pem'), privateKeyToPem(privateKey), { mode: privateMode });
    await createFileDurable(join(draft, 'meta.json'), json({ schema: 1, specHash } satisfies PendingMeta), { mode: privateMode });
    await syncDirectory(draft);
    await removeTree(join(this.folder, 'next'));
    await step('pending-key', () => this.#rename('next.draft', 'next'));
  }

  async writePendingChain(chain: Buffer[], specHash: string, issuedAtMs: number): Promise<void> {
    // The chain comes last: it counts only once the issue time is there.
    await this.#write('next/meta.json', json({ schema: 1, specHash, issuedAtMs } satisfies PendingMeta));
    await step('pending-chain', () => this.#write('next/chain.pem', certificatesToPem(chain)));
  }

  async clearPending(): Promise<void> {
    await removeTree(join(this.folder, 'next'));
    await syncDirectory(this.folder);
  }

  // The pair in use

  async installedVersion(): Promise<string | undefined> {
    const target = await linkText(join(this.folder, 'installed'));
    return target === undefined ? undefined : /^pairs\/([^/]+)$/.exec(target)?.[1];
  }

  async freeVersion(label: string): Promise<string> {
    return freeName(join(this.folder, 'pairs'), label);
  }

  async writePair(version: string, pair: { chain: Buffer[]; privateKey: KeyObject }, meta: PairMeta): Promise<void> {
    const folder = join(this.folder, 'pairs', version);
    await makeFolder(folder, folderMode);
    await createFileDurable(join(folder, 'key.pem'), privateKeyToPem(pair.privateKey), { mode: privateMode });
    await createFileDurable(join(folder, 'chain.pem'), certificatesToPem(pair.chain), { mode: privateMode });
    await createFileDurable(join(folder, 'meta.json'), json(meta), { mode: privateMode });
    await syncDirectory(folder);
  }

  /** Makes a pair the installed one. */
  async commit(version: string): Promise<void> {
    await replaceSymlinkDurable(join(this.folder, 'installed'), `pairs/${version}`);
  }

  /** Takes a commit back; one that failed needs nothing. */
  async uncommit(previous: string | undefined): Promise<void> {
    if ((await this.installedVersion()) === previous) return;
    if (previous !== undefined) return this.commit(previous);
    await removeIfThere(join(this.folder, 'installed'));
    await syncDirectory(this.folder);
  }

  /** Facts of the pair in use, even where its key or chain is damaged. */
  async installedMeta(): Promise<PairMeta | undefined> {
    return this.#readJson<PairMeta>('installed/meta.json');
  }

  async installed(name: string): Promise<InstalledPair | undefined> {
    const meta = await this.installedMeta();
    const privateKey = keyFrom(await this.#read('installed/key.pem'));
    const chain = chainFrom(await this.#read('installed/chain.pem'));
    const leaf = chain?.[0];
    if (meta === undefined || privateKey === undefined || chain === undefined || leaf === undefined) return undefined;
    if (!pairMatches(leaf, privateKey) || parseCertificate(leaf).serial !== meta.serial) return undefined;
    return { name, ...meta, chain, privateKey };
  }

  /** Keeps a content that cannot be made twice beside the pair it was made from. */
  async keep(version: string, name: string, content: Buffer): Promise<void> {
    await this.#write(`pairs/${version}/${name}`, Buffer.concat([hash('sha256', content, 'buffer'), content]));
  }

  async kept(version: string, name: string): Promise<Buffer | undefined> {
    const bytes = await this.#read(`pairs/${version}/${name}`);
    const content = bytes?.subarray(32);
    return content !== undefined && bytes?.subarray(0, 32).equals(hash('sha256', content, 'buffer')) ? content : undefined;
  }

  /** What a kubeconfig at a declared path was last known to hold, an admin's part included. */
  async remembered(path: string): Promise<Buffer | undefined> {
    return this.#read(rememberedName(path));
  }

  async remember(path: string, content: Buffer): Promise<void> {
    await ensurePrivateFolder(join(this.folder, kubeconfigs));
    await this.#write(rememberedName(path), content);
  }

  // Records

  async journal(): Promise<Journal | undefined> {
    return this.#readJson<Journal>('journal.json');
  }

  async writeJournal(journal: Journal): Promise<void> {
    await this.#write('journal.json', json(journal));
  }

  async clearJournal(): Promise<void> {
    if (await removeIfThere(join(this.folder, 'journal.json'))) await syncDirectory(this.folder);
  }

  async layout(): Promise<LayoutRecord> {
    return (await this.#readJson<LayoutRecord>('layout.json')) ?? emptyLayout;
  }

  async writeLayout(layout: LayoutRecord): Promise<void> {
    await this.#write('layout.json', json(layout));
  }

  // Order

  /** Removes what no longer counts: older pairs, drafts, temporary files. Returns the paths that went. */
  async sweep(): Promise<string[]> {
    const swept: string[] = [];
    for (const folder of ['', 'next', kubeconfigs]) swept.push(...(await sweepTemporaries(join(this.folder, folder))));
    if (await removeTree(join(this.folder, 'next.draft'))) swept.push(join(this.folder, 'next.draft'));
    const installed = await this.installedVersion();
    for (const version of await listFolder(join(this.folder, 'pairs'))) {
      const path = join(this.folder, 'pairs', version);
      if (version === installed) swept.push(...(await sweepTemporaries(path)));
      else if (await removeTree(path)) swept.push(path);
    }
    return swept;
  }

  /** Puts the modes of the state right: nobody but the agent reads it. Returns whether anything was wrong. */
  async tighten(): Promise<boolean> {
    return tightenTree(this.folder);
  }

  async removeAll(): Promise<void> {
    await removeTree(this.folder);
    await syncDirectory(dirname(this.folder));
  }

  #write(path: string, data: string | Uint8Array): Promise<void> {
    return writeFileDurable(join(this.folder, path), data, { mode: privateMode });
  }

  async #rename(from: string, to: string): Promise<void> {
    await rename(join(this.folder, from), join(this.folder, to)).catch((error: unknown) => {
      throw toFileError(error, 'rename', join(this.folder, from));
    });
    await syncDirectory(this.folder);
  }

  async #read(path: string): Promise<Buffer | undefined> {
    return readBounded(join(this.folder, path));
  }

  /** A record that is absent, damaged or of another schema is no record. */
  async #readJson<T>(path: string): Promise<T | undefined> {
    const bytes = await this.#read(path);
    if (bytes === undefined) return undefined;
    try {
      const value: unknown = JSON.parse(bytes.toString('utf8'));
      if (typeof value !== 'object' || value === null) return undefined;
      return 'schema' in value && value.schema !== 1 ? undefined : (value as T);
    } catch (error) {
      if (error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
}

const kubeconfigs = 'kubeconfigs';

function rememberedName(path: string): string {
  return `${kubeconfigs}/${hash('sha256', path).slice(0, 32)}.yaml`;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

/** A damaged key or chain in the state counts as none: the caller then asks for a new one. */
function keyFrom(pem: Buffer | undefined): KeyObject | undefined {
  return pem === undefined ? undefined : unlessDamaged(() => privateKeyFromPem(pem.toString('utf8')));
}

function chainFrom(pem: Buffer | undefined): Buffer[] | undefined {
  const chain = pem === undefined ? undefined : unlessDamaged(() => certificatesFromPem(pem.toString('utf8')));
  return chain === undefined || chain.length === 0 ? undefined : chain;
}

function unlessDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof EvercertError) return undefined;
    throw error;
  }
}
