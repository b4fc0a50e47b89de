import { existsSync } from 'node:fs';
import type { Clock } from '@evercert/shared/clock';
import { readConfigFile } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { createLogger, type Logger } from '@evercert/shared/logging';
import type { Command } from 'commander';
import { type CoordinatorConfig, configSchema } from './config.ts';
import { type Contents, migrate, readContents, type Side } from './migration/index.ts';
import { layout } from './state/layout.ts';
import { describeLocation, type EtcdStatus, etcdStatus, isEtcdStore, openStore, readMark, type Store, sqliteFile } from './store/index.ts';

export interface StoreCommandContext {
  clock: Clock;
  random: () => number;
  stdout: { write(text: string): unknown };
  stderr: { write(text: string): unknown };
}

interface MigrateOptions {
  from?: string;
  to: string;
  dryRun?: boolean;
}

const migrateHelp = `
Both files are configurations of the coordinator, of which only "dataDir" and "store" count here. Stop every coordinator first. The source is left as it is, with a mark that
keeps coordinators from starting on it; run the command again after an interruption. Keys on leases (who leads, who serves, which node's stream is where) are not taken along, nor
what is not in the store: CA keys in files, their passphrase, and the rest of dataDir.

Example:
  evercert-coordinator store migrate --from /etc/evercert/coordinator.yaml --to /etc/evercert/coordinator-etcd.yaml --dry-run`;

/** Adds `store migrate`, `store status` and `store unmark`. */
export function addStoreCommand(program: Command, context: StoreCommandContext): void {
  const store = program.command('store').description('Look at the store, or move it to another');

  store
    .command('migrate')
    .description('Move everything from one store to another, from SQLite to etcd or back; to be run while every coordinator is stopped')
    .option('--from <file>', 'configuration that names the source; default: that of --config')
    .requiredOption('--to <file>', 'configuration that names the target, which must be empty')
    .option('--dry-run', 'check both and tell what would be moved')
    .addHelpText('after', migrateHelp)
    .action(async (options: MigrateOptions, command: Command) => {
      const { config } = command.optsWithGlobals<{ config: string }>();
      await runMigrate({ ...options, from: options.from ?? config }, context);
    });

  store
    .command('status')
    .description('Show where the store is, whether it is well, and how much it holds')
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async ({ output }: { output: string }, command: Command) => {
      const { config } = command.optsWithGlobals<{ config: string }>();
      await showStatus(readConfigFile(configSchema, config), output, context);
    });

  store
    .command('unmark')
    .description('Use a store again that was moved to another; what was written to the other since is not in it')
    .action(async (_options: object, command: Command) => {
      const { config } = command.optsWithGlobals<{ config: string }>();
      await unmark(readConfigFile(configSchema, config), context);
    });
}

async function runMigrate(
  { from: fromFile, to: toFile, dryRun = false }: MigrateOptions & { from: string },
  context: StoreCommandContext,
): Promise<void> {
  const [fromConfig, toConfig] = [readConfigFile(configSchema, fromFile), readConfigFile(configSchema, toFile)];
  if (describeLocation(fromConfig) === describeLocation(toConfig)) {
    throw new EvercertError('InvalidArgument', `${fromFile} and ${toFile} name the same store: ${describeLocation(fromConfig)}`);
  }
  if (fromConfig.store.sqlite && !existsSync(sqliteFile(fromConfig.dataDir))) {
    throw new EvercertError('NotFound', `there is no ${sqliteFile(fromConfig.dataDir)}: is dataDir in ${fromFile} the coordinator's?`);
  }
  const { clock, random, stdout, stderr } = context;
  const stop = new AbortController();
  await using stores = new OpenStores(context);
  const from = await stores.open(fromConfig);
  const to = await stores.open(toConfig);
  let [told, seen] = [0, 0];
  const onProgress = (entries: number): void => {
    seen = entries;
    if (entries - told < 10_000) return;
    told = entries;
    stderr.write(`${entries} entries compared and copied…\n`);
  };
  const { contents, written, resumed } = await migrate({ from, to, clock, random, dryRun, signal: stop.signal, onProgress });
  stdout.write(`${tableOf(contents)}\n`);
  if (contents.leased.length > 0) stdout.write(`Not taken along: ${contents.leased.length} keys on leases.\n`);
  if (dryRun) {
    stdout.write(
      `Nothing was changed. ${contents.entries} entries (${mib(contents.bytes)}) would be moved from ${from.name} to ${to.name}.\n`,
    );
    return;
  }
  stdout.write(
    `Moved ${contents.entries} entries (${mib(contents.bytes)}) from ${from.name} to ${to.name}${resumed ? `, completing an earlier run (${written} of ${seen} were missing)` : ''}; ` +
      `counts and digests agree (sha256 ${contents.digest}).\nStart the coordinators with ${toFile}. CA keys that are kept in files under ${fromConfig.dataDir}, and their passphrase, were not moved.\n`,
  );
}

async function showStatus(config: CoordinatorConfig, output: string, context: StoreCommandContext): Promise<void> {
  if (output !== 'text' && output !== 'json') throw new EvercertError('InvalidArgument', `the output is text or json, not ${output}`);
  await using stores = new OpenStores(context);
  const { store, name } = await stores.open(config);
  const [mark, contents] = [await readMark(store), await readContents(store, new AbortController().signal)];
  const { revision } = await store.range({ prefix: layout.root, limit: 1 });
  const etcd = isEtcdStore(store) ? await etcdStatus(store) : undefined;
  if (output === 'json') {
    const prefixes = Object.fromEntries([...contents.prefixes].map(([prefix, { entries, bytes }]) => [prefix, { entries, bytes }]));
    const { entries, bytes, leased } = contents;
    context.stdout.write(
      `${JSON.stringify({ store: name, revision, entries, bytes, leased: leased.length, prefixes, ...(mark && { mark }), ...etcd }, undefined, 2)}\n`,
    );
    return;
  }
  const { stdout } = context;
  stdout.write(`${name}, revision ${revision}\n`);
  if (mark)
    stdout.write(
      `${mark.state === 'moved' ? `Moved to ${mark.other}` : `Incomplete: being filled from ${mark.other}`} since ${new Date(mark.atMs).toISOString()}.\n`,
    );
  if (etcd) stdout.write(`\n${etcdText(etcd)}`);
  stdout.write(`\n${tableOf(contents)}\n${contents.leased.length} keys on leases beside them.\n`);
}

async function unmark(config: CoordinatorConfig, context: StoreCommandContext): Promise<void> {
  await using stores = new OpenStores(context);
  const { store, name } = await stores.open(config);
  const mark = await readMark(store);
  if (mark?.state !== 'moved') {
    throw new EvercertError(
      'FailedPrecondition',
      mark ? `${name} is not complete: it cannot be used` : `${name} was not moved away: there is nothing to undo`,
    );
  }
  await store.transact([{ key: layout.storeMark, modRevision: mark.modRevision }], [{ type: 'delete', key: layout.storeMark }]);
  context.stdout.write(
    `${name} can be used again. What was written to ${mark.other} since ${new Date(mark.atMs).toISOString()} is not in it.\n`,
  );
}

/** Closes whatever was opened. */
class OpenStores implements AsyncDisposable {
  readonly #context: StoreCommandContext;
  readonly #stores: Store[] = [];

  constructor(context: StoreCommandContext) {
    this.#context = context;
  }

  async open(config: CoordinatorConfig): Promise<Side> {
    const { clock, random } = this.#context;
    const logger: Logger = createLogger({ ...config.log, component: 'coordinator' });
    const store = await openStore(config, { clock, random, logger, compact: false, marked: true });
    this.#stores.push(store);
    return { store, name: describeLocation(config) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store.close();
  }
}

function etcdText({ endpoints, members, alarms }: EtcdStatus): string {
  const rows = endpoints.map((each) =>
    each.error !== undefined
      ? [each.endpoint, '', 'cannot be asked', '', '', each.error]
      : [
          each.endpoint,
          each.member ?? '',
          each.leader ? 'leader' : 'follower',
          each.version ?? '',
          `${mib(each.dbBytes ?? 0)} (${mib(each.dbBytesInUse ?? 0)} in use)`,
          (each.errors ?? []).join('; '),
        ],
  );
  const unknown = members.filter(({ name }) => !endpoints.some(({ member }) => member === name)).map(({ name, id }) => name || id);
  return [
    table([['ENDPOINT', 'MEMBER', 'ROLE', 'VERSION', 'SIZE', 'TROUBLE'], ...rows]),
    unknown.length > 0 ? `No endpoint here leads to: ${unknown.join(', ')}.\n` : '',
    `Alarms: ${alarms.map(({ alarm, member }) => `${alarm} at ${member}`).join(', ') || 'none'}\n`,
  ].join('');
}

function tableOf({ prefixes, entries, bytes }: Contents): string {
  const rows = [...prefixes].map(([name, each]) => [name, String(each.entries), mib(each.bytes)]);
  return table([['KEYS', 'ENTRIES', 'SIZE'], ...rows, ['all', String(entries), mib(bytes)]]).trimEnd();
}

function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}

function mib(bytes: number): string {
  return bytes < 1024 * 1024 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}
