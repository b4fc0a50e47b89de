import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { yamlLimits } from '@evercert/shared/config';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { loadDocuments, type ParsedDocument } from '@evercert/shared/manifest';
import type { Environment } from '../environment.ts';
import { usageError } from '../errors.ts';

/** One file, or standard input. */
export interface Source {
  /** As it was named; `-` for standard input. */
  name: string;
  text: string;
}

export const documentLimits = { files: 1000, folderDepth: 8, totalBytes: 3 * 1024 * 1024 } as const;
const extensions = /\.(ya?ml|json)$/;

/**
 * Reads what `-f` names: files, folders (their .yaml, .yml and .json files; deeper ones with `recursive`) and `-`. InvalidArgument: nothing there, unreadable,
 * more than `documentLimits`.
 */
export async function readSources(environment: Environment, names: readonly string[], recursive: boolean): Promise<Source[]> {
  if (names.length === 0) throw usageError('must specify -f: a file, a folder, or - for standard input');
  if (names.filter((name) => name === '-').length > 1) throw usageError('standard input can be read once only: name - once');
  const sources: Source[] = [];
  let totalBytes = 0;
  for (const name of names) {
    for (const path of name === '-'
      ? ['-']
      : await filesOf(resolve(environment.cwd, name), name, recursive ? documentLimits.folderDepth : 0)) {
      const text =
        path === '-' ? await environment.readStdin(documentLimits.totalBytes) : await readText(resolve(environment.cwd, path), path);
      totalBytes += Buffer.byteLength(text);
      sources.push({ name: path, text });
      if (sources.length > documentLimits.files || totalBytes > documentLimits.totalBytes) {
        throw usageError(`more than ${documentLimits.files} files or ${documentLimits.totalBytes} bytes: apply them in several steps`);
      }
    }
  }
  return sources;
}

async function filesOf(path: string, shown: string, depth: number): Promise<string[]> {
  const isFolder = (await reading(shown, () => stat(path))).isDirectory();
  if (!isFolder) return [shown];
  const found = await filesInFolder(path, shown, depth);
  if (found.length === 0) throw usageError(`the folder ${shown} holds no .yaml, .yml or .json file`);
  return found;
}

async function filesInFolder(path: string, shown: string, depth: number): Promise<string[]> {
  const entries = (await reading(shown, () => readdir(path, { withFileTypes: true }))).sort((a, b) => a.name.localeCompare(b.name));
  const found: string[] = [];
  for (const entry of entries) {
    const place = join(shown, entry.name);
    if (entry.isDirectory()) {
      if (depth > 0) found.push(...(await filesInFolder(join(path, entry.name), place, depth - 1)));
    } else if (extensions.test(entry.name)) found.push(place);
    if (found.length > documentLimits.files)
      throw usageError(`the folder ${shown} holds more than ${documentLimits.files} files: apply them in several steps`);
  }
  return found;
}

async function readText(path: string, shown: string): Promise<string> {
  return reading(shown, async () => {
    // Not blocking: a named pipe without a writer would hold the command forever.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const info = await file.stat();
    if (!info.isFile()) throw usageError(`${shown} is neither a file nor a folder`);
    if (info.size > 4 * yamlLimits.characters)
      throw usageError(`${shown} has ${info.size} bytes, expected at most ${yamlLimits.characters} characters`);
    return new TextDecoder('utf-8', { fatal: true }).decode(await file.readFile());
  });
}

async function reading<T>(shown: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') throw new EvercertError('InvalidArgument', `the path "${shown}" does not exist`, { cause: error });
    if (code === 'EACCES') throw new EvercertError('InvalidArgument', `permission denied to read "${shown}"`, { cause: error });
    throw toEvercertError(error, 'InvalidArgument', `cannot read "${shown}"`);
  }
}

/** `readSources`, parsed. InvalidManifest with every fault and its line when there is one, or when there is no document at all. */
export async function readDocuments(
  environment: Environment,
  names: readonly string[],
  recursive: boolean,
): Promise<{ sources: Source[]; documents: ParsedDocument[] }> {
  const sources = await readSources(environment, names, recursive);
  const documents = loadDocuments(sources.map(({ name, text }) => ({ file: name, text })));
  if (documents.length === 0) throw new EvercertError('InvalidManifest', 'no document found in what -f names');
  return { sources, documents };
}

/** The cluster that the documents themselves agree on; empty when they name none. InvalidArgument when they name several. */
export function clusterOf(documents: readonly ParsedDocument[]): string {
  const named = documents.map(({ document }) => (document.kind === 'Cluster' ? document.metadata.name : document.metadata.cluster));
  const clusters = [...new Set(named.filter((name) => name !== undefined))];
  if (clusters.length > 1)
    throw usageError(`the documents are for several clusters (${clusters.join(', ')}): handle each cluster's on their own`);
  return clusters[0] ?? '';
}
