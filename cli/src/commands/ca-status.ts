import type { CertificateAuthorityRotation } from '@evercert/proto';
import { type Command, Option } from 'commander';
import { type Environment, line } from '../environment.ts';
import { renderDescription } from '../output/description.ts';
import { listOf, renderObject } from '../output/objects.ts';
import { printable } from '../output/table.ts';
import { isOver, nodeRow, rotationDescription, rotationObject } from '../resources/rotation.ts';
import { listAgain, newsOf, textOf, timeOf } from './ca-follow.ts';
import { type CommandContext, clusterArgument, globalsOf, type Session, withSession } from './session.ts';

interface StatusOptions {
  ca?: string;
  all?: boolean;
  watch?: boolean;
  output?: 'json' | 'yaml';
}

const pollMs = 1000;

export function addRotationStatusCommand(ca: Command, { environment }: CommandContext): void {
  ca.command('status')
    .summary('show the rotations of CAs that are under way, node by node')
    .description(
      'Each rotation that is under way: its stage, what it waits for, how far each node is, and why one is behind or would be cut off.',
    )
    .argument('[cluster]', "cluster to show; by default --cluster, the context's, or all with the control CA")
    .option('--ca <name>', 'only this CA')
    .option('--all', 'also rotations that have ended, and nodes that are through')
    .option('-w, --watch', 'show changes as they come, until nothing is under way')
    .addOption(
      new Option('-o, --output <format>', 'print objects; with --watch one JSON object in a line for each change').choices([
        'json',
        'yaml',
      ]),
    )
    .action((named: string | undefined, options: StatusOptions, command: Command) =>
      withSession(command, environment, async (session) => {
        const cluster = named === undefined ? session.cluster : clusterArgument(command, session, named);
        if (options.watch) return watch(session, environment, cluster, options);
        const found = await select(session, cluster, options);
        if (options.output) return environment.out(renderObject(listOf(found.map(rotationObject)), options.output));
        if (found.length === 0)
          return line(
            environment.out,
            globalsOf(command).cluster || named ? `No rotation is under way in cluster ${cluster}.` : 'No rotation is under way.',
          );
        const nowMs = environment.clock.nowMs();
        environment.out(found.map((rotation) => renderDescription(rotationDescription(rotation, nowMs, options.all ?? false))).join('\n'));
      }),
    );
}

async function select({ api }: Session, cluster: string, { ca, all = false }: StatusOptions): Promise<CertificateAuthorityRotation[]> {
  const { rotations } = await api.call('listCertificateAuthorityRotations', { cluster: '', id: '', all });
  return rotations.filter((one) => isShown(one, cluster, ca));
}

/** The control CA is everybody's. */
function isShown(rotation: CertificateAuthorityRotation, cluster: string, ca: string | undefined): boolean {
  return (
    (cluster === '' || rotation.cluster === cluster || rotation.cluster === '') &&
    (ca === undefined || rotation.certificateAuthority === ca)
  );
}

/** A line for each change: of a rotation as a whole, and of each node that is not as it was. */
async function watch({ api }: Session, environment: Environment, cluster: string, { ca, output }: StatusOptions): Promise<void> {
  const told = new Map<string, string>();
  const news = (key: string, text: string): boolean => {
    const changed = told.get(key) !== newsOf(text);
    told.set(key, newsOf(text));
    return changed;
  };
  for (let first = true; ; first = false) {
    const found = (await listAgain(api, cluster)).filter((one) => isShown(one, cluster, ca) && (!isOver(one) || told.has(one.id)));
    for (const rotation of found.reverse()) {
      if (output) {
        const text = JSON.stringify(rotationObject(rotation));
        if (news(rotation.id, text)) line(environment.out, text);
        continue;
      }
      if (news(rotation.id, textOf(rotation))) line(environment.out, `${timeOf(environment)}  ${textOf(rotation)}`);
      for (const node of rotation.nodes) {
        const [name = '', role = '', state = '', left = '', cutOff = '', reason = ''] = nodeRow(node);
        const text = `${name}  ${role}  ${state}  ${left} left${cutOff === 'yes' ? ', cut off if distrusted now' : ''}${node.reason === '' ? '' : `  ${printable(reason)}`}`;
        // Everybody who is through from the begin is no news.
        if (news(`${rotation.id} ${rotation.stage} ${name}`, text) && !(first && state === 'Done'))
          line(environment.out, `${timeOf(environment)}    ${text}`);
      }
    }
    if (found.every(isOver)) return line(environment.err, 'No rotation is under way.');
    await environment.clock.sleep(pollMs);
  }
}
