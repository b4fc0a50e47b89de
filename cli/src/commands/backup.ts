import { createReadStream } from 'node:fs';
import { lstat } from 'node:fs/promises';
import {
  type BackupAbout,
  BackupArchive,
  type BackupItem,
  type BackupManifest,
  backupSummary,
  sealPayload,
  writeWhole,
} from '@evercert/shared/backup';
import { EvercertError } from '@evercert/shared/errors';
import { errnoOf, toFileError } from '@evercert/shared/files';
import type { Command } from 'commander';
import type { Environment } from '../environment.ts';
import { absolute } from '../offline-root/files.ts';
import { passphraseOf } from '../offline-root/passphrase.ts';
import { handOn } from './coordinator-machine.ts';
import { type CommandContext, withSession } from './session.ts';

const createExamples = `
Examples:
  evercert backup create --out evercert-2026-05-01.backup
  evercert backup create --out /mnt/backup/evercert.backup --passphrase-file /etc/evercert-backup/passphrase --force

What opens the CA keys (caKeys.file.passphraseFile, or the key-encryption key) is not in the backup: keep it apart from it, and both away from the machine.`;

interface FileOptions {
  passphraseFile?: string;
}

/** Adds `backup create`, `backup verify` and `backup restore`. */
export function addBackupCommand(program: Command, context: CommandContext): void {
  const backup = program
    .command('backup')
    .summary('make and verify backups, and restore one')
    .description(
      "Make encrypted backups of a coordinator's state while it runs, verify them, and restore one on the coordinator's machine.",
    );
  addCreateCommand(backup, context);
  addVerifyCommand(backup, context);
  handOn(backup, { name: 'restore', summary: "fill a coordinator's empty store from a backup (on the coordinator's machine)" }, context);
}

function addCreateCommand(backup: Command, { environment }: CommandContext): void {
  backup
    .command('create')
    .summary('write an encrypted backup into a file')
    .description('Write everything that the coordinator keeps, as it is at one moment, into an encrypted file, while it goes on.')
    .requiredOption('--out <file>', 'the file; it appears whole or not at all')
    .option('--passphrase-file <file>', 'file with the passphrase in its first line, readable by its owner alone (default: you are asked)')
    .option('--force', 'replace a file that is there')
    .addHelpText('after', createExamples)
    .action(async ({ out, passphraseFile, force = false }: FileOptions & { out: string; force?: boolean }, command: Command) => {
      const path = absolute(environment, out);
      if (!force) await mustNotBe(path);
      const passphrase = await passphraseOf(environment, { file: passphraseFile, isNew: true, of: 'the backup' });
      await withSession(command, environment, async ({ api }) => {
        async function* payload(): AsyncGenerator<Uint8Array> {
          for await (const { data } of api.stream('createBackup', {})) yield data;
        }
        const progress = new Progress(environment);
        const size = await writeWhole(path, sealPayload(payload(), { passphrase, onItem: (item) => progress.note(item) }));
        environment.out(`${backupSummary(progress.seen())}\nWrote ${out} (${Math.ceil(size / 1024)} KiB).\n`);
      });
    });
}

function addVerifyCommand(backup: Command, { environment }: CommandContext): void {
  backup
    .command('verify')
    .summary('decrypt a backup and check every digest in it')
    .description('Decrypt a backup and hold every digest in it against its manifest. Nobody is asked, and nothing is written.')
    .argument('<file>', 'the backup')
    .option('--passphrase-file <file>', 'file with the passphrase in its first line (default: you are asked)')
    .addHelpText('after', '\nExit code: 0 when all of it is as it was made, 1 when it is damaged, 6 when the passphrase does not fit.')
    .action(async (file: string, { passphraseFile }: FileOptions) => {
      const passphrase = await passphraseOf(environment, { file: passphraseFile, isNew: false, of: 'the backup' });
      const archive = await BackupArchive.open(() => read(absolute(environment, file)), passphrase);
      const progress = new Progress(environment);
      await archive.verify((item) => progress.note(item));
      environment.out(`${backupSummary(progress.seen())}\n${file} is whole.\n`);
    });
}

async function mustNotBe(path: string): Promise<void> {
  const there = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw toFileError(error, 'look at', path);
  });
  if (there) throw new EvercertError('AlreadyExists', `${path} is there already: name another file, or replace it with --force`);
}

async function* read(path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Buffer;
  } catch (error) {
    throw toFileError(error, 'read', path);
  }
}

/** Tells how far it has come, where it takes long. */
class Progress {
  readonly #environment: Environment;
  #told: number;
  #entries = 0;
  #about: BackupAbout | undefined;
  #manifest: BackupManifest | undefined;

  constructor(environment: Environment) {
    this.#environment = environment;
    this.#told = environment.clock.monotonicMs();
  }

  note(item: BackupItem): void {
    if (item.type === 'about') this.#about = item.about;
    if (item.type === 'manifest') this.#manifest = item.manifest;
    this.#entries += 1;
    const nowMs = this.#environment.clock.monotonicMs();
    if (nowMs - this.#told < 2000) return;
    this.#told = nowMs;
    this.#environment.err(`${this.#entries} entries…\n`);
  }

  /** Of a backup that was read to its end. */
  seen(): { about: BackupAbout; manifest: BackupManifest } {
    if (this.#about === undefined || this.#manifest === undefined) throw new Error('the backup has ended without its manifest');
    return { about: this.#about, manifest: this.#manifest };
  }
}
