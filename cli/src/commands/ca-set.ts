import { RotationAction } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { Command } from 'commander';
import { line } from '../environment.ts';
import { isOver } from '../resources/rotation.ts';
import { clusterFor, controlCa } from './ca-rotate.ts';
import { type CommandContext, duration, protoDuration, type Session, withSession } from './session.ts';

interface SetOptions {
  ca: string;
  reason: string;
}

const verbs = [
  {
    name: 'pause',
    action: RotationAction.PAUSE,
    done: 'paused',
    summary: 'let a rotation make no further step',
    description:
      'A rotation that is under way makes no further step and asks for no further renewal until "evercert ca resume". What nodes were asked for already, they do. Idempotent.',
  },
  {
    name: 'resume',
    action: RotationAction.RESUME,
    done: 'resumed',
    summary: 'let a rotation go on',
    description: 'Ends what "evercert ca pause" began. Idempotent.',
  },
  {
    name: 'abort',
    action: RotationAction.ABORT,
    done: 'is being aborted',
    summary: 'go back to the CA before',
    description:
      'Goes back to how it was: what the new CA has issued is issued anew by the old one, and then the new one is trusted no more. Possible at every stage before Retiring; not for a compromised CA once the new one signs. The rotations that would follow do not begin. Idempotent. Exit code 6: it cannot be aborted any more.',
  },
] as const;

export function addRotationSetCommands(ca: Command, context: CommandContext): void {
  for (const { name, action, done, summary, description } of verbs) {
    ofRotation(ca.command(name).summary(summary).description(description)).action(
      (named: string | undefined, options: SetOptions, command: Command) =>
        set(command, context, named, options, { action, deadline: undefined }, done),
    );
  }
  ofRotation(
    ca
      .command('deadline')
      .summary('give a rotation a deadline, another one, or none')
      .description(
        'From now. Nodes that are away are not waited for beyond it; on compromise, all that are not through by then are cut off (shown as CUT-OFF by "evercert ca status").',
      ),
  )
    .requiredOption('--in <duration>', 'as 30m or 24h, or none')
    .action((named: string | undefined, options: SetOptions & { in: string }, command: Command) => {
      const text = options.in;
      const deadline = text === 'none' ? undefined : protoDuration(duration(text, '--in'));
      const done = text === 'none' ? 'has no deadline any more' : `has its deadline in ${text}`;
      return set(command, context, named, options, { action: RotationAction.SET_DEADLINE, deadline }, done);
    });
}

function ofRotation(command: Command): Command {
  return command
    .argument('[cluster]', "cluster of the CA; by default --cluster or the context's; none for the control CA")
    .requiredOption('--ca <name>', 'cluster-ca, etcd-ca, front-proxy-ca or control-ca')
    .option('--reason <text>', 'why, for people', '');
}

type Change = { action: RotationAction; deadline: ReturnType<typeof protoDuration> | undefined };

async function set(
  command: Command,
  { environment }: CommandContext,
  named: string | undefined,
  { ca, reason }: SetOptions,
  change: Change,
  done: string,
): Promise<void> {
  await withSession(command, environment, async (session) => {
    const cluster = clusterFor(command, session, named, [ca]);
    const id = await idOf(session, cluster, ca);
    const { rotation } = await session.api.call('setCertificateAuthorityRotation', { id, reason, ...change });
    line(environment.out, `rotation/${id} ${done}${rotation?.stage ? ` (${rotation.stage})` : ''}`);
  });
}

/** The one that is under way; without one, the last: what is wrong with it, the coordinator says. */
async function idOf({ api }: Session, cluster: string, ca: string): Promise<string> {
  const { rotations } = await api.call('listCertificateAuthorityRotations', { cluster: '', id: '', all: true });
  const of = ca === controlCa ? '' : cluster;
  const found = rotations.filter((one) => one.certificateAuthority === ca && one.cluster === of);
  const chosen = found.find((one) => !isOver(one)) ?? found[0];
  if (chosen) return chosen.id;
  throw new EvercertError('NotFound', `no rotation of ${ca}${of === '' ? '' : ` of cluster ${of}`} is under way`, {
    metadata: { server: api.server },
  });
}
