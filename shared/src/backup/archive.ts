import { BackupContents } from './check.ts';
import { damaged } from './damage.ts';
import { decodeFrames, encodeFrame } from './frames.ts';
import { type Opened, openHeader, type SealOptions, sealArchive, unsealArchive } from './seal.ts';
import type { BackupAbout, BackupEntry, BackupItem, BackupKeyFile, BackupManifest } from './types.ts';

/** What the keys of a store's entries begin with. */
const root = '/evercert/v1/';

export interface BackupSource {
  about: BackupAbout;
  /** In the order of their keys. */
  entries: AsyncIterable<BackupEntry>;
  /** Asked for once all entries have been taken. In order of their ids. */
  keyFiles: () => Promise<{ keys: BackupKeyFile[]; elsewhere: string[] }>;
}

/** The payload of a backup, item by item. */
export async function* backupPayload({ about, entries, keyFiles }: BackupSource): AsyncGenerator<Buffer> {
  const contents = new BackupContents(root);
  const put = (item: BackupItem): Buffer => {
    contents.add(item);
    return encodeFrame(item);
  };
  yield put({ type: 'about', about });
  for await (const entry of entries) yield put({ type: 'entry', entry });
  const { keys, elsewhere } = await keyFiles();
  for (const key of keys) yield put({ type: 'key', key });
  yield put({ type: 'manifest', manifest: contents.manifest(elsewhere) });
}

export interface Sealing extends Omit<SealOptions, 'about'> {
  /** Called with each item. */
  onItem?: (item: BackupItem) => void;
}

/** The archive of a payload that comes from elsewhere: it is whole, or this throws before its last piece. DataLoss: the payload was cut off or damaged on its way. */
export async function* sealPayload(payload: AsyncIterable<Uint8Array>, { onItem, ...options }: Sealing): AsyncGenerator<Buffer> {
  const items = checkedItems(payload)[Symbol.asyncIterator]();
  const first = await items.next();
  if (first.done || first.value.type !== 'about') throw damaged('it is empty');
  const { about } = first.value;
  async function* frames(): AsyncGenerator<Buffer> {
    yield encodeFrame({ type: 'about', about });
    for (let next = await items.next(); !next.done; next = await items.next()) {
      onItem?.(next.value);
      yield encodeFrame(next.value);
    }
  }
  onItem?.(first.value);
  try {
    yield* sealArchive(frames(), { ...options, about });
  } finally {
    await items.return?.(undefined);
  }
}

/** An archive that can be read as often as it takes. */
export class BackupArchive {
  readonly about: BackupAbout;
  readonly #read: () => AsyncIterable<Uint8Array>;
  readonly #opened: Opened;

  private constructor(read: () => AsyncIterable<Uint8Array>, opened: Opened) {
    this.about = opened.about;
    this.#read = read;
    this.#opened = opened;
  }

  /** @param read the archive from its beginning, anew with each call. DataLoss: it is no backup, or its header is damaged. */
  static async open(read: () => AsyncIterable<Uint8Array>, passphrase: string): Promise<BackupArchive> {
    return new BackupArchive(read, await openHeader(read(), passphrase));
  }

  /**
   * All that is in it. What comes before a failure is authentic, but not all: whoever must not act on a part verifies first. FailedPrecondition: the passphrase does not fit.
   * DataLoss: it was cut off, changed or appended to.
   */
  async *items(): AsyncGenerator<BackupItem> {
    for await (const item of checkedItems(unsealArchive(this.#read(), this.#opened))) {
      if (item.type === 'about' && item.about.id !== this.about.id) throw damaged('its header is not that of its content');
      yield item;
    }
  }

  /** Reads it to its end, and holds every digest against the manifest. Errors as `items`. */
  async verify(onItem: (item: BackupItem) => void = () => {}): Promise<BackupManifest> {
    let manifest: BackupManifest | undefined;
    for await (const item of this.items()) {
      onItem(item);
      if (item.type === 'manifest') manifest = item.manifest;
    }
    if (manifest === undefined) throw damaged('it has no manifest: it was cut off');
    return manifest;
  }
}

/** DataLoss: they are not whole, or not what the manifest says. */
async function* checkedItems(payload: AsyncIterable<Uint8Array>): AsyncGenerator<BackupItem> {
  const contents = new BackupContents(root);
  for await (const item of decodeFrames(payload)) {
    contents.add(item);
    yield item;
  }
  if (!contents.isComplete) throw damaged('it has no manifest: it was cut off');
}
