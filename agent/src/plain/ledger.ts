/** Remembers which plain files were written for what, so that they go when they are no longer declared, across restarts. */
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import * as z from 'zod';
import type { PlainFiles } from '../files/types.ts';
import type { StateFolder } from '../state/folder.ts';

const schema = z.object({ version: z.literal(1), files: z.record(z.string(), z.array(z.string())) });

export class FileLedger {
  readonly #options: { folder: StateFolder; fileName: string; files: PlainFiles; logger: Logger };
  #paths: Record<string, string[]> | undefined;

  constructor(options: { folder: StateFolder; fileName: string; files: PlainFiles; logger: Logger }) {
    this.#options = options;
  }

  /** To be called before the files are written. Paths that the name had before stay in the ledger until `sweep`. Errors: DiskFull, FileSystem. */
  async note(name: string, paths: string[]): Promise<void> {
    const known = await this.#load();
    const merged = [...new Set([...(known[name] ?? []), ...paths])];
    if (merged.length === known[name]?.length) return;
    known[name] = merged;
    await this.#save(known);
  }

  /** Removes every file of the ledger that is not declared any more. `declared` holds the present paths by name. Returns the names that went altogether. */
  async sweep(declared: Map<string, string[]>): Promise<string[]> {
    const known = await this.#load();
    const wanted = new Set([...declared.values()].flat());
    const gone = Object.keys(known).filter((name) => !declared.has(name));
    let changed = gone.length > 0;
    for (const [name, paths] of Object.entries(known)) {
      const superfluous = paths.filter((path) => !wanted.has(path));
      for (const path of superfluous) await this.#options.files.remove(path);
      changed ||= superfluous.length > 0;
      known[name] = paths.filter((path) => wanted.has(path));
    }
    for (const name of gone) delete known[name];
    if (changed) await this.#save(known);
    return gone;
  }

  async #load(): Promise<Record<string, string[]>> {
    if (this.#paths) return this.#paths;
    const content = await this.#options.folder.read(this.#options.fileName);
    try {
      this.#paths = content ? schema.parse(JSON.parse(content.toString())).files : {};
    } catch (error) {
      const { message } = toEvercertError(error);
      this.#options.logger.warn('The list of written files is damaged and begins anew', { file: this.#options.fileName, error: message });
      this.#paths = {};
    }
    return this.#paths;
  }

  #save(files: Record<string, string[]>): Promise<void> {
    return this.#options.folder.write(this.#options.fileName, JSON.stringify({ version: 1, files }));
  }
}
