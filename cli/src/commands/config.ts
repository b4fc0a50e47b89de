import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Context, type ContextsFile, findContext, readContexts, writeContexts } from '../contexts/index.ts';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { renderTable } from '../output/table.ts';
import { addConfigRefreshCommand } from './config-refresh.ts';
import { type CommandContext, contextsPathOf, globalsOf } from './session.ts';

interface SetOptions {
  server?: string;
  endpoints?: string;
  certificateAuthority?: string;
  clientCertificate?: string;
  clientKey?: string;
  current?: boolean;
}

const examples = `
Examples:
  evercert config set-context prod --server coordinator.example:7443 --certificate-authority ca.crt \\
    --client-certificate admin.crt --client-key admin.key --cluster prod
  # Other coordinators of the same store, for when the first cannot be reached; an empty list takes them away
  evercert config set-context prod --endpoints coordinator-2.example:7443,coordinator-3.example:7443
  evercert config use-context prod
  # Only the default cluster of an existing context
  evercert config set-context prod --cluster staging`;

/** `evercert config`: the contexts file. It needs no coordinator. */
export function addConfigCommand(program: Command, context: CommandContext): void {
  const config = program
    .command('config')
    .description('Show and change the contexts file: --config, else $EVERCERT_CONFIG, else ~/.config/evercert/config.yaml.')
    .addHelpText('after', examples);
  const { environment } = context;
  const pathOf = (command: Command): string => contextsPathOf(command, environment);

  config
    .command('get-contexts')
    .description('List the contexts; the current one is marked with *.')
    .option('--no-headers', 'no header line')
    .action(async ({ headers }: { headers: boolean }, command: Command) => {
      const file = await readContexts(pathOf(command));
      if (file.contexts.length === 0) line(environment.err, `No contexts found in ${pathOf(command)}.`);
      else
        environment.out(
          renderTable(
            ['CURRENT', 'NAME', 'SERVER', 'CLUSTER'],
            file.contexts.map((one) => contextRow(one, file)),
            { noHeaders: !headers },
          ),
        );
    });

  config
    .command('current-context')
    .description('Print the name of the current context.')
    .action(async (_options: object, command: Command) => {
      const path = pathOf(command);
      const file = await readContexts(path);
      line(environment.out, findContext(file, path, file.currentContext).name);
    });

  config
    .command('use-context')
    .description('Make a context the current one.')
    .argument('<context>', 'name of the context')
    .action(async (name: string, _options: object, command: Command) => {
      const path = pathOf(command);
      const file = await readContexts(path);
      await writeContexts(path, { ...file, currentContext: findContext(file, path, name).name });
      line(environment.out, `Switched to context "${name}".`);
    });

  config
    .command('set-context')
    .description('Create or change a context. What is not named stays as it is; the first context becomes the current one.')
    .argument('<name>', 'name of the context')
    .option('--server <host:port>', "the coordinator's address")
    .option('--endpoints <list>', 'other coordinators of the same store, HOST:PORT joined by commas, in place of those before')
    .option('--certificate-authority <file>', "PEM of the coordinator's CA (control-ca)")
    .option('--client-certificate <file>', 'PEM of the admin certificate')
    .option('--client-key <file>', 'PEM of its key, mode 0600')
    .option('--current', 'make it the current context')
    .action(async (name: string, options: SetOptions, command: Command) => {
      const path = pathOf(command);
      const file = await readContexts(path);
      const known = file.contexts.find((one) => one.name === name);
      const changed = contextFrom(name, known, options, globalsOf(command).cluster, environment.cwd);
      const contexts = known ? file.contexts.map((one) => (one === known ? changed : one)) : [...file.contexts, changed];
      const currentContext = options.current || file.currentContext === '' ? name : file.currentContext;
      await writeContexts(path, { currentContext, contexts });
      line(environment.out, `Context "${name}" ${known ? 'modified' : 'created'}.`);
    });
  addConfigRefreshCommand(config, context);
}

function contextRow(one: Context, file: ContextsFile): string[] {
  return [one.name === file.currentContext ? '*' : '', one.name, [one.server, ...(one.endpoints ?? [])].join(','), one.cluster ?? ''];
}

/** Paths that are named now become absolute; those that stay are relative to the file, as they were. */
function contextFrom(name: string, known: Context | undefined, options: SetOptions, cluster: string | undefined, cwd: string): Context {
  const path = (value: string | undefined): string | undefined => (value === undefined ? undefined : resolve(cwd, value));
  const server = options.server ?? known?.server;
  const certificateAuthority = path(options.certificateAuthority) ?? known?.certificateAuthority;
  const clientCertificate = path(options.clientCertificate) ?? known?.clientCertificate;
  const clientKey = path(options.clientKey) ?? known?.clientKey;
  if (!server || !certificateAuthority || !clientCertificate || !clientKey) {
    throw usageError(`a new context needs --server, --certificate-authority, --client-certificate and --client-key`);
  }
  const defaultCluster = cluster ?? known?.cluster;
  const endpoints = options.endpoints?.split(',').filter((endpoint) => endpoint !== '') ?? known?.endpoints ?? [];
  return {
    name,
    server,
    ...(endpoints.length > 0 && { endpoints }),
    certificateAuthority,
    clientCertificate,
    clientKey,
    ...(defaultCluster !== undefined && { cluster: defaultCluster }),
  };
}
