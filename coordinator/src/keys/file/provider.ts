import { type KeyObject, randomBytes } from 'node:crypto';
import { chmod, link, lstat, mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { faultPoint } from '@evercert/shared/fault-points';
import {
  createFileDurable,
  errnoOf,
  removeIfThere,
  sweepTemporaries,
  syncDirectory,
  temporaryPath,
  toFileError,
} from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import { generateKeyPair, type KeyAlgorithm, privateKeyToPem } from '@evercert/shared/x509';
import { HeldKey } from '../held-key.ts';
import { checkKeyId, checkSharedKeyId, missingKey, takenId } from '../ids.ts';
import { OpenKeys } from '../open-keys.ts';
import type { KeyHolder, KeyProviderKind, Signer } from '../types.ts';
import { decryptKey, encryptKey } from './encrypted-key.ts';
import { readPassphrase } from './passphrase.ts';

export interface FileKeyProviderOptions {
  /** Folder of the keys; made with mode 0700 when it is missing. */
  directory: string;
  /** File with the passphrase that encrypts them; best kept on another disk than the keys' backup. */
  passphraseFile: string;
  /** True: make the passphrase file when neither it nor any key exists. */
  createPassphrase?: boolean;
  /** Folder of systemd's credentials, where the passphrase file may lie. */
  credentialsDirectory?: string | undefined;
  /** True: other processes may be writing keys here; then what an interrupted write left behind stays. */
  shared?: boolean;
  logger: Logger;
  /** For a new passphrase. */
  randomBytes?: (size: number) => Buffer;
}

const suffix = '.key';

/**
 * Opens the folder of encrypted keys, and checks that the passphrase opens them.
 * FailedPrecondition: the passphrase file is missing while keys exist, can be read by others, or is not the one that the keys were encrypted with. DiskFull, FileSystem.
 */
export async function openFileKeyProvider(options: FileKeyProviderOptions): Promise<KeyHolder> {
  const { directory, logger } = options;
  await makePrivateFolder(directory);
  for (const folder of options.shared ? [] : await foldersUnder(directory)) {
    for (const path of await sweepTemporaries(folder)) logger.info('took away what an interrupted write of a key left behind', { path });
  }
  const ids = await keyIds(directory);
  const passphrase = await readPassphrase(options.passphraseFile, {
    create: options.createPassphrase === true,
    keysExist: ids.length > 0,
    randomBytes: options.randomBytes ?? randomBytes,
    credentialsDirectory: options.credentialsDirectory,
  });
  const provider = new FileKeyProvider(directory, passphrase, logger);
  // One key stands for all: they share the passphrase, and it fails here rather than at the first renewal.
  if (ids[0] !== undefined) await provider.signer(ids[0]);
  return provider;
}

class FileKeyProvider implements KeyHolder {
  readonly kind = 'file';
  readonly #directory: string;
  readonly #passphrase: KeyObject;
  readonly #logger: Logger;
  readonly #open = new OpenKeys<HeldKey>();

  constructor(directory: string, passphrase: KeyObject, logger: Logger) {
    this.#directory = directory;
    this.#passphrase = passphrase;
    this.#logger = logger;
  }

  async generate(id: string, algorithm: KeyAlgorithm): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    return (await this.#open.remember(id, this.#make(id, algorithm))).signer;
  }

  async import(id: string, privateKey: KeyObject): Promise<Signer> {
    checkKeyId(id);
    if (this.#open.has(id)) throw takenId(id);
    return (await this.#open.remember(id, this.#take(id, privateKey))).signer;
  }

  async signer(id: string): Promise<Signer> {
    checkKeyId(id);
    return (await this.#key(id)).signer;
  }

  async exportShared(id: string): Promise<string> {
    checkSharedKeyId(id);
    return privateKeyToPem((await this.#key(id)).privateKey);
  }

  async delete(id: string): Promise<void> {
    checkKeyId(id);
    const opened = await this.#open.forgetSettled(id);
    const path = this.#path(id);
    const wasThere = await removeIfThere(path);
    opened?.destroy();
    if (!wasThere) return;
    await syncDirectory(dirname(path));
    this.#logger.info('deleted a key', { key: id });
  }

  async list(): Promise<string[]> {
    return keyIds(this.#directory);
  }

  async kindOf(id: string): Promise<KeyProviderKind> {
    if (!(await this.has(id))) throw missingKey(id);
    return this.kind;
  }

  async has(id: string): Promise<boolean> {
    checkKeyId(id);
    return isThere(this.#path(id));
  }

  async takeOut(id: string): Promise<KeyObject> {
    checkKeyId(id);
    return (await this.#key(id)).privateKey;
  }

  forget(id: string): void {
    this.#open.forget(id);
  }

  async close(): Promise<void> {
    this.#open.clear();
  }

  #key(id: string): Promise<HeldKey> {
    return this.#open.get(id, () => this.#load(id));
  }

  async #make(id: string, algorithm: KeyAlgorithm): Promise<HeldKey> {
    if (await isThere(this.#path(id))) throw takenId(id);
    const { privateKey } = await generateKeyPair(algorithm);
    const opened = await this.#store(id, privateKey);
    this.#logger.info('made a key', { key: id, algorithm });
    return opened;
  }

  async #take(id: string, privateKey: KeyObject): Promise<HeldKey> {
    const opened = await this.#store(id, privateKey);
    this.#logger.info('took a key over', { key: id, algorithm: opened.signer.keyAlgorithm });
    return opened;
  }

  async #store(id: string, privateKey: KeyObject): Promise<HeldKey> {
    const path = this.#path(id);
    const key = new HeldKey(id, privateKey);
    await makeFoldersBetween(this.#directory, dirname(path));
    await this.#write(path, id, encryptKey(privateKey, this.#passphrase));
    return key;
  }

  /** Durable, and never over a key that is there. */
  async #write(path: string, id: string, pem: string): Promise<void> {
    const temporary = temporaryPath(path);
    await createFileDurable(temporary, pem, { mode: 0o600 });
    try {
      faultPoint('keys.before-rename');
      // A rename would replace, a link does not.
      await link(temporary, path);
    } catch (error) {
      throw errnoOf(error) === 'EEXIST' ? takenId(id) : toFileError(error, 'write', path);
    } finally {
      await removeIfThere(temporary);
    }
    faultPoint('keys.after-rename');
    try {
      await syncDirectory(dirname(path));
    } catch (error) {
      // The caller hears that there is no key, so there must be none when it tries again.
      await removeIfThere(path);
      throw error;
    }
    faultPoint('keys.after-sync');
  }

  async #load(id: string): Promise<HeldKey> {
    const path = this.#path(id);
    let pem: string;
    try {
      pem = await readFile(path, 'utf8');
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') throw missingKey(id, error);
      throw toFileError(error, 'read', path);
    }
    return new HeldKey(id, decryptKey(pem, this.#passphrase, path));
  }

  #path(id: string): string {
    return keyPath(this.#directory, id);
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return false;
    throw toFileError(error, 'look at', path);
  }
}

async function makePrivateFolder(path: string): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
    if (first !== undefined) await syncDirectory(dirname(first));
  } catch (error) {
    throw toFileError(error, 'make the folder', path);
  }
}

/** Makes each folder on the way durable before the next, so that a key never lies in one that a power cut takes away. */
async function makeFoldersBetween(root: string, folder: string): Promise<void> {
  if (relative(root, folder) === '') return;
  await makeFoldersBetween(root, dirname(folder));
  try {
    await mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    throw toFileError(error, 'make the folder', folder);
  }
  await syncDirectory(dirname(folder));
}

async function foldersUnder(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return [directory, ...entries.filter((entry) => entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name))];
}

/** Where the file of a key is. */
export function keyPath(directory: string, id: string): string {
  return join(directory, `${id}${suffix}`);
}

/** Ids of the keys in a folder. */
export async function keyIds(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(suffix) && !entry.name.startsWith('.'))
    .map((entry) => relative(directory, join(entry.parentPath, entry.name)).slice(0, -suffix.length))
    .sort();
}
