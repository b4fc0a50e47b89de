import type { Command } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { type CommandContext, withSession } from './session.ts';

const examples = `
Examples:
  # Nothing replaces this worker while its disk is looked at
  evercert cordon worker-7 --reason "disk is being looked at"
  evercert uncordon worker-7`;

export function addCordonCommands(program: Command, context: CommandContext): void {
  program
    .command('cordon')
    .summary('exempt nodes from replacement')
    .description('Exempt nodes from replacement. Their certificates are renewed as before.')
    .argument('<nodes...>', 'names, as NAME or node/NAME')
    .option('--reason <text>', 'why, for people', '')
    .addHelpText('after', examples)
    .action((names: string[], { reason }: { reason: string }, command: Command) =>
      set(command, context, { names, cordoned: true, reason }),
    );
  program
    .command('uncordon')
    .summary('end the exemption of nodes from replacement')
    .description('End what cordon began.')
    .argument('<nodes...>', 'names, as NAME or node/NAME')
    .action((names: string[], _options: unknown, command: Command) => set(command, context, { names, cordoned: false, reason: '' }));
}

interface Order {
  names: string[];
  cordoned: boolean;
  reason: string;
}

async function set(command: Command, { environment }: CommandContext, { names, cordoned, reason }: Order): Promise<void> {
  const word = cordoned ? 'cordoned' : 'uncordoned';
  const nodes = names.map(nodeName);
  await withSession(command, environment, async (session) => {
    const cluster = session.requireCluster();
    for (const name of nodes) {
      const { changed } = await session.api.call('setNodeCordon', { cluster, name, cordoned, reason });
      line(environment.out, `node/${name} ${changed ? '' : 'already '}${word}`);
    }
  });
}

function nodeName(text: string): string {
  const [first = '', second] = text.split('/');
  if (second === undefined) return first;
  if (['node', 'nodes', 'no'].includes(first) && second !== '') return second;
  throw usageError(`only nodes are cordoned: name NAME or node/NAME, not "${text}"`);
}
