import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '@evercert/shared/files';
import { isKubeconfig, readKubeconfig } from './kubeconfig.ts';
import { asCertificates, readPem } from './pem.ts';
import { type Contents, checkLimits, emptyContents, type PathProblem, type WalkedFile } from './types.ts';
import { isPkiName } from './walk.ts';

/** Reads and sorts one file. Files that hold nothing of the kind come out empty; those that should and do not come out with a problem. */
export async function readContents(file: WalkedFile): Promise<Contents> {
  const { path } = file;
  if (file.size > checkLimits.fileBytes) {
    return isPkiName(path) ? problem(path, 'TooLarge', `${file.size} bytes, expected at most ${checkLimits.fileBytes}`) : emptyContents();
  }
  let bytes: Buffer;
  try {
    await using handle = await open(file.realPath, constants.O_RDONLY | constants.O_NONBLOCK);
    bytes = await handle.readFile();
  } catch (error) {
    // Whatever it is, a check that could not look at it cannot call the folder well.
    const why = errnoOf(error) === 'EACCES' ? 'permission denied: run the check as a user that may read it' : (error as Error).message;
    return problem(path, 'Unreadable', why);
  }
  return classify(file, bytes);
}

/** Sorts a file's bytes; pure. */
function classify(file: WalkedFile, bytes: Buffer): Contents {
  const text = bytes.toString('latin1');
  if (isKubeconfig(text)) return readKubeconfig(file, bytes.toString('utf8'));
  if (text.includes('-----BEGIN ')) return readPem(file, file.path, text);
  if (bytes[0] === 0x30 && /\.(crt|cer|cert|der)$/i.test(file.path)) return readDer(file, bytes);
  if (!isPkiName(file.path)) return emptyContents();
  return problem(file.path, 'Malformed', bytes.length === 0 ? 'the file is empty' : 'there is no PEM block in it');
}

function problem(path: string, code: PathProblem['code'], message: string): Contents {
  return { ...emptyContents(), problems: [{ path, code, message }] };
}

function readDer(file: WalkedFile, bytes: Buffer): Contents {
  try {
    return { ...emptyContents(), certificates: asCertificates(file.path, file.path, [bytes]) };
  } catch (error) {
    return problem(file.path, 'Malformed', (error as Error).message);
  }
}
