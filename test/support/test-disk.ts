/** A small file system in memory that can be filled to its last byte. Needs root. */
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { runOk } from './tools.ts';

export class TestDisk {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  static async mount(path: string, megabytes: number): Promise<TestDisk> {
    await runOk('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0700`, 'tmpfs', path]);
    return new TestDisk(path);
  }

  /** Not a byte is free afterwards. */
  fill(): void {
    const file = openSync(this.#ballast, 'a');
    try {
      for (const size of [1024 * 1024, 4096]) while (wrote(file, size));
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#ballast, { force: true });
  }

  async close(): Promise<void> {
    // Lazily: a process that was killed a moment ago may still have a file open.
    await runOk('umount', ['-l', this.#path]);
  }

  get #ballast(): string {
    return join(this.#path, 'ballast');
  }
}

function wrote(file: number, size: number): boolean {
  try {
    return writeSync(file, Buffer.alloc(size, 1)) === size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return false;
    throw error;
  }
}
