import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { errnoOf } from '@evercert/shared/files';
import { lookAt, readRegular } from './tree.ts';
import type { FileFault } from './types.ts';

export interface ExpectedFile {
  uid: number;
  gid: number;
  mode: number;
  /** Absent: nothing can be right. */
  content?: Buffer;
  /** True: a mode that is too wide has shown a private key. */
  secret: boolean;
}

/** What is wrong with the regular file at `real`; faults carry the declared path. Reads only, and follows no symlink. */
export async function compareFile(path: string, real: string, expected: ExpectedFile): Promise<FileFault[]> {
  try {
    const found = await lookAt(real);
    if (found === undefined) return [{ path, reason: 'Missing', message: `${path} does not exist` }];
    if (found.isSymbolicLink()) return [{ path, reason: 'Foreign', message: `${path} is a symlink that was not made here` }];
    if (!found.isFile())
      return [{ path, reason: 'NotAFile', message: `${path} is ${found.isDirectory() ? 'a folder' : 'not a regular file'}` }];
    const file = await readRegular(real);
    return [...attributeFaults(path, found, expected), ...contentFaults(path, file?.content, expected)];
  } catch (error) {
    return [{ path, reason: 'Unreadable', message: unreadable(path, error) }];
  }
}

function unreadable(path: string, error: unknown): string {
  return error instanceof EvercertError ? error.message : `${path} cannot be read: ${toEvercertError(error).message} (${errnoOf(error)})`;
}

function attributeFaults(path: string, found: { mode: number; uid: number; gid: number }, expected: ExpectedFile): FileFault[] {
  const faults: FileFault[] = [];
  const mode = found.mode & 0o7777;
  if (mode !== expected.mode) {
    const exposed = expected.secret && (mode & 0o007 & ~expected.mode) !== 0;
    const note = exposed ? ': everybody could read the private key; renew this certificate if that matters' : '';
    faults.push({ path, reason: 'WrongMode', message: `${path} has mode ${octal(mode)} instead of ${octal(expected.mode)}${note}` });
  }
  if (found.uid !== expected.uid || found.gid !== expected.gid)
    faults.push({
      path,
      reason: 'WrongOwner',
      message: `${path} belongs to ${found.uid}:${found.gid} instead of ${expected.uid}:${expected.gid}`,
    });
  return faults;
}

function contentFaults(path: string, content: Buffer | undefined, expected: ExpectedFile): FileFault[] {
  if (content !== undefined && expected.content?.equals(content)) return [];
  const cut = content !== undefined && expected.content?.subarray(0, content.length).equals(content);
  if (cut) return [{ path, reason: 'Truncated', message: `${path} ends after ${content.length} of ${expected.content?.length} bytes` }];
  return [{ path, reason: 'Foreign', message: `${path} holds something else than what was installed` }];
}

function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}
