import type { KeyObject } from 'node:crypto';
import { writeFileDurable } from '@evercert/shared/files';
import { readPrivateFile, refusedFile, toSecret } from '../private-file.ts';

const passphraseBytes = 32;
const minLength = 16;
const maxLength = 1024;
const what = 'the passphrase file';

/**
 * Reads the passphrase that protects the keys. When its file is missing: makes a new one if `create` allows it and no keys exist, which it could not open.
 * FailedPrecondition: others can read the file, it is missing, too short, or no plain file. DiskFull, FileSystem.
 */
export async function readPassphrase(
  path: string,
  options: {
    create: boolean;
    keysExist: boolean;
    randomBytes: (size: number) => Buffer;
    credentialsDirectory?: string | undefined;
  },
): Promise<KeyObject> {
  const { credentialsDirectory } = options;
  const present = await readPrivateFile(path, { what, maxBytes: maxLength, credentialsDirectory });
  if (present !== undefined) {
    if (present.length < minLength)
      throw refusedFile(path, what, `holds fewer than ${minLength} characters; put the whole passphrase back`);
    return toSecret(present);
  }
  if (options.keysExist)
    throw refusedFile(path, what, 'is missing, and without it the keys that exist cannot be opened; put it back from a backup');
  if (!options.create) throw refusedFile(path, what, 'is missing; make one with a random passphrase and mode 0600');
  const passphrase = options.randomBytes(passphraseBytes).toString('base64');
  await writeFileDurable(path, `${passphrase}\n`, { mode: 0o600 });
  return toSecret(Buffer.from(passphrase));
}
