import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import { type Operation, openSqliteStore, type Store, storeLimits } from '../store/index.ts';

/** What a coordinator last knew of a shared store, in a file of its own: enough to sign by when the store cannot be reached. Private keys are in it only as the store has them, sealed. */
export interface Mirror {
  /** For people: which store. */
  store: string;
  writtenAtMs: number;
  entries: MirrorEntry[];
}

export interface MirrorEntry {
  key: string;
  /** Base64. */
  value: string;
}

const version = 1;
const batch = 100;

/** Where a coordinator keeps it. */
export function mirrorFile(dataDir: string): string {
  return join(dataDir, 'last-known-state.json');
}

/** Replaces the file in one step. DiskFull, FileSystem. */
export async function writeMirror(path: string, mirror: Mirror): Promise<void> {
  const content = JSON.stringify({ v: version, ...mirror, sha256: digestOf(mirror.entries) });
  await writeFileDurable(path, content, { mode: 0o600 });
}

/** Undefined: there is no such file. DataLoss: it is damaged, or of a newer version. */
export async function readMirror(path: string): Promise<Mirror | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'read', path);
  }
  try {
    const { v, sha256, ...mirror } = JSON.parse(text) as Mirror & { v: number; sha256: string };
    if (v === version && sha256 === digestOf(mirror.entries)) return mirror;
  } catch {
    // As below: what it is damaged by does not matter.
  }
  throw new EvercertError('DataLoss', `${path} is damaged, or a newer Evercert's: use the file of another coordinator (--mirror FILE)`);
}

export function digestOf(entries: readonly MirrorEntry[]): string {
  const hash = createHash('sha256');
  for (const { key, value } of entries) hash.update(`${key} ${value}\n`);
  return hash.digest('hex');
}

/** A store in memory that holds what the mirror does: the real code reads it as it reads the real one. What is written to it is lost. */
export async function openMirrored({ entries }: Mirror, { clock, logger }: { clock: Clock; logger: Logger }): Promise<Store> {
  const store = await openSqliteStore({ file: ':memory:', clock, logger });
  let operations: Operation[] = [];
  let bytes = 0;
  for (const { key, value } of entries) {
    const decoded = Buffer.from(value, 'base64');
    if (operations.length >= batch || bytes + decoded.length > storeLimits.transactionBytes) {
      await store.transact([], operations);
      operations = [];
      bytes = 0;
    }
    operations.push({ type: 'put', key, value: decoded });
    bytes += decoded.length;
  }
  await store.transact([], operations);
  return store;
}
