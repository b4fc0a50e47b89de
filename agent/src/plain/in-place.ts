/** Files that say the same as what is declared, in another form or with other attributes, are left as they were found. */
import type { PlainFileSpec, PlainFiles } from '../files/types.ts';
import type { FileLedger } from './ledger.ts';

export interface InPlaceOptions {
  files: PlainFiles;
  ledger: FileLedger;
  /** Of the thing that the file belongs to. */
  name: string;
  /** Whether two contents mean the same; false for what cannot be read. */
  sameMeaning: (declared: Buffer, found: Buffer) => boolean;
}

/**
 * The file as it is to be: as it lies there, if it was there before the agent and says what is declared, else as declared. What the agent has written once is its own.
 * Errors: DiskFull, FileSystem.
 */
export async function asInPlace(file: PlainFileSpec, { files, ledger, name, sameMeaning }: InPlaceOptions): Promise<PlainFileSpec> {
  const taken = await ledger.taken(file.path);
  if (!taken && (await ledger.knows(name))) return file;
  const found = await files.read(file.path);
  if (!found || !sameMeaning(file.content, found.content)) {
    if (taken) await ledger.noteTaken(file.path, undefined);
    return file;
  }
  const { mode, uid, gid } = taken ?? found;
  if (!taken) await ledger.noteTaken(file.path, { mode, uid, gid });
  // A key that everybody can read is closed, whoever left it open.
  const safe = found.content.includes('PRIVATE KEY-----') ? mode & 0o770 : mode & 0o777;
  return { path: file.path, mode: safe, owner: String(uid), group: String(gid), content: found.content };
}
