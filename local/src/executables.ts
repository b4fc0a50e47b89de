import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false;
    throw error;
  }
}

/** The first of this name in PATH and then in the folders given; undefined: there is none. */
export function findExecutable(name: string, path: string | undefined, more: readonly string[] = []): string | undefined {
  const folders = [...(path ?? '').split(delimiter).filter((folder) => folder !== ''), ...more];
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}
