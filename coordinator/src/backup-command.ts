import { createReadStream } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { BackupArchive, type BackupItem, backupSummary, sealPayload, writeWhole } from '@evercert/shared/backup';
import type { Clock } from '@evercert/shared/clock';
import { readConfigFile, tryParseDuration } from '@evercert/shared/config';
import { describeError, EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError } from '@evercert/shared/files';
import { createLogger, type Logger } from '@evercert/shared/logging';
import type { Command } from 'commander';
import { createBackup, type Restored, restore, uncovered } from './backup/index.ts';
import { type CoordinatorConfig, configSchema } from './config.ts';
import { openKeyProvider, readPrivateFile } from './keys/index.ts';
import { layout } from './state/layout.ts';
import { type AuthorityRecord, decodeRecord } from './state/records.ts';
import { describeLocation, openStore, type Store } from './store/index.ts';

export interface BackupCommandContext {
  clock: Clock;
  random: () => number;
  env: NodeJS.ProcessEnv;
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown };
}

interface CreateOptions {
  out: string;
  passphraseFile: string;
  force?: boolean;
}

interface RestoreCommand {
  from: string;
  passphraseFile: string;
  auditLog?: string[];
  keepTokens?: boolean;
  learn: boolean;
  learnFor: string;
  dryRun?: boolean;
}

const backupHelp = `
For a coordinator that is stopped; while one runs, 'evercert backup create' does the same through it. What opens the CA keys (the passphrase of keys in files, the key-encryption key) is not in
the backup: keep it apart from it.

Example:
  evercert-coordinator backup --out evercert.backup --passphrase-file /root/backup-passphrase`;

const restoreHelp = `
The configuration names the store, which must be empty and of no running coordinator, and what opens the CA keys. Everything in the backup is verified before anything is written; after an
interruption run the same command again. Without --audit-log nobody knows what was revoked, and which nodes were removed, since the backup: files that the coordinator wrote
(audit.directory), or an export ('evercert audit export'), bring it back.

Agents that renewed their identities since the backup are let in for the time of --learn-for: an unexpired identity by this control CA, for a node that the backup knows, issued between the backup and
the restore. A node that was deleted in that time, and is not told of by an audit log, comes back so: --no-learn lets nobody in, and such nodes have to join again.

Example:
  evercert-coordinator restore --from evercert.backup --passphrase-file /root/backup-passphrase --audit-log /mnt/logs/audit/*.jsonl`;

/** Adds `backup` and `restore`. */
export function addBackupCommands(program: Command, context: BackupCommandContext): void {
  program
    .command('backup')
    .description('Write an encrypted backup of a coordinator that is stopped')
    .requiredOption('--out <file>', 'the file; it appears whole or not at all')
    .requiredOption('--passphrase-file <file>', 'file with the passphrase in one line, readable by its owner alone')
    .option('--force', 'replace a file that is there')
    .addHelpText('after', backupHelp)
    .action(async (options: CreateOptions, command: Command) => {
      await runBackup(options, configOf(command), context);
    });

  program
    .command('restore')
    .description('Fill an empty store, and the folder of keys, from a backup; to be run while every coordinator is stopped')
    .requiredOption('--from <file>', 'the backup')
    .requiredOption('--passphrase-file <file>', 'file with its passphrase in one line, readable by its owner alone')
    .option('--audit-log <file...>', 'files or exports of the audit log, from the backup on')
    .option('--keep-tokens', 'join tokens of the backup stay good; one that was used since can be used again')
    .option('--learn-for <duration>', 'for how long what was issued since the backup is learned from the agents', '1h')
    .option('--no-learn', 'what was issued since the backup is not accepted')
    .option('--dry-run', 'verify everything and tell what would be done')
    .addHelpText('after', restoreHelp)
    .action(async (options: RestoreCommand, command: Command) => {
      await runRestore(options, configOf(command), context);
    });
}

async function runBackup(
  { out, passphraseFile, force = false }: CreateOptions,
  config: CoordinatorConfig,
  context: BackupCommandContext,
): Promise<void> {
  const { clock, stdout } = context;
  if (!force && (await isThere(out)))
    throw new EvercertError('AlreadyExists', `${out} is there already: name another file, or replace it with --force`);
  const passphrase = await passphraseIn(passphraseFile);
  const store = await open(config, context);
  try {
    const { caKeys, dataDir } = config;
    const { signal } = new AbortController();
    const progress = new Progress(context);
    const payload = createBackup({ store, caKeys, keysDirectory: join(dataDir, 'keys'), clock, signal });
    const size = await writeWhole(out, sealPayload(payload, { passphrase, onItem: (item) => progress.item(item) }));
    stdout.write(`${progress.summary()}\nWrote ${out} (${Math.ceil(size / 1024)} KiB).\n`);
  } finally {
    await store.close();
  }
}

async function runRestore(options: RestoreCommand, config: CoordinatorConfig, context: BackupCommandContext): Promise<void> {
  const { clock, random, env, stdout } = context;
  const learnForMs = options.learn ? durationOf(options.learnFor) : 0;
  const archive = await BackupArchive.open(() => read(options.from), await passphraseIn(options.passphraseFile));
  const store = await open(config, context, true);
  try {
    const progress = new Progress(context);
    const restored = await restore({
      archive,
      archiveName: options.from,
      store,
      storeName: describeLocation(config),
      keys: config,
      env,
      auditLogs: options.auditLog ?? [],
      keepTokens: options.keepTokens ?? false,
      learnForMs,
      dryRun: options.dryRun ?? false,
      clock,
      random,
      signal: new AbortController().signal,
      onProgress: (entries) => progress.count(entries),
    });
    stdout.write(`${backupSummary({ about: archive.about, manifest: restored.manifest })}\n${told(restored, options)}`);
    if (!options.dryRun) stdout.write(await keysTold(config, store, { ...context, logger: quiet(config) }));
  } finally {
    await store.close();
  }
}

function told(
  { record, plan, replayed, nodes, written, resumed }: Restored,
  { dryRun = false, keepTokens = false }: RestoreCommand,
): string {
  const { tokens, repairWindows, rotationsPaused } = plan.dropped;
  const lines = [
    dryRun
      ? 'Nothing was changed. The backup is whole and would be restored:'
      : `Restored${resumed ? ', completing an earlier run' : ''}: ${written} entries written, counts and digests agree.`,
    `- ${nodes} nodes. ${keepTokens ? 'Join tokens are kept: those that were used since the backup can be used again.' : `${tokens} join tokens are void.`}`,
    `- ${repairWindows} repair windows are closed, ${rotationsPaused} rotations of CAs are paused, and so are replacements of workers: look first, then 'evercert replacement resume --all'.`,
    replayed
      ? `- From the audit log up to entry ${replayed.last} (signed up to ${replayed.signed}): ${replayed.revocations} revocations, ${replayed.deletedRevocations} deleted ones, ${replayed.nodes} nodes removed, ${replayed.identities} identities renewed, ${replayed.tokens} tokens deleted.`
      : '- No audit log was given.',
    ...(replayed && replayed.joined.length > 0
      ? [`- These nodes joined after the backup and have to join again: ${replayed.joined.join(', ')}.`]
      : []),
    record.learnUntilMs === undefined
      ? '- Identities that were renewed after the backup are not accepted: those nodes have to join again.'
      : `- Until ${new Date(record.learnUntilMs).toISOString()} nodes are let in by identities that were issued after the backup and before now. A node that was deleted in that time comes back so, unless the audit log told of it.`,
    `WARNING: ${uncovered(record)}.`,
    "Serial numbers are 128 random bits: none is used twice. CRL numbers go by the clock: none is used twice unless this machine's clock is behind that of before.",
  ];
  return `${lines.join('\n')}\n`;
}

/** Whether the CAs can sign again; what is wrong is better known before the coordinator starts. */
async function keysTold(
  config: CoordinatorConfig,
  store: Store,
  { clock, logger, env }: Pick<BackupCommandContext, 'clock' | 'env'> & { logger: Logger },
): Promise<string> {
  const missing: string[] = [];
  try {
    const keys = await openKeyProvider(config, { store, clock, logger, env, beside: true });
    try {
      for (const id of await authorityKeys(store)) {
        await keys.signer(id).catch((error: unknown) => missing.push(`${id}: ${describeError(error)}`));
      }
    } finally {
      await keys.close();
    }
  } catch (error) {
    missing.push(describeError(error));
  }
  if (missing.length === 0) return 'All CA keys can be opened. Start the coordinator.\n';
  return `WARNING: CA keys cannot be opened; put this right before the coordinator is started:\n${missing.map((each) => `- ${each}\n`).join('')}`;
}

async function authorityKeys(store: Store): Promise<string[]> {
  const control = await store.get(layout.controlCa);
  const { entries } = await store.range({ prefix: layout.authorities });
  const records = [...(control ? [control] : []), ...entries].map(({ key, value }) => decodeRecord<AuthorityRecord>(key, value));
  return records.map(({ keyId }) => keyId).filter((id) => id !== '');
}

/** Tells how far it has come, where it takes long. */
class Progress {
  readonly #context: Pick<BackupCommandContext, 'clock' | 'stderr'>;
  #toldMs: number;
  #entries = 0;
  #about: Extract<BackupItem, { type: 'about' }> | undefined;
  #manifest: Extract<BackupItem, { type: 'manifest' }> | undefined;

  constructor(context: Pick<BackupCommandContext, 'clock' | 'stderr'>) {
    this.#context = context;
    this.#toldMs = context.clock.monotonicMs();
  }

  item(item: BackupItem): void {
    if (item.type === 'about') this.#about = item;
    if (item.type === 'manifest') this.#manifest = item;
    this.count(this.#entries + 1);
  }

  count(entries: number): void {
    this.#entries = entries;
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs - this.#toldMs < 2000) return;
    this.#toldMs = nowMs;
    this.#context.stderr.write(`${entries} entries…\n`);
  }

  summary(): string {
    if (!this.#about || !this.#manifest) throw new Error('the backup has ended without its manifest');
    return backupSummary({ about: this.#about.about, manifest: this.#manifest.manifest });
  }
}

function configOf(command: Command): CoordinatorConfig {
  return readConfigFile(configSchema, command.optsWithGlobals<{ config: string }>().config);
}

function open(config: CoordinatorConfig, { clock, random }: BackupCommandContext, marked = false): Promise<Store> {
  return openStore(config, { clock, random, logger: quiet(config), compact: false, marked });
}

function quiet(config: CoordinatorConfig): Logger {
  return createLogger({ ...config.log, level: 'error', component: 'coordinator' });
}

async function passphraseIn(path: string): Promise<string> {
  const bytes = await readPrivateFile(path, { what: 'the passphrase file', maxBytes: 4096 });
  if (bytes === undefined) throw new EvercertError('NotFound', `there is no passphrase file ${path}`);
  return bytes.toString('utf8');
}

function durationOf(text: string): number {
  const ms = tryParseDuration(text);
  if (ms === undefined || ms < 1000 || ms > 7 * 86_400_000)
    throw new EvercertError('InvalidArgument', `--learn-for ${text}: expected a duration of 1s to 168h, such as 1h`);
  return ms;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw toFileError(error, 'look at', path);
  }
}

async function* read(path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Buffer;
  } catch (error) {
    throw toFileError(error, 'read', path);
  }
}
