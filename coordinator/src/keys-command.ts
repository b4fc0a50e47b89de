import type { Clock } from '@evercert/shared/clock';
import { readConfigFile } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { createLogger } from '@evercert/shared/logging';
import type { Command } from 'commander';
import { configSchema } from './config.ts';
import { KeyPlaces, type KeyProviderKind, keyProviderKinds, type ListedKey } from './keys/index.ts';
import { openStore, type Store } from './store/index.ts';

export interface KeysCommandContext {
  clock: Clock;
  env: NodeJS.ProcessEnv;
  stdout: { write(text: string): unknown };
}

const moveHelp = `
The configuration names the new place as caKeys.provider and the old one in caKeys.also; the coordinator then finds its keys in both, before, during and after the move. Each key is
copied, opened again, made to sign, and only then destroyed in its old place. After an interruption run the same command again. A store in SQLite is one process' alone:
stop the coordinator to move keys into it or out of it. What is on a token stays there.

Examples:
  evercert-coordinator keys move --to store --all
  evercert-coordinator keys move --to pkcs11 demo/cluster-ca/5f1c22ab`;

const rotateHelp = `
Name the new key in caKeys.store.otherKekFiles of every coordinator and restart them; run this; then make it kekFile everywhere, run this again, and take the old one away.

Example:
  evercert-coordinator keys rotate-kek --to /etc/evercert/ca-kek.new`;

/** Adds `keys list`, `keys move` and `keys rotate-kek`. */
export function addKeysCommand(program: Command, context: KeysCommandContext): void {
  const keys = program.command('keys').description('Look at the private keys of the CAs, and move them to another place');
  const { stdout } = context;

  keys
    .command('list')
    .description('List the keys in every place that the configuration names')
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async ({ output }: { output: string }, command: Command) => {
      await withPlaces(command, context, async (places) => {
        const listed = await places.list();
        stdout.write(output === 'json' ? `${JSON.stringify(listed, undefined, 2)}\n` : table(listed));
      });
    });

  keys
    .command('move')
    .description('Move keys to another place')
    .argument('[id]', 'id of one key, as `keys list` shows it')
    .requiredOption('--to <provider>', 'file, store or pkcs11', kindOf)
    .option('--from <provider>', 'only keys that are there; default: wherever they are', kindOf)
    .option('--all', 'all keys')
    .addHelpText('after', moveHelp)
    .action(async (id: string | undefined, options: { to: KeyProviderKind; from?: KeyProviderKind; all?: boolean }, command: Command) => {
      if ((id === undefined) !== (options.all === true)) throw new EvercertError('InvalidArgument', 'expected the id of one key, or --all');
      await withPlaces(command, context, async (places) => {
        const count = { moved: 0, others: 0 };
        await places.move({ id, from: options.from, to: options.to }, (each, outcome) => {
          count[outcome === 'moved' ? 'moved' : 'others'] += 1;
          stdout.write(`${each}: ${outcome}\n`);
        });
        stdout.write(`Moved ${count.moved} of ${count.moved + count.others} keys to ${options.to}.\n`);
      });
    });

  keys
    .command('rotate-kek')
    .description('Put the keys in the store under another key-encryption key, while coordinators go on')
    .requiredOption('--to <file>', 'the new key-encryption key')
    .addHelpText('after', rotateHelp)
    .action(async ({ to }: { to: string }, command: Command) => {
      await withPlaces(command, context, async (places) => {
        const { rewrapped, total } = await places.rotateKek(to);
        stdout.write(`Put ${rewrapped} of ${total} keys under the key-encryption key in ${to}; the others were there already.\n`);
      });
    });
}

async function withPlaces(command: Command, { clock, env }: KeysCommandContext, work: (places: KeyPlaces) => Promise<void>): Promise<void> {
  const config = readConfigFile(configSchema, command.optsWithGlobals<{ config: string }>().config);
  const logger = createLogger({ ...config.log, level: 'error', component: 'coordinator' });
  let opened: Promise<Store> | undefined;
  const store = (): Promise<Store> => {
    opened ??= openStore(config, { clock, logger, compact: false });
    return opened;
  };
  const places = new KeyPlaces(config, { store, clock, logger, env });
  try {
    await work(places);
  } finally {
    await places.close();
    // Why it could not be opened was said where it was asked for.
    await (await opened?.catch(() => undefined))?.close();
  }
}

function kindOf(text: string): KeyProviderKind {
  const kind = keyProviderKinds.find((each) => each === text);
  if (kind !== undefined) return kind;
  throw new EvercertError('InvalidArgument', `there is no key provider "${text.slice(0, 50)}"; expected ${keyProviderKinds.join(', ')}`);
}

function table(keys: readonly ListedKey[]): string {
  const rows = [
    ['ID', 'PROVIDER', 'ALGORITHM', 'PUBLIC KEY (SHA-256)'],
    ...keys.map((key) => [key.id, key.provider, key.algorithm, key.publicKey]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => `${row.map((cell, i) => (i < 3 ? cell.padEnd(widths[i] ?? 0) : cell)).join('  ')}\n`).join('');
}
