import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { removeIfThere, renameDurable, temporaryPath, toFileError } from '../files/index.ts';

/**
 * Writes a file piece by piece, readable by its owner alone: under its name it is there whole and durable, or as it was before. Returns its size in bytes. What `pieces` throws ends it.
 * DiskFull, FileSystem.
 */
export async function writeWhole(path: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const temporary = temporaryPath(path);
  let file: FileHandle | undefined;
  let size = 0;
  try {
    file = await create(temporary, path);
    for await (const piece of pieces) {
      await file.writeFile(piece).catch((error: unknown) => {
        throw toFileError(error, 'write', path);
      });
      size += piece.byteLength;
    }
    await file.sync().catch((error: unknown) => {
      throw toFileError(error, 'write', path);
    });
  } catch (error) {
    await removeIfThere(temporary);
    throw error;
  } finally {
    await file?.close();
  }
  await renameDurable(temporary, path);
  return size;
}

function create(temporary: string, path: string): Promise<FileHandle> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  return open(temporary, flags, 0o600).catch((error: unknown) => {
    throw toFileError(error, 'write', path);
  });
}
