import { createSecretKey, type KeyObject } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError } from '@evercert/shared/files';

export interface PrivateFileOptions {
  /** For messages: `the passphrase file`. */
  what: string;
  maxBytes: number;
  /** Folder of systemd's credentials, which lets nobody in but the service: there a file's group bits may be the mask of an ACL. */
  credentialsDirectory?: string | undefined;
}

/**
 * Reads a file with a secret on one line, without the end of that line; undefined when it is missing. Whoever calls wipes the buffer after use.
 * FailedPrecondition: others can read it, it is too large, or no plain file. FileSystem.
 */
export async function readPrivateFile(path: string, options: PrivateFileOptions): Promise<Buffer | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    // Asked of the open file, so that what is checked is what is read.
    const stat = await file.stat();
    if (!stat.isFile()) throw refusedFile(path, options.what, 'is no plain file; expected a file with one line in it');
    const readable = stat.mode & (isCredential(path, options) ? 0o037 : 0o077);
    if (readable !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw refusedFile(path, options.what, `can be read by others (mode ${mode}); run chmod 600 on it, and think of a new one`);
    }
    if (stat.size > options.maxBytes) throw refusedFile(path, options.what, `has more than ${options.maxBytes} bytes; expected one line`);
    return withoutLineEnd(await file.readFile());
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}

export function refusedFile(path: string, what: string, text: string): EvercertError {
  return new EvercertError('FailedPrecondition', `${what} ${path} ${text}`, { metadata: { path } });
}

/** Moves a secret out of the JavaScript heap, where a snapshot would show it, and wipes the buffer. */
export function toSecret(bytes: Buffer): KeyObject {
  const secret = createSecretKey(bytes);
  bytes.fill(0);
  return secret;
}

/** Lends a secret for as long as the work takes. */
export function withSecret<T>(secret: KeyObject, work: (bytes: Buffer) => T): T {
  const bytes = secret.export();
  try {
    return work(bytes);
  } finally {
    bytes.fill(0);
  }
}

function isCredential(path: string, { credentialsDirectory }: PrivateFileOptions): boolean {
  return credentialsDirectory !== undefined && dirname(resolve(path)) === resolve(credentialsDirectory);
}

function withoutLineEnd(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= 1;
  if (bytes[end - 1] === 0x0d && end < bytes.length) end -= 1;
  return bytes.subarray(0, end);
}
