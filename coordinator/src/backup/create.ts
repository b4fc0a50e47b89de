import { randomBytes } from 'node:crypto';
import { type BackupAbout, type BackupEntry, backupPayload } from '@evercert/shared/backup';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { version } from '@evercert/shared/version';
import { type CaKeysConfig, readKeptKeys } from '../keys/index.ts';
import { isContent } from '../migration/index.ts';
import { layout, partsAfter } from '../state/layout.ts';
import type { SnapshotPage, Store } from '../store/index.ts';
import { KeyReferences } from './references.ts';

export interface BackupOptions {
  store: Store;
  caKeys: CaKeysConfig;
  /** Folder of the keys that are in files. */
  keysDirectory: string;
  clock: Clock;
  signal: AbortSignal;
  randomBytes?: (size: number) => Buffer;
}

/**
 * The payload of a backup, piece by piece: everything of Evercert's in the store as it is at one revision, while writers go on, and the keys that are in files, encrypted as they are there. No
 * piece is read before it is asked for. FailedPrecondition: the store holds nothing. Otherwise as Store.snapshot; FileSystem.
 */
export async function* createBackup(options: BackupOptions): AsyncGenerator<Buffer> {
  const { store, caKeys, keysDirectory, signal } = options;
  const pages = store.snapshot({ prefix: layout.root, signal })[Symbol.asyncIterator]();
  try {
    const first = await pages.next();
    if (first.done) throw new EvercertError('FailedPrecondition', 'the store holds nothing: there is nothing to back up');
    const references = new KeyReferences();
    const usesFiles = [caKeys.provider, ...caKeys.also, caKeys.pkcs11?.sharedKeys ?? 'file'].includes('file');
    yield* backupPayload({
      about: await aboutOf(options, first.value.revision),
      entries: entriesOf(first.value, pages, references),
      // A key is durable before a record names it: read after the records, none that they name is missed.
      keyFiles: async () => {
        const keys = usesFiles ? await readKeptKeys(keysDirectory) : [];
        return { keys, elsewhere: references.elsewhere(keys) };
      },
    });
    if (signal.aborted) throw new EvercertError('Cancelled', 'the backup was broken off');
  } finally {
    await pages.return?.();
  }
}

async function* entriesOf(first: SnapshotPage, pages: AsyncIterator<SnapshotPage>, references: KeyReferences): AsyncGenerator<BackupEntry> {
  for (let page = first; ; ) {
    for (const entry of page.entries) {
      if (!isContent(entry)) continue;
      references.note(entry.key, entry.value);
      yield { key: entry.key, value: entry.value };
    }
    const next = await pages.next();
    if (next.done) return;
    page = next.value;
  }
}

async function aboutOf(
  { store, caKeys, clock, randomBytes: random = randomBytes }: BackupOptions,
  storeRevision: number,
): Promise<BackupAbout> {
  const { entries } = await store.range({ prefix: layout.clusters });
  return {
    v: 1,
    id: random(16).toString('hex'),
    createdAt: new Date(clock.nowMs()).toISOString(),
    clusters: entries.map(({ key }) => partsAfter(layout.clusters, key)[0] ?? ''),
    storeRevision,
    coordinatorVersion: version,
    keyProviders: [...new Set([caKeys.provider, ...caKeys.also])],
  };
}
