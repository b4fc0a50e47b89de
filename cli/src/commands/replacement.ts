import { EvercertError } from '@evercert/shared/errors';
import type { Command } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { pauseLines } from '../resources/index.ts';
import { addStatusCommand } from './replacement-status.ts';
import { type CommandContext, clusterArgument, type Session, withSession } from './session.ts';

const examples = `
Examples:
  # Who would be replaced now, who is held back and why
  evercert replacement status demo
  # Nothing more is replaced, and what is under way makes no further step
  evercert replacement pause demo --reason "the network is being rebuilt"
  evercert replacement resume demo
  # The same for every cluster of the coordinator
  evercert replacement pause --all --reason "storm in the data centre"
  # End one that is under way
  evercert replacement cancel rp-k3v9x2m4qa
  # How one went, step by step
  evercert describe replacement rp-k3v9x2m4qa`;

export function addReplacementCommand(program: Command, context: CommandContext): void {
  const replacement = program
    .command('replacement')
    .summary('show, pause and end the replacement of workers')
    .description(
      'A worker whose renewals failed until its certificates expired is removed, and a new one made in its place, within the limits of the cluster\'s policy (spec.replacement of the Cluster document). Show past ones with "evercert get replacements".',
    )
    .addHelpText('after', examples);
  addStatusCommand(replacement, context);
  replacement
    .command('pause')
    .summary('stop the replacement of workers')
    .description('No new replacement begins, and one under way makes no further step, until "evercert replacement resume". Idempotent.')
    .argument('[cluster]', "cluster to pause; by default --cluster or the context's")
    .option('--all', 'every cluster of the coordinator')
    .option('--reason <text>', 'why, for people', '')
    .action((named: string | undefined, options: { all?: boolean; reason: string }, command: Command) =>
      setPause(command, context, { named, all: options.all ?? false, paused: true, reason: options.reason }),
    );
  replacement
    .command('resume')
    .summary('let the replacement of workers go on')
    .description('Ends what pause began, with the same scope: a pause of all clusters is ended with --all.')
    .argument('[cluster]', "cluster to resume; by default --cluster or the context's")
    .option('--all', 'the pause of all clusters; those of single clusters stay')
    .action((named: string | undefined, options: { all?: boolean }, command: Command) =>
      setPause(command, context, { named, all: options.all ?? false, paused: false, reason: '' }),
    );
  replacement
    .command('cancel')
    .summary('end replacements that are under way')
    .description(
      'Ends a replacement that is under way. Before the old node has been removed, it is uncordoned and stays. Afterwards it is gone for good: a new machine that has joined stays, one that has not is discarded, and no other is made. Exit code 6: it has ended already.',
    )
    .argument('<replacements...>', 'ids, as ID or replacement/ID')
    .action(async (ids: string[], _options: unknown, command: Command) => {
      const targets = ids.map(replacementId);
      await withSession(command, context.environment, async (session) => {
        for (const id of targets) {
          const cluster = await clusterOfReplacement(session, id);
          const { replacement: ended } = await session.api.call('cancelReplacement', { cluster, id });
          line(context.environment.out, `replacement/${id} cancelled${ended?.message ? `: ${ended.message}` : ''}`);
        }
      });
    });
}

interface PauseOrder {
  named: string | undefined;
  all: boolean;
  paused: boolean;
  reason: string;
}

async function setPause(command: Command, { environment }: CommandContext, { named, all, paused, reason }: PauseOrder): Promise<void> {
  if (all && named !== undefined) throw usageError('name a cluster or say --all, not both');
  await withSession(command, environment, async (session) => {
    const { api } = session;
    const cluster = all ? '' : clusterArgument(command, session, named);
    const { changed } = await api.call('setReplacementPause', { cluster, paused, reason });
    const scope = all ? 'all clusters' : `cluster ${cluster}`;
    line(environment.out, `replacement in ${scope} ${changed ? '' : 'already '}${paused ? 'paused' : 'resumed'}`);
    if (paused) return;
    const { pauses } = await api.call('listReplacements', { cluster, id: '', node: '' });
    // Resuming one cluster does not end the pause of all, nor the other way round.
    for (const text of pauseLines(pauses, environment.clock.nowMs())) line(environment.err, `Still paused: ${text}`);
  });
}

/** The cluster that is named or the context's, else the one in which the replacement is. NotFound: there is none of this id. */
async function clusterOfReplacement({ api, cluster }: Session, id: string): Promise<string> {
  if (cluster !== '') return cluster;
  const { replacements } = await api.call('listReplacements', { cluster: '', id, node: '' });
  if (replacements[0]) return replacements[0].cluster;
  throw new EvercertError('NotFound', `replacements "${id}" not found`, { metadata: { server: api.server } });
}

function replacementId(text: string): string {
  const [first = '', second] = text.split('/');
  if (second === undefined) return first;
  if (['replacement', 'replacements', 'rp'].includes(first) && second !== '') return second;
  throw usageError(`expected ID or replacement/ID, not "${text}"`);
}
