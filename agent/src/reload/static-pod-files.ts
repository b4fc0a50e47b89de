/** Takes static pod manifests out of kubelet's folder and puts them back, so that no crash of the agent ever leaves one out. */
import { link, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { errnoOf, removeIfThere, sweepTemporaries, syncDirectory, toFileError, writeFileDurable } from '@evercert/shared/files';
import type { Logger } from '@evercert/shared/logging';
import { isMap, parseDocument } from 'yaml';
import * as z from 'zod';
import { ensurePrivateFolder, listFolder, lookAt, readRegular } from '../files/tree.ts';
import type { StateFolder } from '../state/folder.ts';

export interface StaticPodFilesOptions {
  rootDir: string;
  /** kubelet's folder of static pod manifests, before rootDir. No other file is ever touched. */
  manifestFolder: string;
  folder: StateFolder;
  logger: Logger;
}

/** Where a manifest is while it is out: beside kubelet's folder, so that a rename suffices; hidden, and for the agent alone. */
const awayFolder = '.evercert-static-pods';
const journalFolder = 'static-pods';
/** What somebody else put in a manifest's place while it was out is newer: the one that was out is kept under this ending. */
const supersededEnding = '.superseded';
/** A changed annotation changes what kubelet takes the pod's UID from, so it replaces the pod. */
const annotation = 'evercert.io/restarted-at';

const journalSchema = z.object({ schema: z.literal(1), manifest: z.string(), away: z.string() });
type Journal = z.infer<typeof journalSchema>;

export class StaticPodFiles {
  readonly #options: StaticPodFilesOptions;

  constructor(options: StaticPodFilesOptions) {
    this.#options = options;
  }

  /**
   * Durable when it resolves; from then on `putBack` is owed. False: there is no such manifest, and nothing is owed. Errors: PathNotAllowed, ReloadFailed (it is no file), FileConflict,
   * DiskFull, FileSystem.
   */
  async takeOut(manifestPath: string): Promise<boolean> {
    const manifest = this.#allowed(manifestPath);
    if (!(await this.#present(manifest))) return false;
    const away = join(dirname(dirname(manifest)), awayFolder, basename(manifest));
    await ensurePrivateFolder(dirname(away));
    await step('journal', () => this.#writeJournal({ schema: 1, manifest, away }));
    try {
      await step('take-out', () => rename(manifest, away));
    } catch (error) {
      await this.#clearJournal(manifest);
      throw toFileError(error, 'move out of the folder of static pods', manifest);
    }
    await syncDirectory(dirname(manifest));
    await syncDirectory(dirname(away));
    return true;
  }

  /** Idempotent. True when there was something to put back. Errors: FileSystem, DiskFull: it is still owed then. */
  async putBack(manifestPath: string): Promise<boolean> {
    const manifest = this.#allowed(manifestPath);
    return this.#return({ schema: 1, manifest, away: join(dirname(dirname(manifest)), awayFolder, basename(manifest)) });
  }

  /** Has kubelet replace the pod by a changed annotation; the manifest's other content stays to the letter. Errors: as `takeOut`; ReloadFailed (it is no manifest). */
  async annotate(manifestPath: string, at: string): Promise<boolean> {
    const manifest = this.#allowed(manifestPath);
    if (!(await this.#present(manifest))) return false;
    const found = await readRegular(manifest);
    if (found === undefined) throw new EvercertError('ReloadFailed', `${manifestPath} is no file that could be a manifest; look at it`);
    const document = parseDocument(found.content.toString('utf8'));
    if (document.errors.length > 0 || !isMap(document.contents) || document.get('kind') !== 'Pod')
      throw new EvercertError(
        'ReloadFailed',
        `${manifestPath} does not hold a pod: one document with kind: Pod was expected; it stays as it is`,
      );
    document.setIn(['metadata', 'annotations', annotation], at);
    const { mode, uid, gid } = found;
    await writeFileDurable(manifest, document.toString({ lineWidth: 0 }), { mode, uid, gid });
    return true;
  }

  /** Puts back whatever an earlier run left out. Returns what it did, one line each; what fails is logged, and tried again by the next call. */
  async recover(inUse: (manifest: string) => boolean = () => false): Promise<string[]> {
    const did: string[] = [];
    for (const journal of await this.#owed()) {
      const name = basename(journal.manifest);
      if (inUse(name)) continue;
      try {
        if (await this.#return(journal)) did.push(`static pod manifest ${journal.manifest} was put back`);
      } catch (caught) {
        const error = toEvercertError(caught);
        this.#options.logger.error('A static pod manifest cannot be put back; it is tried again', {
          path: journal.manifest,
          away: journal.away,
          code: error.code,
          error: error.message,
        });
      }
    }
    return did;
  }

  /** Takes away what a crash left half written in kubelet's folder. */
  async sweep(): Promise<string[]> {
    return sweepTemporaries(join(this.#options.rootDir, this.#options.manifestFolder));
  }

  /** The real path of a manifest that may be touched. PathNotAllowed. */
  #allowed(manifestPath: string): string {
    const { rootDir, manifestFolder } = this.#options;
    const name = basename(manifestPath);
    if (dirname(manifestPath) !== manifestFolder || name.startsWith('.') || name.includes('\0'))
      throw new EvercertError(
        'PathNotAllowed',
        `${manifestPath} is no manifest in ${manifestFolder}, the folder of static pods in this agent's configuration (staticPods.folder); no other file is moved`,
        { metadata: { path: manifestPath } },
      );
    return join(rootDir, manifestPath);
  }

  async #present(manifest: string): Promise<boolean> {
    // Owed from an earlier try: then it is where it belongs before it is taken out anew.
    await this.putBack(join(this.#options.manifestFolder, basename(manifest)));
    const found = await lookAt(manifest);
    if (found === undefined || found.isFile()) return found !== undefined;
    throw new EvercertError('ReloadFailed', `${manifest} is no regular file; a static pod's manifest was expected`);
  }

  async #return({ manifest, away }: Journal): Promise<boolean> {
    const out = await lookAt(away);
    if (out !== undefined) {
      // Unlike a rename, a link never replaces what somebody else puts there in this very moment.
      if (!(await step('put-back', () => linkUnlessThere(away, manifest)))) {
        const there = await lookAt(manifest);
        if (there?.ino !== out.ino || there.dev !== out.dev) await this.#setAside(manifest, away);
      }
      await syncDirectory(dirname(manifest));
      // Only now: until the entry in kubelet's folder is durable, this one is.
      await step('forget', () => removeIfThere(away));
      await syncDirectory(dirname(away));
    }
    await step('clear', () => this.#clearJournal(manifest));
    return out !== undefined;
  }

  async #setAside(manifest: string, away: string): Promise<void> {
    const kept = `${away}${supersededEnding}`;
    await rename(away, kept).catch((error: unknown) => {
      throw toFileError(error, 'set aside', away);
    });
    this.#options.logger.warn('A static pod manifest was put in its place by somebody else while it was out; that one stays', {
      path: manifest,
      kept,
    });
  }

  /** From the journals, and from what lies in the private folder although no journal tells of it. */
  async #owed(): Promise<Journal[]> {
    const { rootDir, manifestFolder, folder } = this.#options;
    const owed = new Map<string, Journal>();
    const home = join(rootDir, manifestFolder);
    const aside = join(dirname(home), awayFolder);
    for (const name of await listFolder(aside)) {
      if (name.startsWith('.') || name.endsWith(supersededEnding)) continue;
      owed.set(name, { schema: 1, manifest: join(home, name), away: join(aside, name) });
    }
    for (const name of await folder.list(journalFolder)) {
      const journal = await this.#readJournal(`${journalFolder}/${name}`);
      if (journal !== undefined) owed.set(basename(journal.manifest), journal);
    }
    return [...owed.values()];
  }

  async #readJournal(name: string): Promise<Journal | undefined> {
    const content = await this.#options.folder.read(name);
    try {
      return journalSchema.parse(JSON.parse(content?.toString('utf8') ?? ''));
    } catch {
      // Written before the manifest was moved: where it is damaged, the private folder tells the rest.
      this.#options.logger.warn('A journal of a static pod restart is damaged', { file: name });
      return undefined;
    }
  }

  async #writeJournal(journal: Journal): Promise<void> {
    await this.#options.folder.write(`${journalFolder}/${basename(journal.manifest)}.json`, JSON.stringify(journal));
  }

  async #clearJournal(manifest: string): Promise<void> {
    await this.#options.folder.remove(`${journalFolder}/${basename(manifest)}.json`);
  }
}

/** False: something is there already. */
async function linkUnlessThere(away: string, manifest: string): Promise<boolean> {
  try {
    await link(away, manifest);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw toFileError(error, 'put back', manifest);
  }
}

const steps = ['journal', 'take-out', 'put-back', 'forget', 'clear'] as const;

/** Names for EVERCERT_FAULT_POINT. */
export const staticPodFaultPoints: readonly string[] = steps.flatMap((name) => [
  `agent.static-pod.${name}.before`,
  `agent.static-pod.${name}.after`,
]);

async function step<T>(name: (typeof steps)[number], action: () => Promise<T>): Promise<T> {
  faultPoint(`agent.static-pod.${name}.before`);
  const result = await action();
  faultPoint(`agent.static-pod.${name}.after`);
  return result;
}
