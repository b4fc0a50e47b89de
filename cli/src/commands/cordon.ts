import type { Command } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { timestamp } from '../output/time.ts';
import { type CommandContext, duration, protoDuration, withSession } from './session.ts';

const examples = `
Examples:
  # Nothing replaces this worker while its disk is looked at
  evercert cordon worker-7 --reason "disk is being looked at"
  # ... for four hours at most
  evercert cordon worker-7 --for 4h --reason "new power supply"
  evercert uncordon worker-7`;

export function addCordonCommands(program: Command, context: CommandContext): void {
  program
    .command('cordon')
    .summary('exempt nodes from replacement')
    .description('Exempt nodes from replacement. Their certificates are renewed as before.')
    .argument('<nodes...>', 'names, as NAME or node/NAME')
    .option('--for <duration>', 'end the exemption by itself after so long (default: it lasts until "evercert uncordon")')
    .option('--reason <text>', 'why, for people', '')
    .addHelpText('after', examples)
    .action((names: string[], options: { for?: string; reason: string }, command: Command) => {
      const lengthMs = options.for === undefined ? undefined : duration(options.for, '--for');
      return set(command, context, { names, cordoned: true, reason: options.reason, lengthMs });
    });
  program
    .command('uncordon')
    .summary('end the exemption of nodes from replacement')
    .description('End what cordon began.')
    .argument('<nodes...>', 'names, as NAME or node/NAME')
    .action((names: string[], _options: unknown, command: Command) =>
      set(command, context, { names, cordoned: false, reason: '', lengthMs: undefined }),
    );
}

interface Order {
  names: string[];
  cordoned: boolean;
  reason: string;
  /** undefined: without an end. */
  lengthMs: number | undefined;
}

async function set(command: Command, { environment }: CommandContext, { names, cordoned, reason, lengthMs }: Order): Promise<void> {
  const word = cordoned ? 'cordoned' : 'uncordoned';
  const nodes = names.map(nodeName);
  await withSession(command, environment, async (session) => {
    const cluster = session.requireCluster();
    for (const name of nodes) {
      const { changed, node } = await session.api.call('setNodeCordon', {
        cluster,
        name,
        cordoned,
        reason,
        duration: lengthMs === undefined ? undefined : protoDuration(lengthMs),
      });
      line(
        environment.out,
        `node/${name} ${changed ? '' : 'already '}${word}${node?.cordon?.until ? ` until ${timestamp(node.cordon.until)}` : ''}`,
      );
    }
  });
}

function nodeName(text: string): string {
  const [first = '', second] = text.split('/');
  if (second === undefined) return first;
  if (['node', 'nodes', 'no'].includes(first) && second !== '') return second;
  throw usageError(`only nodes are cordoned: name NAME or node/NAME, not "${text}"`);
}
