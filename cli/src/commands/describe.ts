import type { Command } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { renderDescription } from '../output/description.ts';
import { everything, parseSelector, parseTarget, resources } from '../resources/index.ts';
import { fetchSelected } from './listing.ts';
import { type CommandContext, withSession } from './session.ts';

/** Each description asks the coordinator again. */
const maxDescribed = 100;

const examples = `
Examples:
  # A node: conditions, certificates, files, last events
  evercert describe node cp-1
  # A certificate by node and name, or by serial number
  evercert describe certificate cp-1/apiserver
  evercert describe certificate 77fdf4b1033b387aaace6ce1c18710c2
  # A replacement: its steps with their idempotency keys
  evercert describe replacement rp-k3v9x2m4qa
  # A CA with its pin and its certificate
  evercert describe ca etcd-ca --cluster demo`;

interface DescribeOptions {
  node?: string;
  selector?: string;
}

export function addDescribeCommand(program: Command, context: CommandContext): void {
  program
    .command('describe')
    .summary('show the details of resources')
    .description(`Show the details of ${resources.flatMap((one) => (one.describe ? [one.singular] : [])).join(', ')}.`)
    .argument('<type>', 'TYPE or TYPE/NAME')
    .argument('[names...]', 'names; none: all')
    .option('--node <name>', 'only what belongs to this node')
    .option('-l, --selector <query>', 'label selector')
    .addHelpText('after', examples)
    .action(async (type: string, names: string[], options: DescribeOptions, command: Command) => {
      const target = parseTarget(type, names);
      const { resource } = target;
      if (!resource.describe)
        throw usageError(`${resource.plural} have no more details than 'evercert get ${resource.plural} -o yaml' shows`);
      const labels = options.selector === undefined ? [] : parseSelector(options.selector);
      const { environment } = context;
      await withSession(command, environment, async (session) => {
        const selection = { ...everything, cluster: session.cluster, names: target.names, node: options.node ?? '' };
        const items = await fetchSelected(session, { resource, selection, labels });
        if (items.length > maxDescribed)
          throw usageError(`${items.length} ${resource.plural} are too many to describe at once: name them, at most ${maxDescribed}`);
        if (items.length === 0) line(environment.err, 'No resources found.');
        for (const [at, item] of items.entries()) {
          const description = await resource.describe!(item, { api: session.api, nowMs: environment.clock.nowMs() });
          environment.out(`${at === 0 ? '' : '\n\n'}${renderDescription(description)}`);
        }
      });
    });
}
