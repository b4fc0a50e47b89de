import { basename } from 'node:path';
import type { Clock, Timer } from '@evercert/shared/clock';
import { describeError } from '@evercert/shared/errors';
import type { Logger } from '@evercert/shared/logging';
import { watch as watchFolder } from 'chokidar';
import { type WatchedFolder, watchedFolders } from './watched-folders.ts';

export interface WatchPathsOptions {
  /** Real absolute paths (rootDir included) of the files to watch; asked again at each update. */
  paths: () => string[];
  /** Something happened to this path, one of `paths`: look at it. Own writes are reported too; an inspection that finds nothing wrong ends it. */
  onChange: (path: string) => void;
  clock: Clock;
  logger: Logger;
}

export interface PathWatcher {
  /** Asks for the paths again; call it when they have changed. Folders that come, go or are exchanged are followed without it. */
  update(): Promise<void>;
  close(): Promise<void>;
}

/** Events of one moment are told once. */
const debounceMs = 50;

/**
 * Watches the folders that hold the paths, their version folders, and the folders above, so that a path is seen to change whichever way it happens. Folders
 * that are missing are picked up when they appear. The kernel may lose events: a periodic scan has to stand behind it.
 */
export async function watchPaths(options: WatchPathsOptions): Promise<PathWatcher> {
  const watcher = new FolderWatcher(options);
  await watcher.update();
  return watcher;
}

interface Watch {
  folder: WatchedFolder;
  /** Something happened to the folder itself: it may have been deleted and made again under the same inode number. */
  stale: boolean;
  close: () => Promise<void>;
}

class FolderWatcher implements PathWatcher {
  readonly #options: WatchPathsOptions;
  readonly #watches = new Map<string, Watch>();
  readonly #dirty = new Set<string>();
  #timer: Timer | undefined;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: WatchPathsOptions) {
    this.#options = options;
  }

  update(): Promise<void> {
    return this.#inTurn(async () => void (await this.#follow()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#turn;
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
    this.#watches.clear();
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      if (this.#closed) return;
      try {
        await action();
      } catch (error) {
        this.#options.logger.warn('following the watched folders failed; the periodic scan goes on', { error: describeError(error) });
      }
    });
    return this.#turn;
  }

  /** Opens and closes watches as the folders are now. Returns the paths in folders that are newly watched: something may have happened there before. */
  async #follow(): Promise<Set<string>> {
    const wanted = await watchedFolders(this.#options.paths());
    const fresh = new Set<string>();
    for (const [key, watch] of this.#watches) {
      const still = wanted.get(key);
      if (still !== undefined && !watch.stale) watch.folder = still;
      else {
        this.#watches.delete(key);
        await watch.close();
      }
    }
    for (const [key, folder] of wanted) {
      if (this.#watches.has(key)) continue;
      this.#watches.set(key, await this.#open(key, folder));
      for (const path of folder.all()) fresh.add(path);
    }
    return fresh;
  }

  async #open(key: string, folder: WatchedFolder): Promise<Watch> {
    const watcher = watchFolder(folder.real, { depth: 0, atomic: false, followSymlinks: false, ignoreInitial: true });
    watcher.on('all', (_event, path) => this.#noticed(key, path === folder.real ? undefined : basename(path)));
    // chokidar compares folder listings, so that a file exchanged for a folder between two looks goes unseen; the kernel's own event does not.
    watcher.on('raw', (_event, name) => this.#noticed(key, name === basename(folder.real) ? undefined : name || undefined));
    watcher.on('error', (error) =>
      this.#options.logger.warn('watching a folder failed; the periodic scan goes on', { path: folder.real, error: describeError(error) }),
    );
    await new Promise<void>((resolve) => watcher.once('ready', resolve));
    return { folder, stale: false, close: () => watcher.close() };
  }

  /** `name` undefined: something about the folder as a whole. */
  #noticed(key: string, name: string | undefined): void {
    const watch = this.#watches.get(key);
    if (watch === undefined || this.#closed) return;
    if (name === undefined) watch.stale = true;
    const paths = name === undefined ? watch.folder.all() : (watch.folder.pathsOf(name) ?? []);
    for (const path of paths) this.#dirty.add(path);
    if (this.#dirty.size > 0) this.#timer ??= this.#options.clock.after(debounceMs, () => void this.#inTurn(() => this.#flush()));
  }

  async #flush(): Promise<void> {
    this.#timer = undefined;
    const changed = new Set(this.#dirty);
    this.#dirty.clear();
    for (const path of await this.#follow()) changed.add(path);
    for (const path of changed) this.#options.onChange(path);
  }
}
