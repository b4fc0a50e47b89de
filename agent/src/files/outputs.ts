import { hash, type KeyObject } from 'node:crypto';
import { EvercertError } from '@evercert/shared/errors';
import type { FileSpec, OutputSpec, ResolvedCertificate } from '@evercert/shared/manifest';
import { certificatesToPem, createPkcs12, privateKeyToPem } from '@evercert/shared/x509';
import { chooseKubeconfig, type KubeconfigOutput } from './kubeconfig.ts';
import type { OwnerLookup } from './owners.ts';
import { readSmallFile } from './tree.ts';

/** What outputs are made of. */
export interface Material {
  /** DER, leaf first, without the root. */
  chain: Buffer[];
  privateKey: KeyObject;
  /** DER of the issuing CA's certificates. */
  trustAnchors: Buffer[];
}

/** One declared file, before it has a content. */
export interface DeclaredFile {
  /** As declared, before rootDir. */
  path: string;
  mode: number;
  owner?: string;
  group?: string;
  /** True: it holds the private key. */
  secret: boolean;
  /** True: kubelet's way, a symlink to a file with a date in its name. */
  dated: boolean;
  output: OutputSpec;
}

export interface RenderedFile extends DeclaredFile {
  uid: number;
  gid: number;
  /** Absent: it cannot be known without making it anew (PKCS#12 is salted), and no copy was kept. */
  content?: Buffer;
  /** Name under which a content that cannot be made twice is kept in the state folder. */
  keepAs?: string;
}

/** Every file that the outputs declare, the pem certificate's first. InvalidManifest: a path twice, or a mode that would let others read the key. */
export function declaredFiles(spec: ResolvedCertificate): DeclaredFile[] {
  const files = spec.outputs.flatMap(filesOf);
  const seen = new Set<string>();
  for (const file of files) {
    if (seen.has(file.path))
      throw new EvercertError('InvalidManifest', `${spec.name}: two outputs are to be written to ${file.path}; give each its own path`);
    seen.add(file.path);
    if (file.secret && (file.mode & 0o007) !== 0)
      throw new EvercertError(
        'InvalidManifest',
        `${spec.name}: ${file.path} holds the private key, and mode ${file.mode.toString(8).padStart(4, '0')} would open it to everybody; use 0600 or 0640`,
      );
  }
  return files;
}

function filesOf(output: OutputSpec): DeclaredFile[] {
  const declare = (file: FileSpec, secret: boolean, dated = false): DeclaredFile => ({ ...file, secret, dated, output });
  switch (output.type) {
    case 'pem':
      return [declare(output.certificate, false), declare(output.privateKey, true)];
    case 'chain':
      return [declare(output.file, false)];
    case 'combined':
      return [declare(output.file, true, output.dated)];
    case 'kubeconfig':
      return [declare(output.file, output.privateKeyPath === undefined)];
    case 'pkcs12':
      return [declare(output.file, true)];
  }
}

export interface RenderContext {
  owners: OwnerLookup;
  /** Real path of a declared one. */
  real: (path: string) => string;
  /** What is at a declared path now, through symlinks that stay inside the allowed folders. */
  present: (path: string) => Promise<Buffer | undefined>;
  /** What a kubeconfig is known to have held, and how to know it anew. */
  remembered: (path: string) => Promise<Buffer | undefined>;
  remember: (path: string, content: Buffer) => Promise<void>;
  /** Keeps what cannot be made use of, and is about to be replaced, for a person to look at. */
  setAside: (path: string, content: Buffer) => Promise<void>;
  /** A kept content by its name. */
  kept: (name: string) => Promise<Buffer | undefined>;
  /** False: contents that cannot be made twice and are not kept stay absent. */
  make: boolean;
}

/** Gives every declared file its content and owner. Errors: InvalidManifest, FailedPrecondition (owner, password), FileSystem. */
export async function renderFiles(spec: ResolvedCertificate, material: Material, context: RenderContext): Promise<RenderedFile[]> {
  const rendered: RenderedFile[] = [];
  for (const file of declaredFiles(spec)) {
    const ids = await context.owners(file);
    const { output } = file;
    if (output.type === 'pkcs12') rendered.push({ ...file, ...ids, ...(await pkcs12Of(spec, output, material, context)) });
    else if (output.type === 'kubeconfig')
      rendered.push({ ...file, ...ids, content: Buffer.from(await kubeconfigText(file, output, material, context)) });
    else rendered.push({ ...file, ...ids, content: Buffer.from(textOf(file, output, material)) });
  }
  return rendered;
}

function textOf(file: DeclaredFile, output: Exclude<OutputSpec, { type: 'pkcs12' | 'kubeconfig' }>, material: Material): string {
  switch (output.type) {
    case 'pem':
      return file.secret ? privateKeyToPem(material.privateKey) : certificatesToPem(material.chain);
    case 'chain':
      // What stands above the leaf, so that it is never empty: intermediates, then the anchors.
      return certificatesToPem([...material.chain.slice(1), ...material.trustAnchors]);
    case 'combined':
      // kubelet's order: leaf, intermediates, key (client-go's certificate_store.go).
      return certificatesToPem(material.chain) + privateKeyToPem(material.privateKey);
  }
}

/** What is at the path now may hold more than ours. */
async function kubeconfigText(file: DeclaredFile, output: KubeconfigOutput, material: Material, context: RenderContext): Promise<string> {
  const present = await context.present(file.path);
  const known = (await context.remembered(file.path))?.toString('utf8');
  const parts = {
    chain: certificatesToPem(material.chain),
    privateKey: privateKeyToPem(material.privateKey),
    trustAnchors: certificatesToPem(material.trustAnchors),
  };
  const text = present?.toString('utf8');
  const chosen = chooseKubeconfig(output, parts, { present: text, known });
  if (chosen.lost && present !== undefined && context.make) await context.setAside(file.path, present);
  // What an admin has put there since is to be known, too, when the file is damaged one day.
  if (chosen.text !== known && (context.make || chosen.text === text)) await context.remember(file.path, Buffer.from(chosen.text));
  return chosen.text;
}

async function pkcs12Of(
  spec: ResolvedCertificate,
  output: Extract<OutputSpec, { type: 'pkcs12' }>,
  material: Material,
  context: RenderContext,
): Promise<{ content?: Buffer; keepAs: string }> {
  const password = await readPassword(context.real(output.passwordPath), output.passwordPath);
  const key = privateKeyToPem(material.privateKey);
  // The private key in the hash keeps the password from being guessed from the name.
  const keepAs = `${hash('sha256', JSON.stringify([output.file.path, password, key, material.chain.map((der) => der.toString('base64'))])).slice(0, 32)}.p12`;
  const kept = await context.kept(keepAs);
  if (kept !== undefined) return { content: kept, keepAs };
  if (!context.make) return { keepAs };
  const content = await createPkcs12({ chain: material.chain, privateKey: material.privateKey, password, friendlyName: spec.name });
  return { content, keepAs };
}

const maxPasswordBytes = 1024;

async function readPassword(path: string, declared: string): Promise<string> {
  const bytes = await readSmallFile(path, maxPasswordBytes);
  const password = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (password !== '') return password;
  throw new EvercertError('FailedPrecondition', `${declared} is to hold the PKCS#12 password: one line of 1 to ${maxPasswordBytes} bytes`, {
    metadata: { path: declared },
  });
}
