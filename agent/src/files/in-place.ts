/** Pairs that lie at declared paths and were not installed by the agent: read in whatever form they are, and left so. */

import type { KeyObject } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { describeError } from '@evercert/shared/errors';
import { toFileError } from '@evercert/shared/files';
import type { OutputSpec } from '@evercert/shared/manifest';
import { pairMatches, parseCertificate, pemBlocks, privateKeyFromPem, toPem, verifyChain } from '@evercert/shared/x509';
import { parse } from 'yaml';
import { declaredFiles } from './outputs.ts';
import type { PathPolicy } from './paths.ts';
import { readable } from './readable.ts';
import { readShown } from './symlinks.ts';
import type { AdoptedFiles, FileFault, FoundPair } from './types.ts';

type Outputs = Parameters<typeof declaredFiles>[0];

/** What lies at one output's paths. */
interface Held {
  chain: Buffer[];
  keys: KeyObject[];
}

/** The first output whose pair is of use wins; `why` is what is wrong with the first that is not. */
export async function findInPlace(
  spec: Outputs,
  trustAnchors: readonly Buffer[],
  paths: PathPolicy,
  nowMs: number,
): Promise<{ found: FoundPair } | { why?: string }> {
  let why: string | undefined;
  for (const output of spec.outputs) {
    const held = await readOutput(output, paths);
    if (held.chain.length === 0) continue;
    const judged = judge(held, trustAnchors, nowMs);
    if ('why' in judged) {
      why ??= `${pathsOf(output)[0]}: ${judged.why}`;
      continue;
    }
    return { found: { ...judged, paths: await placesOf(spec, judged.chain[0] as Buffer, paths) } };
  }
  return why === undefined ? {} : { why };
}

/** Compares the files with the pair that was found in them; how they say it does not count. Reads only. */
export async function inspectInPlace(
  spec: Outputs,
  pair: { chain: Buffer[]; adopted: AdoptedFiles },
  paths: PathPolicy,
): Promise<FileFault[]> {
  const declared = declaredPaths(spec);
  const other = [
    ...declared.filter((path) => !pair.adopted.declared.includes(path)),
    ...pair.adopted.declared.filter((path) => !declared.includes(path)),
  ];
  const faults = other.map(
    (path): FileFault => ({ path, reason: 'Missing', message: `${path} is declared otherwise than when its certificate was taken over` }),
  );
  for (const path of pair.adopted.paths) faults.push(...(await inspectOne(path, pair, paths)));
  return faults;
}

async function inspectOne(path: string, { chain: [installed] }: { chain: Buffer[] }, paths: PathPolicy): Promise<FileFault[]> {
  const parent = await paths.inspectParent(path);
  if (parent !== undefined) return [parent];
  const shown = await readShown(paths, path);
  if (shown === undefined) return [{ path, reason: 'Missing', message: `${path} is gone, or no regular file any more` }];
  const { chain, keys } = readHeld(shown.content);
  const [leaf] = chain;
  const same = leaf === undefined || leaf.equals(installed as Buffer);
  const sameKey = keys.length === 0 || keys.some((key) => pairMatches(installed as Buffer, key));
  if ((leaf === undefined && keys.length === 0) || !same || !sameKey)
    return [{ path, reason: 'Foreign', message: `${path} holds something else than the certificate that was taken over` }];
  if (keys.length > 0 && (shown.mode & 0o007) !== 0) {
    const mode = shown.mode.toString(8).padStart(4, '0');
    return [
      {
        path,
        reason: 'WrongMode',
        message: `${path} has mode ${mode}: everybody could read the private key; renew this certificate if that matters`,
      },
    ];
  }
  return [];
}

/** Takes everybody's access away; nothing else about the file changes. Errors: FileSystem. */
export async function closeToOthers(path: string, paths: PathPolicy): Promise<void> {
  const real = (await paths.insideTarget(path)) ?? paths.real(path);
  let file: FileHandle | undefined;
  try {
    file = await open(real, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const { mode } = await file.stat();
    await file.chmod(mode & 0o7770);
  } catch (error) {
    throw toFileError(error, 'set the mode of', real);
  } finally {
    await file?.close();
  }
}

/** Every path that is declared, in order. */
export function declaredPaths(spec: Outputs): string[] {
  return declaredFiles(spec)
    .map(({ path }) => path)
    .sort();
}

function pathsOf(output: OutputSpec): string[] {
  if (output.type === 'pem') return [output.certificate.path, output.privateKey.path];
  return output.type === 'combined' || output.type === 'kubeconfig' ? [output.file.path] : [];
}

async function readOutput(output: OutputSpec, paths: PathPolicy): Promise<Held> {
  const all: Held = { chain: [], keys: [] };
  for (const path of pathsOf(output)) {
    if ((await paths.inspectParent(path)) !== undefined) continue;
    const shown = await readShown(paths, path);
    if (shown === undefined) continue;
    const { chain, keys } = readHeld(shown.content);
    if (all.chain.length === 0) all.chain = chain;
    all.keys.push(...keys);
  }
  return all;
}

function judge(
  { chain, keys }: Held,
  trustAnchors: readonly Buffer[],
  nowMs: number,
): { chain: Buffer[]; privateKey: KeyObject } | { why: string } {
  try {
    const leaf = chain[0] as Buffer;
    const info = parseCertificate(leaf);
    const privateKey = keys.find((key) => pairMatches(leaf, key));
    if (privateKey === undefined)
      return { why: keys.length === 0 ? 'there is no private key for it' : 'its private key is that of another certificate' };
    if (info.isCa) return { why: 'it is a CA certificate' };
    if (info.notAfter.getTime() <= nowMs) return { why: `it ended at ${info.notAfter.toISOString()}` };
    verifyChain({ chain, anchors: trustAnchors, atMs: Math.max(nowMs, info.notBefore.getTime()) });
    return { chain, privateKey };
  } catch (error) {
    return { why: describeError(error) };
  }
}

/** Every declared path that shows this certificate or its key. */
async function placesOf(spec: Outputs, leaf: Buffer, paths: PathPolicy): Promise<string[]> {
  const found: string[] = [];
  for (const path of spec.outputs.flatMap(pathsOf)) {
    if ((await paths.inspectParent(path)) !== undefined) continue;
    const shown = await readShown(paths, path);
    if (shown === undefined) continue;
    const { chain, keys } = readHeld(shown.content);
    const certificate = chain[0]?.equals(leaf) ?? false;
    if (certificate || (chain.length === 0 && keys.some((key) => pairMatches(leaf, key)))) found.push(path);
  }
  return found;
}

/** What cannot be read is not there. */
function readHeld(content: Buffer): Held {
  const blocks = readable(() => pemBlocks(pemTextOf(content))) ?? [];
  const chain = blocks.filter(({ label }) => label === 'CERTIFICATE').map(({ der }) => der);
  const keys = blocks
    .filter(({ label }) => label.endsWith('PRIVATE KEY'))
    .flatMap(({ label, der }) => readable(() => privateKeyFromPem(toPem(label, der))) ?? []);
  return { chain, keys };
}

/** A kubeconfig's embedded pair as PEM text; any other file as it is. */
export function pemTextOf(content: Buffer): string {
  const text = content.toString('latin1');
  if (!/^\s*["']?kind["']?\s*:\s*["']?Config\b/m.test(text) && !/"kind"\s*:\s*"Config"/.test(text)) return text;
  return embeddedPair(content.toString('utf8')) ?? '';
}

interface Kubeconfig {
  contexts?: { name?: unknown; context?: { user?: unknown } }[];
  'current-context'?: unknown;
  users?: { name?: unknown; user?: Record<string, unknown> }[];
}

/** Of the user of the current context, else of the only one that has any. */
function embeddedPair(text: string): string | undefined {
  let config: Kubeconfig | null;
  try {
    config = parse(text, { logLevel: 'silent', maxAliasCount: 100 }) as Kubeconfig | null;
  } catch {
    // No YAML, then it is no kubeconfig either; what a component makes of it shows elsewhere.
    return undefined;
  }
  const users = Array.isArray(config?.users) ? config.users : [];
  const contexts = Array.isArray(config?.contexts) ? config.contexts : [];
  const current = contexts.find((each) => each?.name === config?.['current-context'])?.context?.user;
  const embedded = users.filter((each) => typeof each?.user?.['client-certificate-data'] === 'string');
  const user = (embedded.find(({ name }) => name === current) ?? (embedded.length === 1 ? embedded[0] : undefined))?.user;
  const [certificate, key] = [user?.['client-certificate-data'], user?.['client-key-data']];
  if (typeof certificate !== 'string') return undefined;
  return [certificate, ...(typeof key === 'string' ? [key] : [])]
    .map((data) => `${Buffer.from(data, 'base64').toString('latin1')}\n`)
    .join('');
}
