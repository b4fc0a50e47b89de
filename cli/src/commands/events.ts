import { type Command, Option } from 'commander';
import { type OutputFormat, outputFormats } from '../output/printer.ts';
import { events, everything } from '../resources/index.ts';
import { showListing, watchListing } from './listing.ts';
import { type CommandContext, wholeNumber, withSession } from './session.ts';

interface EventsOptions {
  node?: string;
  certificate?: string;
  reason?: string;
  watch?: boolean;
  limit: string;
  output?: OutputFormat;
  headers: boolean;
  allClusters?: boolean;
}

const examples = `
Examples:
  # The last hundred events of the cluster, the newest last
  evercert events
  # Everything that happens to one certificate from now on
  evercert events --node cp-1 --certificate apiserver -w
  # The last ten files that were put right
  evercert events --reason FileRestored --limit 10 -o wide`;

export function addEventsCommand(program: Command, context: CommandContext): void {
  program
    .command('events')
    .summary('show who did what, when, with what outcome')
    .description('Show the event log, the newest event last.')
    .option('--node <name>', 'only events of this node')
    .option('--certificate <name>', 'only events of certificates of this name')
    .option('--reason <reason>', 'only events with this reason, as CertificateIssued')
    .option('-w, --watch', 'go on with new events as they come')
    .option('--limit <n>', 'the newest so many, 1 to 10000', '100')
    .option('-A, --all-clusters', 'events of all clusters')
    .option('--no-headers', 'no header line')
    .addOption(new Option('-o, --output <format>', 'output format').choices([...outputFormats]))
    .addHelpText('after', examples)
    .action(async (options: EventsOptions, command: Command) => {
      const limit = wholeNumber(options.limit, '--limit', 1, 10_000);
      await withSession(command, context.environment, async (session) => {
        const cluster = options.allClusters ? '' : session.cluster;
        const { node = '', certificate = '', reason = '' } = options;
        const print = {
          format: options.output ?? 'table',
          noHeaders: !options.headers,
          clusters: cluster === '',
          superseded: false,
          watchEvents: false,
        } as const;
        const listing = { resource: events, selection: { ...everything, cluster, node, certificate, reason, limit }, labels: [], print };
        await (options.watch ? watchListing : showListing)(context, session, listing);
      });
    });
}
