import { dirname } from 'node:path';
import { EvercertError } from '@evercert/shared/errors';
import { removeIfThere, sweepTemporaries, syncDirectory, writeFileDurable } from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import { createOwnerLookup, type OwnerLookup, type OwnerLookupOptions } from './owners.ts';
import { PathPolicy, type PathPolicyOptions } from './paths.ts';
import { assertNoFolderInTheWay } from './placement.ts';
import { inspectPlain } from './renames.ts';
import { SerialByName } from './serial.ts';
import { readShown } from './symlinks.ts';
import type { FileFault, PlainFileSpec, PlainFiles } from './types.ts';

export interface PlainFilesOptions extends PathPolicyOptions {
  logger: Logger;
  /** Where owners' and groups' names are looked up; /etc/passwd and /etc/group by default. */
  accounts?: OwnerLookupOptions;
}

const privateKeyMark = 'PRIVATE KEY-----';

/** Single files that are replaced as a whole: trust bundles, shared keys. Errors: PathNotAllowed, FileConflict, InvalidManifest, DiskFull, FileSystem. */
export function createPlainFiles(options: PlainFilesOptions): PlainFiles {
  return new DurablePlainFiles(options);
}

class DurablePlainFiles implements PlainFiles {
  readonly #paths: PathPolicy;
  readonly #owners: OwnerLookup;
  readonly #logger: Logger;
  readonly #serial = new SerialByName();

  constructor(options: PlainFilesOptions) {
    this.#paths = new PathPolicy(options);
    this.#owners = createOwnerLookup(options.accounts);
    this.#logger = options.logger;
  }

  async write(files: PlainFileSpec[]): Promise<boolean> {
    // All are checked before the first is written, so that a fault in one leaves none half done.
    for (const file of files) this.#assertDeclared(file);
    await assertNoFolderInTheWay(files, this.#paths);
    let wrote = false;
    for (const file of files) wrote = (await this.#serial.run(file.path, () => this.#write(file))) || wrote;
    return wrote;
  }

  async inspect(file: PlainFileSpec): Promise<FileFault[]> {
    this.#assertDeclared(file);
    return this.#serial.run(file.path, () => this.#inspect(file));
  }

  async read(path: string): ReturnType<PlainFiles['read']> {
    this.#paths.assertAllowed(path);
    if ((await this.#paths.inspectParent(path)) !== undefined) return undefined;
    return readShown(this.#paths, path);
  }

  async remove(path: string): Promise<void> {
    this.#paths.assertAllowed(path);
    await this.#serial.run(path, async () => {
      const parent = await this.#paths.inspectParent(path);
      if (parent?.reason === 'ParentMissing') return;
      if (parent !== undefined)
        throw new EvercertError('PathNotAllowed', `${path} is not removed: ${parent.message}`, { metadata: { path } });
      if (await removeIfThere(this.#paths.real(path))) await syncDirectory(dirname(this.#paths.real(path)));
    });
  }

  async #write(file: PlainFileSpec): Promise<boolean> {
    if ((await this.#inspect(file)).length === 0) return false;
    const { uid, gid } = await this.#owners(file);
    const folder = await this.#paths.ensureParent(file.path);
    await writeFileDurable(this.#paths.real(file.path), file.content, { mode: file.mode, uid, gid });
    for (const path of await sweepTemporaries(folder)) this.#logger.info('removed a file that a crash left', { path });
    return true;
  }

  async #inspect(file: PlainFileSpec): Promise<FileFault[]> {
    return inspectPlain(this.#paths, { ...file, ...(await this.#owners(file)), secret: holdsKey(file) });
  }

  #assertDeclared(file: PlainFileSpec): void {
    this.#paths.assertAllowed(file.path);
    if (holdsKey(file) && (file.mode & 0o007) !== 0)
      throw new EvercertError(
        'InvalidManifest',
        `${file.path} holds a private key, and its mode would open it to everybody; use 0600 or 0640`,
      );
  }
}

function holdsKey(file: PlainFileSpec): boolean {
  return file.content.includes(privateKeyMark);
}
