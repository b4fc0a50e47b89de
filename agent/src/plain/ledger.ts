/** Remembers which plain files were written for what, so that they go when they are no longer declared, across restarts. */
import { toEvercertError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import * as z from 'zod';
import type { PlainFiles } from '../files/types.ts';
import type { StateFolder } from '../state/folder.ts';

const attributes = z.object({ mode: z.int(), uid: z.int(), gid: z.int() });
const schema = z.object({
  version: z.literal(1),
  files: z.record(z.string(), z.array(z.string())),
  taken: z.record(z.string(), attributes).default({}),
});

/** How a file lay there before the agent. */
export type TakenFile = z.output<typeof attributes>;

type LedgerContent = Omit<z.output<typeof schema>, 'version'>;

export class FileLedger {
  readonly #options: { folder: StateFolder; fileName: string; files: PlainFiles; logger: Logger };
  #content: LedgerContent | undefined;

  constructor(options: { folder: StateFolder; fileName: string; files: PlainFiles; logger: Logger }) {
    this.#options = options;
  }

  /** True: something was written for this name, or found in place. */
  async knows(name: string): Promise<boolean> {
    return (await this.#load()).files[name] !== undefined;
  }

  /** Set while the file is used as it was found. */
  async taken(path: string): Promise<TakenFile | undefined> {
    return (await this.#load()).taken[path];
  }

  /** Undefined: from now on it is the agent's own. Errors: DiskFull, FileSystem. */
  async noteTaken(path: string, file: TakenFile | undefined): Promise<void> {
    const known = await this.#load();
    if (file) known.taken[path] = file;
    else delete known.taken[path];
    await this.#save(known);
  }

  /** To be called before the files are written. Paths that the name had before stay in the ledger until `sweep`. Errors: DiskFull, FileSystem. */
  async note(name: string, paths: string[]): Promise<void> {
    const known = await this.#load();
    const merged = [...new Set([...(known.files[name] ?? []), ...paths])];
    if (merged.length === known.files[name]?.length) return;
    known.files[name] = merged;
    await this.#save(known);
  }

  /** Removes every file of the ledger that is not declared any more; one that is as it was found stays. `declared` holds the present paths by name. Returns the names that went altogether. */
  async sweep(declared: Map<string, string[]>): Promise<string[]> {
    const known = await this.#load();
    const wanted = new Set([...declared.values()].flat());
    const gone = Object.keys(known.files).filter((name) => !declared.has(name));
    let changed = gone.length > 0;
    for (const [name, paths] of Object.entries(known.files)) {
      const superfluous = paths.filter((path) => !wanted.has(path));
      for (const path of superfluous) {
        if (known.taken[path]) delete known.taken[path];
        else await this.#options.files.remove(path);
      }
      changed ||= superfluous.length > 0;
      known.files[name] = paths.filter((path) => wanted.has(path));
    }
    for (const name of gone) delete known.files[name];
    if (changed) await this.#save(known);
    return gone;
  }

  async #load(): Promise<LedgerContent> {
    if (this.#content) return this.#content;
    const content = await this.#options.folder.read(this.#options.fileName);
    try {
      const { files, taken } = content ? schema.parse(JSON.parse(content.toString())) : { files: {}, taken: {} };
      this.#content = { files, taken };
    } catch (error) {
      const { message } = toEvercertError(error);
      this.#options.logger.warn('The list of written files is damaged and begins anew', { file: this.#options.fileName, error: message });
      this.#content = { files: {}, taken: {} };
    }
    return this.#content;
  }

  #save(content: LedgerContent): Promise<void> {
    return this.#options.folder.write(this.#options.fileName, JSON.stringify({ version: 1, ...content }));
  }
}
