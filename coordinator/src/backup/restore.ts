import { randomBytes } from 'node:crypto';
import type { BackupArchive, BackupManifest } from '@evercert/shared/backup';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { faultPoint } from '@evercert/shared/fault-points';
import { silentLogger } from '@evercert/shared/logging';
import { relinkOperations } from '../audit/index.ts';
import { EventRecorder } from '../events/recorder.ts';
import { checkKeptKeys, type KeptKeyFile, type KeyLocation, keyFilesOf, writeKeptKeys } from '../keys/index.ts';
import { copyContents, differences, readContents } from '../migration/index.ts';
import type { ReplacementPauseRecord } from '../replacement/types.ts';
import { layout } from '../state/layout.ts';
import { encodeRecord, type RestoredRecord } from '../state/records.ts';
import { type Compare, encodeMark, type FoundMark, readMark, type SnapshotPage, type Store } from '../store/index.ts';
import { compare, RestorePlan, restoreActor } from './plan.ts';
import { type Replayed, replayAuditLog } from './replay.ts';

export interface RestoreOptions {
  archive: BackupArchive;
  /** For people: the backup's file. */
  archiveName: string;
  store: Store;
  /** For people: "SQLite /var/lib/evercert/store.db". */
  storeName: string;
  /** Where the files of keys go. */
  keys: KeyLocation;
  env: NodeJS.ProcessEnv;
  /** Files of the exported audit log; none: what happened since the backup is not known. */
  auditLogs: readonly string[];
  keepTokens: boolean;
  /** For how long identities and certificates from after the backup are learned; 0: not at all. */
  learnForMs: number;
  /** Verify and tell only. */
  dryRun: boolean;
  clock: Clock;
  random: () => number;
  signal: AbortSignal;
  onProgress: (entries: number) => void;
}

export interface Restored {
  manifest: BackupManifest;
  record: RestoredRecord;
  plan: RestorePlan;
  replayed: Replayed | undefined;
  /** Nodes by their clusters, as they are restored. */
  nodes: number;
  /** Entries that were written by this run. */
  written: number;
  resumed: boolean;
}

/**
 * Fills an empty store from a backup. All is verified before the first write; while it is written, the store is marked as incomplete, so that no coordinator starts on it; a run that was ended at
 * whatever instruction is completed by the next one with the same backup.
 *
 * FailedPrecondition: a coordinator runs on the store; it holds something; the keys cannot be opened; the passphrase, or the audit log, does not fit. DataLoss: the backup is damaged.
 * Conflict: somebody wrote meanwhile.
 */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { archive, store, storeName, clock, dryRun, signal } = options;
  const atMs = clock.nowMs();
  const { manifest, keyFiles, plan, keys } = await readWhole(options, atMs);
  const replayed = options.auditLogs.length === 0 ? undefined : await replayAuditLog(options.auditLogs, plan, keys);
  pauseReplacements(plan, archive, atMs);
  await checkFiles(options, keyFiles);
  await refuseRunning(store, storeName);
  const mark = await checkTarget(options);
  const record = recordOf(options, { atMs, replayed });
  const told = { manifest, record, plan, replayed, nodes: plan.nodes.size, resumed: mark !== undefined };
  if (dryRun) return { ...told, written: 0 };

  const guard = await claim(options, mark, atMs);
  faultPoint('restore-claimed');
  await writeKeptKeys(keyFilesOf(options.keys, options.env).directory, keyFiles);
  faultPoint('restore-keys-written');
  const source = restoredSnapshot(archive, plan, keys);
  const work = { what: 'the restore', faultPoint: 'restore-copied' };
  const written = await copyContents({ ...options, from: source, to: store, guard, work });
  const wrong = differences(await readContents(source, signal), await readContents(store, signal));
  if (wrong.length > 0)
    throw new EvercertError('DataLoss', `what is in ${storeName} is not what the backup holds: ${wrong.join('; ')}; run this again`);
  faultPoint('restore-verified');
  await finish(options, guard, record, { manifest, replayed });
  faultPoint('restore-finished');
  return { ...told, written };
}

/** Reads the whole backup before anything of it is used. */
async function readWhole(
  { archive, keepTokens }: RestoreOptions,
  nowMs: number,
): Promise<{ manifest: BackupManifest; keyFiles: KeptKeyFile[]; plan: RestorePlan; keys: Set<string> }> {
  const plan = new RestorePlan({ keepTokens, nowMs });
  const keyFiles: KeptKeyFile[] = [];
  const keys = new Set<string>();
  const manifest = await archive.verify((item) => {
    if (item.type === 'key') keyFiles.push(item.key);
    if (item.type !== 'entry') return;
    keys.add(item.entry.key);
    plan.note(item.entry.key, item.entry.value);
  });
  return { manifest, keyFiles, plan, keys };
}

/** Machines that were replaced, or removed, since the backup look as if they were lost: a person says when replacements may begin again. */
function pauseReplacements({ changes }: RestorePlan, { about }: BackupArchive, atMs: number): void {
  const reason = `the store was restored from a backup of ${about.createdAt}: see that all nodes are as they should be, then let replacements go on`;
  const pause: ReplacementPauseRecord = { cluster: '', atMs, by: restoreActor, reason };
  changes.set(layout.replacementPause(layout.controlScope), encodeRecord(pause));
}

async function checkFiles({ keys, env }: RestoreOptions, files: readonly KeptKeyFile[]): Promise<void> {
  const { provider, also, pkcs11 } = keys.caKeys;
  if (files.length > 0 && ![provider, ...also, pkcs11?.sharedKeys].includes('file'))
    throw refused(
      `the backup holds ${files.length} CA keys in files, and the configuration looks for none there: add caKeys.also: [file], and move them afterwards`,
    );
  await checkKeptKeys(files, keyFilesOf(keys, env));
}

/** SQLite's file admits one process anyway. */
async function refuseRunning(store: Store, name: string): Promise<void> {
  if (!store.shared) return;
  const { entries } = await store.range({ prefix: layout.coordinators, limit: 1 });
  if (entries.length === 0 && (await store.get(layout.leader)) === undefined) return;
  throw refused(`a coordinator runs on ${name}: stop all of them; one that was killed is forgotten within seconds`);
}

/** Undefined: the store is empty. */
async function checkTarget({ store, storeName, archive }: RestoreOptions): Promise<FoundMark | undefined> {
  const mark = await readMark(store);
  if (mark?.state === 'arriving') {
    if (mark.id === archive.about.id) return mark;
    throw refused(`${storeName} is being filled from ${mark.other}: complete that, or take an empty store`);
  }
  const { entries } = await store.range({ prefix: layout.root, limit: 1 });
  if (entries.length === 0) return undefined;
  throw refused(
    `${storeName} holds something already, as ${entries[0]?.key}: nothing was touched. Restore into an empty store: move its folder away, or name another`,
  );
}

async function claim(
  { store, storeName, archive, archiveName }: RestoreOptions,
  mark: FoundMark | undefined,
  atMs: number,
): Promise<{ key: string; modRevision: number }> {
  const key = layout.storeMark;
  if (mark) return { key, modRevision: mark.modRevision };
  const value = encodeMark({ state: 'arriving', id: archive.about.id, other: `the backup ${archiveName}`, atMs });
  const { succeeded, revision } = await store.transact([{ key, modRevision: 0 }], [{ type: 'put', key, value }]);
  if (!succeeded) throw new EvercertError('Conflict', `somebody else fills ${storeName} at the same time: end that, and run this again`);
  return { key, modRevision: revision };
}

/** The backup as the store is to be, read like a store. */
function restoredSnapshot(archive: BackupArchive, plan: RestorePlan, keys: ReadonlySet<string>): Pick<Store, 'snapshot'> {
  async function* snapshot({ signal }: { signal: AbortSignal }): AsyncGenerator<SnapshotPage> {
    const added = plan.added((key) => keys.has(key));
    let page = newPage();
    const put = (key: string, value: Uint8Array): void => {
      page.entries.push({ key, value, createRevision: 0, modRevision: 0, version: 1 });
      page.bytes += value.byteLength;
    };
    const addUpTo = (key: string | undefined): void => {
      while (added[0] !== undefined && (key === undefined || compare(added[0], key) < 0)) {
        const next = added.shift() ?? '';
        put(next, plan.changes.get(next) ?? Buffer.alloc(0));
      }
    };
    for await (const item of archive.items()) {
      if (signal.aborted) return;
      if (item.type !== 'entry') continue;
      const { key, value } = item.entry;
      addUpTo(key);
      const changed = plan.changes.has(key) ? plan.changes.get(key) : value;
      if (changed !== undefined) put(key, changed);
      if (page.entries.length < pageEntries && page.bytes < pageBytes) continue;
      yield { entries: page.entries, revision: 0 };
      page = newPage();
    }
    addUpTo(undefined);
    if (page.entries.length > 0) yield { entries: page.entries, revision: 0 };
  }
  return { snapshot };
}

const pageEntries = 200;
const pageBytes = 1024 * 1024;

function newPage(): { entries: SnapshotPage['entries']; bytes: number } {
  return { entries: [], bytes: 0 };
}

function recordOf(
  { archive: { about }, learnForMs }: RestoreOptions,
  { atMs, replayed }: { atMs: number; replayed: Replayed | undefined },
): RestoredRecord {
  return {
    id: randomBytes(16).toString('hex'),
    backupId: about.id,
    backupAtMs: Date.parse(about.createdAt),
    backupRevision: about.storeRevision,
    atMs,
    ...(learnForMs > 0 && { learnUntilMs: atMs + learnForMs }),
    ...(replayed && { coveredUntilMs: replayed.untilMs }),
  };
}

/** In one transaction the store is whole, tells of its restore, and its audit log goes on. */
async function finish(
  { store, storeName, clock, archive: { about }, archiveName }: RestoreOptions,
  guard: Compare,
  record: RestoredRecord,
  { manifest, replayed }: { manifest: BackupManifest; replayed: Replayed | undefined },
): Promise<void> {
  const { succeeded } = await store.transact(
    [guard],
    [
      { type: 'delete', key: layout.storeMark },
      { type: 'put', key: layout.restored, value: encodeRecord(record) },
      new EventRecorder(store, clock, silentLogger).operation({
        actor: 'operator',
        reason: 'StoreRestored',
        warning: true,
        message: `the store was restored from a backup of ${about.createdAt}; ${uncovered(record)}`,
      }),
      ...relinkOperations({
        reason: 'StoreRestored',
        atMs: record.atMs,
        actor: 'operator',
        message: `the store was restored from a backup of ${about.createdAt} (${archiveName})`,
        details: {
          backup: about.id,
          backupRevision: String(about.storeRevision),
          entries: String(manifest.whole.entries),
          sha256: manifest.whole.sha256,
          ...(replayed && { replayedThrough: String(replayed.last), revocations: String(replayed.revocations) }),
        },
      }),
    ],
  );
  if (!succeeded) throw new EvercertError('Conflict', `somebody else writes to ${storeName}: run this again`);
}

/** What of the time since the backup nobody has told. */
export function uncovered({ backupAtMs, atMs, coveredUntilMs }: RestoredRecord): string {
  const fromMs = Math.max(backupAtMs, coveredUntilMs ?? 0);
  const window = `between ${new Date(fromMs).toISOString()} and ${new Date(atMs).toISOString()}`;
  return `revocations, deletions of nodes and changes of manifests that were made ${window} are not in it: make them again`;
}

function refused(message: string): EvercertError {
  return new EvercertError('FailedPrecondition', message);
}
