import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, syncDirectory, toFileError, writeFileDurable } from '@evercert/shared/files';
import { checkKeyId } from '../ids.ts';
import { decryptKey } from './encrypted-key.ts';
import { readPassphrase } from './passphrase.ts';
import { keyIds, keyPath } from './provider.ts';

/** A key as its file has it: encrypted. */
export interface KeptKeyFile {
  id: string;
  pem: string;
}

const maxBytes = 64 * 1024;

/** All keys in a folder as they are kept, in the order of their ids. What goes away meanwhile is left out. */
export async function readKeptKeys(directory: string): Promise<KeptKeyFile[]> {
  const found: KeptKeyFile[] = [];
  for (const id of await idsIn(directory)) {
    const path = keyPath(directory, id);
    const pem = await readFile(path, 'utf8').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw toFileError(error, 'read', path);
    });
    // What is not encrypted is no key of this folder, and must not leave it.
    if (pem === undefined || !pem.startsWith('-----BEGIN ENCRYPTED PRIVATE KEY-----\n') || pem.length > maxBytes) continue;
    found.push({ id, pem });
  }
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.id), Buffer.from(b.id)));
}

/**
 * Whether files of keys can be put into a folder: their passphrase is there and opens each of them, and no other keys are. FailedPrecondition: they cannot. DataLoss: one is damaged.
 */
export async function checkKeptKeys(
  files: readonly KeptKeyFile[],
  {
    directory,
    passphraseFile,
    credentialsDirectory,
  }: { directory: string; passphraseFile: string; credentialsDirectory?: string | undefined },
): Promise<void> {
  if (files.length === 0) return;
  const known = new Set(files.map(({ id }) => id));
  const strange = (await idsIn(directory)).find((id) => !known.has(id));
  if (strange !== undefined)
    throw new EvercertError(
      'FailedPrecondition',
      `${directory} holds the key ${strange}, which is not of this backup: restore into a folder of its own`,
    );
  const passphrase = await readPassphrase(passphraseFile, {
    create: false,
    keysExist: true,
    randomBytes: () => Buffer.alloc(0),
    credentialsDirectory,
  });
  for (const { id, pem } of files) {
    checkKeyId(id);
    decryptKey(pem, passphrase, keyPath(directory, id));
  }
}

/** Puts files of keys where they belong, durably. Again is no harm. */
export async function writeKeptKeys(directory: string, files: readonly KeptKeyFile[]): Promise<void> {
  for (const { id, pem } of files) {
    checkKeyId(id);
    const path = keyPath(directory, id);
    const made = await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFileDurable(path, pem, { mode: 0o600 });
    if (made !== undefined) await syncFrom(dirname(made), dirname(dirname(path)));
  }
}

/** The folders between two, both included. */
async function syncFrom(top: string, bottom: string): Promise<void> {
  await syncDirectory(bottom);
  if (bottom !== top && bottom.length > top.length) await syncFrom(top, join(bottom, '..'));
}

async function idsIn(directory: string): Promise<string[]> {
  try {
    return await keyIds(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw toFileError(error, 'list', directory);
  }
}
