import { type FileHandle, open } from 'node:fs/promises';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';

const passphraseBytes = 32;
const minLength = 16;
const maxLength = 1024;

/**
 * Reads the passphrase that protects the keys. When its file is missing: makes a new one if `create` allows it and no keys exist, which it could not open.
 * FailedPrecondition: others can read the file, it is missing, too short, or no plain file. DiskFull, FileSystem.
 */
export async function readPassphrase(
  path: string,
  options: { create: boolean; keysExist: boolean; randomBytes: (size: number) => Buffer },
): Promise<string> {
  const present = await readPrivate(path);
  if (present !== undefined) return present;
  if (options.keysExist) throw refused(path, 'is missing, and without it the keys that exist cannot be opened; put it back from a backup');
  if (!options.create) throw refused(path, 'is missing; make one with a random passphrase and mode 0600');
  const passphrase = options.randomBytes(passphraseBytes).toString('base64');
  await writeFileDurable(path, `${passphrase}\n`, { mode: 0o600 });
  return passphrase;
}

async function readPrivate(path: string): Promise<string | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    // Asked of the open file, so that what is checked is what is read.
    const stat = await file.stat();
    if (!stat.isFile()) throw refused(path, 'is no plain file; expected a file with the passphrase in it');
    if ((stat.mode & 0o077) !== 0) {
      throw refused(
        path,
        `can be read by others (mode ${(stat.mode & 0o777).toString(8).padStart(4, '0')}); run chmod 600 on it, and think of a new passphrase`,
      );
    }
    if (stat.size > maxLength) throw refused(path, `has more than ${maxLength} bytes; expected a passphrase on one line`);
    const passphrase = (await file.readFile('utf8')).replace(/\r?\n$/, '');
    if (passphrase.length < minLength) throw refused(path, `holds fewer than ${minLength} characters; put the whole passphrase back`);
    return passphrase;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'read', path);
  } finally {
    await file?.close();
  }
}

function refused(path: string, what: string): EvercertError {
  return new EvercertError('FailedPrecondition', `the passphrase file ${path} ${what}`, { metadata: { path } });
}
