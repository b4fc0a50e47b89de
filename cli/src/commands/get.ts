import { type Command, Option } from 'commander';
import { type OutputFormat, outputFormats } from '../output/printer.ts';
import { everything, parseSelector, parseTarget } from '../resources/index.ts';
import { showListing, watchListing } from './listing.ts';
import { type CommandContext, withSession } from './session.ts';

interface GetOptions {
  output?: OutputFormat;
  watch?: boolean;
  outputWatchEvents?: boolean;
  node?: string;
  all?: boolean;
  allClusters?: boolean;
  selector?: string;
  headers: boolean;
  sortBy?: string;
}

const examples = `
Examples:
  # Every node of the context's cluster
  evercert get nodes
  # One node's certificates with their names, and again whenever one is renewed
  evercert get certificates --node cp-1 -o wide -w
  # Also those that a newer certificate has succeeded, oldest end first
  evercert get certs --all --sort-by .status.notAfter
  # One certificate as Kubernetes-style YAML, by node and name or by serial number
  evercert get certificate cp-1/apiserver -o yaml
  # Workers that were replaced, or are being replaced, and each step of it as it comes
  evercert get replacements -w
  # The coordinators that serve, and which of them runs the controllers
  evercert get coordinators -o wide
  # Certificates of all clusters, for a script
  evercert get certificates -A -o json | jq -r '.items[].status.notAfter'`;

export function addGetCommand(program: Command, context: CommandContext): void {
  program
    .command('get')
    .summary('show one or many resources')
    .description(
      'Show clusters, nodes, certificates, cas, manifests (also certificatemanifests, trustbundlemanifests, keypairmanifests, revocationlistmanifests), revocations, replacements, tokens, events or coordinators.',
    )
    .argument('<type>', 'TYPE or TYPE/NAME; singular, plural or short name')
    .argument('[names...]', 'names; certificates as NODE/NAME or by serial number')
    .addOption(new Option('-o, --output <format>', 'output format').choices([...outputFormats]))
    .option('-w, --watch', 'after the list, show changes as they come')
    .option('--output-watch-events', 'with --watch: say whether each was ADDED, MODIFIED or DELETED')
    .option('--node <name>', 'only what belongs to this node')
    .option('--all', 'certificates: also those that a newer one has succeeded')
    .option('-A, --all-clusters', "all clusters, whatever the context's default is")
    .option('-l, --selector <query>', 'label selector: key=value, key!=value, key, !key, joined by commas')
    .option('--no-headers', 'no header line')
    .option('--sort-by <path>', "field of the JSON form to sort by, as '.metadata.creationTimestamp'")
    .addHelpText('after', examples)
    .action(async (type: string, names: string[], options: GetOptions, command: Command) => {
      const target = parseTarget(type, names);
      const labels = options.selector === undefined ? [] : parseSelector(options.selector);
      await withSession(command, context.environment, async (session) => {
        const cluster = options.allClusters ? '' : session.cluster;
        const superseded = options.all ?? false;
        const listing = {
          resource: target.resource,
          selection: { ...everything, cluster, names: target.names, node: options.node ?? '', superseded },
          labels,
          sortBy: options.sortBy,
          print: {
            format: options.output ?? 'table',
            noHeaders: !options.headers,
            clusters: cluster === '',
            superseded,
            watchEvents: (options.watch && options.outputWatchEvents) ?? false,
          },
        } as const;
        await (options.watch ? watchListing : showListing)(context, session, listing);
      });
    });
}
