/** The agent's own small files: the state folder, apart from the pairs, which agent/src/files keeps there. */
import { mkdir, readdir, readFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, removeIfThere, sweepTemporaries, syncDirectory, toFileError, writeFileDurable } from '@evercert/shared/files';

/** Names are relative to the state folder, and lead nowhere else. InvalidArgument: a name that would. */
export interface StateFolder {
  /** Undefined when there is no such file. Errors: FileSystem. */
  read(name: string): Promise<Buffer | undefined>;
  /** Names of the files in a folder of it; none when there is no such folder. Errors: FileSystem. */
  list(name: string): Promise<string[]>;
  /** Durable and atomic when it resolves; mode 0600, folders on the way 0700. Errors: DiskFull, FileConflict, FileSystem. */
  write(name: string, content: Buffer | string): Promise<void>;
  /** Durable; nothing there is no error. */
  remove(name: string): Promise<void>;
  /** Takes away what a process that was killed left half written, here and one folder further down. Returns the paths that went. Errors: FileSystem. */
  sweep(): Promise<string[]>;
}

export function createStateFolder(stateDir: string): StateFolder {
  const pathOf = (name: string): string => {
    if (name === '' || name.includes('\0') || name.startsWith('/') || normalize(name) !== name || name.split('/').includes('..'))
      throw new EvercertError('InvalidArgument', `${JSON.stringify(name.slice(0, 80))} cannot be the name of a file in the state folder`);
    return join(stateDir, name);
  };
  return {
    async read(name) {
      return ifPresent(pathOf(name), () => readFile(pathOf(name)));
    },
    async list(name) {
      const entries = (await ifPresent(pathOf(name), () => readdir(pathOf(name), { withFileTypes: true }))) ?? [];
      return entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.')).map((entry) => entry.name);
    },
    async write(name, content) {
      const path = pathOf(name);
      try {
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
      } catch (error) {
        throw toFileError(error, 'create the folder', dirname(path));
      }
      await writeFileDurable(path, content, { mode: 0o600 });
    },
    async remove(name) {
      if (await removeIfThere(pathOf(name))) await syncDirectory(dirname(pathOf(name)));
    },
    async sweep() {
      const entries = (await ifPresent(stateDir, () => readdir(stateDir, { withFileTypes: true }))) ?? [];
      const folders = entries.filter((entry) => entry.isDirectory()).map((entry) => pathOf(entry.name));
      const swept = await Promise.all([stateDir, ...folders].map(sweepTemporaries));
      return swept.flat();
    },
  };
}

async function ifPresent<T>(path: string, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'read', path);
  }
}
