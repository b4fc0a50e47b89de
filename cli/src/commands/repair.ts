import type { RepairOutcome, RepairPlan, RepairProgress, RepairResponse, Role } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { roleFromProto } from '@evercert/shared/wire';
import { type Command, Option } from 'commander';
import { type Environment, line } from '../environment.ts';
import { list, printable, renderTable } from '../output/table.ts';
import { type CommandContext, clusterArgument, collect, duration, protoDuration, withSession } from './session.ts';

interface RepairOptions {
  node?: string[];
  dryRun?: boolean;
  window?: string;
  output?: 'json';
}

const failedExitCode = 1;

const examples = `
Examples:
  # What is wrong with the control plane, and what would be done
  evercert repair demo --dry-run
  # Bring every control-plane node back
  evercert repair demo
  # One worker, whose window stays open for half an hour
  evercert repair demo --node worker-7 --window 30m

Exit code: 0 when every node is well at the end, 1 otherwise. It can be ended at any time and run again.`;

export function addRepairCommand(program: Command, context: CommandContext): void {
  program
    .command('repair')
    .summary('bring nodes with expired, revoked, missing or broken certificates back')
    .description(
      'Find every control-plane node with expired, revoked, missing or broken certificates, let it come back although its identity has expired, and have it get fresh certificates. One node at a time while etcd has a quorum to lose, all at once where it is lost already. No node is ever removed.',
    )
    .argument('[cluster]', "cluster to repair; by default --cluster or the context's")
    .option('--node <name>', 'only this node, which may be a worker; repeatable', collect)
    .option('--dry-run', 'show what is wrong and what would be done, and end')
    .option('--window <duration>', 'how long each node may come back on an expired identity (default: 10m)')
    .addOption(new Option('-o, --output <format>', 'one JSON object per line: plan, progress, summary').choices(['json']))
    .addHelpText('after', examples)
    .action(async (named: string | undefined, options: RepairOptions, command: Command) => {
      const { environment } = context;
      const windowMs = options.window === undefined ? undefined : duration(options.window, '--window');
      await withSession(command, environment, async (session) => {
        const request = {
          cluster: clusterArgument(command, session, named),
          nodes: options.node ?? [],
          dryRun: options.dryRun ?? false,
          window: windowMs === undefined ? undefined : protoDuration(windowMs),
        };
        const show = options.output === 'json' ? showJson : showText;
        let well: boolean | undefined;
        for await (const { event } of session.api.repair(request)) {
          if (!event) continue;
          show(event, environment);
          if (event.$case === 'plan' && request.dryRun)
            well = event.value.nodes.every(({ findings, action }) => action === 'skip' && findings.length === 0);
          if (event.$case === 'summary') well = event.value.outcomes.every(isWell);
        }
        if (well === undefined)
          throw new EvercertError(
            'Unavailable',
            'the coordinator ended the repair without an outcome: run it again, it goes on where it was',
          );
        if (!well) context.exit(failedExitCode);
      });
    });
}

type Shown = NonNullable<RepairResponse['event']>;

function isWell({ result }: RepairOutcome): boolean {
  return result === 'Repaired' || result === 'Healthy';
}

function showJson(event: Shown, { out }: Environment): void {
  // Words as in every other output, not the numbers of the protocol.
  const named = (key: string, value: unknown): unknown => (key === 'role' ? roleFromProto(value as Role) : value);
  line(out, JSON.stringify({ type: event.$case, ...event.value }, named));
}

function showText(event: Shown, { out }: Environment): void {
  out(textOf(event));
}

function textOf(event: Shown): string {
  switch (event.$case) {
    case 'plan':
      return planText(event.value);
    case 'progress':
      return `${progressText(event.value)}\n`;
    case 'summary':
      return summaryText(event.value.outcomes);
  }
}

function planText({ nodes, strategy }: RepairPlan): string {
  if (nodes.length === 0) return 'The cluster has no control-plane nodes.\n';
  const rows = nodes.map(({ node, action, findings, reason }) => [
    node,
    action,
    String(findings.length),
    printable(reason || findings.slice(0, 3).join('; ')),
  ]);
  const more = nodes.flatMap(({ node, findings }) =>
    findings.length > 3 ? [`${node}:`, ...findings.map((text) => `  ${printable(text)}`)] : [],
  );
  const how = strategy === 'serial' ? 'one node at a time: there is a quorum to keep' : 'all nodes at once: there is no quorum to lose';
  const due = nodes.some(({ action }) => action === 'repair');
  return [
    renderTable(['NODE', 'ACTION', 'FINDINGS', 'WHY'], rows),
    ...(more.length > 0 ? [`\n${more.join('\n')}\n`] : []),
    ...(due ? [`\n${how}\n`] : []),
  ].join('');
}

function progressText({ time, node, certificate, step, message }: RepairProgress): string {
  const at = time ? time.toISOString().slice(11, 19) : '';
  return `${at}  ${node}${certificate ? `/${certificate}` : ''}  ${step}: ${printable(message)}`;
}

function summaryText(outcomes: RepairOutcome[]): string {
  const rows = outcomes.map(({ node, result, certificates, message }) => [node, result, list(certificates, 4), message]);
  return `\n${renderTable(['NODE', 'RESULT', 'ISSUED', 'MESSAGE'], rows)}`;
}
