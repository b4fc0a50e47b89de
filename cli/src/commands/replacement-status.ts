import type { Cluster, Node, PlanReplacementsResponse, Replacement, ReplacementPause } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import { replacementPolicyFromProto, roleFromProto } from '@evercert/shared/wire';
import { type Command, Option } from 'commander';
import { type Description, renderDescription } from '../output/description.ts';
import { compact, type KubernetesObject, renderObject } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { age } from '../output/time.ts';
import { isOfNote, isUnderWay, pauseLines, replacements, verdictObject } from '../resources/index.ts';
import { type CommandContext, clusterArgument, withSession } from './session.ts';

interface Standing {
  cluster: string;
  spec: Cluster['spec'];
  plan: PlanReplacementsResponse;
  underWay: Replacement[];
  pauses: ReplacementPause[];
}

interface StatusOptions {
  all?: boolean;
  output?: 'json' | 'yaml';
}

export function addStatusCommand(parent: Command, context: CommandContext): void {
  const { environment } = context;
  parent
    .command('status')
    .summary('show who would be replaced now, and who is held back and why')
    .description(
      'Asks the coordinator to decide once more, and shows the verdict on each node about which there is something to decide. Changes nothing.',
    )
    .argument('[cluster]', "cluster to show; by default --cluster or the context's")
    .option('--all', 'also nodes with which nothing is wrong')
    .addOption(new Option('-o, --output <format>', 'print one object with the verdict on every node').choices(['json', 'yaml']))
    .action((named: string | undefined, options: StatusOptions, command: Command) =>
      withSession(command, environment, async (session) => {
        const cluster = clusterArgument(command, session, named);
        const [plan, { replacements: found, pauses }, { clusters }] = await Promise.all([
          session.api.call('planReplacements', { cluster }),
          session.api.call('listReplacements', { cluster, id: '', node: '' }),
          session.api.call('listClusters', {}),
        ]);
        const spec = clusters.find(({ name }) => name === cluster)?.spec;
        const standing = { cluster, spec, plan, underWay: found.filter(isUnderWay), pauses };
        const nowMs = environment.clock.nowMs();
        if (options.output) environment.out(renderObject(objectOf(standing), options.output));
        else environment.out(renderDescription(descriptionOf(standing, options.all ?? false, nowMs)));
      }),
    );
}

function descriptionOf({ cluster, spec, plan, underWay, pauses }: Standing, all: boolean, nowMs: number): Description {
  const policy = replacementPolicyFromProto(spec?.replacement);
  const shown = plan.nodes.filter((node) => all || isOfNote(node));
  const others = plan.nodes.length - shown.length;
  return [
    ['Cluster', cluster],
    ['Provisioner', policy.provisioner],
    ['Mode', policy.mode],
    ['Workers', `${plan.workers}, of which ${plan.unhealthy} fail; at most ${plan.maxUnhealthy} may (maxUnhealthy ${policy.maxUnhealthy})`],
    ['Held Back', plan.held === '' ? 'nothing holds the whole cluster back' : plan.held],
    ['Paused', pauses.length === 0 ? 'no' : pauseLines(pauses, nowMs)],
    [
      'Under Way',
      {
        headers: ['ID', 'NODE', 'NEW-NODE', 'STATE', 'STEP', 'ATTEMPT', 'AGE', 'MESSAGE'],
        rows: underWay.map((one) => [
          one.id,
          one.node,
          orNone(one.newNode),
          one.state,
          one.step,
          String(one.attempt),
          age(one.createdAt, nowMs),
          orNone(one.message),
        ]),
      },
    ],
    [
      'Nodes',
      { headers: ['NODE', 'ROLE', 'STATUS', 'VERDICT', 'REASON', 'SINCE', 'MESSAGE'], rows: shown.map((node) => rowOf(node, nowMs)) },
    ],
    ...(others === 0 ? [] : ([['Other Nodes', `${others}, with nothing to decide (shown with --all)`]] as const)),
  ];
}

function rowOf({ name, role, status, replacement }: Node, nowMs: number): string[] {
  return [
    name,
    roleFromProto(role) ?? '<unknown>',
    status?.phase || 'Registered',
    orNone(replacement?.verdict ?? ''),
    orNone(replacement?.reason ?? ''),
    replacement?.since ? age(replacement.since, nowMs) : '<none>',
    orNone(replacement?.message ?? ''),
  ];
}

function objectOf({ cluster, spec, plan, underWay, pauses }: Standing): KubernetesObject {
  const { provisioner, mode, maxUnhealthy } = replacementPolicyFromProto(spec?.replacement);
  return {
    apiVersion,
    kind: 'ReplacementPlan',
    metadata: { name: cluster },
    spec: compact({ provisioner, mode, maxUnhealthy }),
    status: {
      workers: plan.workers,
      unhealthy: plan.unhealthy,
      maxUnhealthy: plan.maxUnhealthy,
      ...compact({ held: plan.held }),
      pauses: pauses.map((pause) => compact({ ...pause })),
      underWay: underWay.map((one) => replacements.object(one)),
      nodes: plan.nodes.map(({ name, role, status, replacement }) =>
        compact({ name, role: roleFromProto(role), phase: status?.phase, replacement: verdictObject(replacement) }),
      ),
    },
  };
}
