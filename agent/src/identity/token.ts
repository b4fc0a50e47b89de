import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { toEvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError, writeFileDurable } from '@evercert/shared/files';

export interface Token {
  value: string;
  /** Where it came from, for messages. */
  source: string;
  /** Names the token without telling it. */
  fingerprint: string;
}

export type TokenReading = { token: Token } | { message: string };

const tokenPattern = /^[a-z0-9]{6}\.[a-z0-9]{16}$/;

/** Whether a text has the form of a bootstrap token. */
export function isToken(text: string): boolean {
  return tokenPattern.test(text);
}

/** Puts a token where the agent looks for it; readable by the agent's own user alone. Errors: DiskFull, FileSystem. */
export async function writeToken(tokenFile: string, token: string): Promise<void> {
  try {
    await mkdir(dirname(tokenFile), { recursive: true, mode: 0o700 });
  } catch (error) {
    throw toFileError(error, 'create the folder', dirname(tokenFile));
  }
  await writeFileDurable(tokenFile, `${token}\n`, { mode: 0o600 });
}

/** Reads the token anew each time: whoever puts another one there needs do nothing else. A file with a token goes before one in the configuration. */
export async function readToken({ token, tokenFile }: { token?: string | undefined; tokenFile: string }): Promise<TokenReading> {
  let fromFile: string | undefined;
  try {
    fromFile = (await readFile(tokenFile, 'utf8')).trim();
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return { message: `the token file ${tokenFile} cannot be read: ${toEvercertError(error).message}` };
  }
  if (fromFile) return check(fromFile, tokenFile);
  if (token) return check(token.trim(), 'the configuration');
  return { message: `there is no bootstrap token; create one with 'evercert token create' and put it into ${tokenFile}` };
}

function check(value: string, source: string): TokenReading {
  if (!tokenPattern.test(value)) {
    return {
      message: `the bootstrap token in ${source} has not the form of one (six, a dot, sixteen of a-z and 0-9); create one with 'evercert token create'`,
    };
  }
  return { token: { value, source, fingerprint: createHash('sha256').update(value).digest('hex') } };
}
