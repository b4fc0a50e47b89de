import { readFile } from 'node:fs/promises';
import { EvercertError } from '@evercert/shared/errors';
import { toFileError } from '@evercert/shared/files';

export interface OwnerIds {
  uid: number;
  gid: number;
}

export interface OwnerLookupOptions {
  /** Files in the form of passwd(5) and group(5). */
  passwdPath?: string;
  groupPath?: string;
}

/** Turns the owner and group of a file specification into numbers. What is absent is this process's own. */
export type OwnerLookup = (file: { path: string; owner?: string; group?: string }) => Promise<OwnerIds>;

/** Looks names up in /etc/passwd and /etc/group alone, as static programs do; a number stands for itself. FailedPrecondition: no such name. */
export function createOwnerLookup(options: OwnerLookupOptions = {}): OwnerLookup {
  const { passwdPath = '/etc/passwd', groupPath = '/etc/group' } = options;
  return async (file) => ({
    uid: file.owner === undefined ? (process.geteuid?.() ?? 0) : await idOf('user', file.owner, passwdPath, file.path),
    gid: file.group === undefined ? (process.getegid?.() ?? 0) : await idOf('group', file.group, groupPath, file.path),
  });
}

async function idOf(kind: 'user' | 'group', name: string, database: string, path: string): Promise<number> {
  if (/^\d{1,10}$/.test(name)) return Number(name);
  const text = await readFile(database, 'utf8').catch((error: unknown) => {
    throw toFileError(error, 'read', database);
  });
  // Both files have the name in their first field and the number in their third.
  const fields = text
    .split('\n')
    .map((line) => line.split(':'))
    .find((fields) => fields[0] === name);
  const id = Number(fields?.[2]);
  if (fields !== undefined && Number.isInteger(id)) return id;
  throw new EvercertError(
    'FailedPrecondition',
    `${path} is to belong to the ${kind} ${JSON.stringify(name)}, which is not in ${database}: create it, or correct the manifest`,
    { metadata: { path, [kind]: name } },
  );
}
