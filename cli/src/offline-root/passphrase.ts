import { lstat } from 'node:fs/promises';
import { EvercertError } from '@evercert/shared/errors';
import { toFileError } from '@evercert/shared/files';
import type { Environment } from '../environment.ts';
import { usageError } from '../errors.ts';
import { absolute, readSmall } from './files.ts';

const least = 16;
const most = 1024;

export interface PassphraseOptions {
  /** As given on the command line; undefined: a person is asked. */
  file: string | undefined;
  /** Asked twice: it is a new one. */
  isNew: boolean;
  /** What it opens, for people. */
  of?: string;
}

/**
 * The passphrase of an offline key, or of a backup: the first line of a file that others cannot read, else what a person types.
 * InvalidArgument: neither a file nor a terminal. FailedPrecondition: the file can be read by others, it is too short, or the two did not match.
 */
export async function passphraseOf(environment: Environment, { file, isNew, of = 'the key' }: PassphraseOptions): Promise<string> {
  const passphrase = file === undefined ? await typed(environment, isNew, of) : await fromFile(absolute(environment, file));
  if (passphrase.length < least || passphrase.length > most)
    throw new EvercertError(
      'FailedPrecondition',
      `the passphrase has ${passphrase.length} characters; expected ${least} to ${most}, such as six random words`,
    );
  return passphrase;
}

async function fromFile(path: string): Promise<string> {
  const { mode } = await lstat(path).catch((error: unknown) => {
    throw toFileError(error, 'look at', path);
  });
  if ((mode & 0o077) !== 0)
    throw new EvercertError(
      'FailedPrecondition',
      `the passphrase file ${path} can be read by others; run chmod 600 on it, and think of a new passphrase`,
    );
  const text = (await readSmall(path)).toString('utf8');
  return text.replace(/\r?\n$/, '');
}

async function typed({ ask }: Environment, isNew: boolean, of: string): Promise<string> {
  const answer = await ask?.(isNew ? `New passphrase of ${of}: ` : `Passphrase of ${of}: `, { secret: true });
  if (answer === undefined)
    throw usageError('there is no terminal to ask for the passphrase: name a file that holds it with --passphrase-file');
  if (!isNew) return answer;
  const again = await ask?.('The same once more: ', { secret: true });
  if (again === answer) return answer;
  throw new EvercertError('FailedPrecondition', 'the two passphrases are not the same; nothing was made');
}
