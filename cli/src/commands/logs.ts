import { ChangeType, type Event } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import type { Command } from 'commander';
import { type Environment, line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { printable } from '../output/table.ts';
import { timestamp } from '../output/time.ts';
import { everything, listEvents, nodes, parseTarget } from '../resources/index.ts';
import { type CommandContext, type Session, wholeNumber, withSession } from './session.ts';

interface LogsOptions {
  follow?: boolean;
  tail: string;
}

const examples = `
Examples:
  # What was issued, renewed, refused and what failed on one node, the newest last
  evercert logs node/worker-7
  # The last ten lines, then what comes
  evercert logs node/worker-7 --tail 10 -f

The log is the coordinator's: it is there although the node is not reached, or was deleted. Lines are of "certificate-renewal-controller" for control-plane nodes and of
"certificate-renewal-worker" for workers.`;

export function addLogsCommand(program: Command, context: CommandContext): void {
  program
    .command('logs')
    .summary("show a node's renewal log")
    .description(
      "Show a node's renewal log: issues, renewals, refusals, failures and changes of its health, the newest last; also of a node that was deleted.",
    )
    .argument('<target>', 'node/NAME')
    .argument('[names...]', 'the name, when the target is the type "node"')
    .option('-f, --follow', 'go on with new lines as they come')
    .option('--tail <n>', 'the newest so many, 1 to 10000', '1000')
    .addHelpText('after', examples)
    .action(async (target: string, names: string[], options: LogsOptions, command: Command) => {
      const parsed = parseTarget(target, names);
      const [node] = parsed.names;
      if ((parsed.resource as unknown) !== nodes || node === undefined || parsed.names.length > 1)
        throw usageError('only a node has a renewal log: name one, as node/NAME');
      const tail = wholeNumber(options.tail, '--tail', 1, 10_000);
      const { environment } = context;
      await withSession(command, environment, async (session) => {
        const cluster = session.requireCluster();
        const lines = new LogLines(environment);
        if (options.follow) return follow(session, { cluster, node, tail, lines });
        const found = await recent(session, cluster, node, tail);
        for (const event of found) lines.print(event);
        if (found.length === 0) line(environment.err, `No renewal log of node ${node} in cluster ${cluster}.`);
      });
    });
}

/** Prints each event once: what was listed may come again by the watch. */
class LogLines {
  readonly #environment: Environment;
  readonly #printed = new Set<string>();

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  print(event: Event): void {
    if (this.#printed.has(event.id)) return;
    this.#printed.add(event.id);
    line(this.#environment.out, logLine(event));
  }
}

function logLine({ time, source, type, reason, certificate, errorCode, message }: Event): string {
  const what = [reason, certificate, errorCode].filter((part) => part !== '').join(' ');
  return `${time ? timestamp(time) : '-'}  ${source}  ${type === 'Warning' ? 'W' : 'I'}  ${what}: ${printable(message)}`;
}

async function recent({ api }: Session, cluster: string, node: string, tail: number): Promise<Event[]> {
  return (await listEvents(api, { ...everything, cluster, node, limit: tail }, true)).reverse();
}

async function follow(
  session: Session,
  { cluster, node, tail, lines }: { cluster: string; node: string; tail: number; lines: LogLines },
): Promise<void> {
  const { api } = session;
  let synced = false;
  for await (const { type, object } of api.watch({ cluster, resources: ['events'] })) {
    // The newest events of all nodes come first; those of this node are listed instead, as many as were asked for.
    if (type === ChangeType.SYNCED) {
      for (const event of await recent(session, cluster, node, tail)) lines.print(event);
      synced = true;
      continue;
    }
    const event = type === ChangeType.ADDED && object?.$case === 'event' ? object.value : undefined;
    if (synced && event?.node === node && event.source !== '') lines.print(event);
  }
  throw new EvercertError('Unavailable', 'the server ended the watch: start it again', { metadata: { server: api.server } });
}
