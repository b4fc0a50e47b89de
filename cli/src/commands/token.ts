import type { CreateTokenResponse } from '@evercert/proto';
import { type RoleName, roles } from '@evercert/shared/manifest';
import { roleToProto } from '@evercert/shared/wire';
import type { Command } from 'commander';
import { Option } from 'commander';
import { stringify } from 'yaml';
import type { AdminApi } from '../client.ts';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { renderObject } from '../output/objects.ts';
import { type OutputFormat, outputFormats } from '../output/printer.ts';
import { everything, tokens } from '../resources/index.ts';
import { showListing } from './listing.ts';
import { type CommandContext, collect, duration, keyValues, protoDuration, wholeNumber, withSession } from './session.ts';

interface CreateOptions {
  role: RoleName;
  nodeName?: string;
  ttl: string;
  uses: string;
  address?: string[];
  dnsName?: string[];
  label?: string[];
  description?: string;
  printAgentConfig?: boolean;
  kubernetes?: boolean;
  groups?: string[];
  output?: 'json' | 'yaml';
}

const examples = `
Examples:
  # One worker of any name, within a day
  evercert token create --role worker
  # A control-plane node whose name and addresses are known, with its agent's configuration
  evercert token create --role control-plane --node-name cp-1 --address 10.0.0.11 --print-agent-config > agent.yaml
  # Ten workers of one zone
  evercert token create --role worker --uses 10 --ttl 2h --label zone=a
  # For kubeadm join and kubelet --bootstrap-kubeconfig, too
  evercert token create --role worker --uses 0 --ttl 2h --kubernetes`;

/** The group that kubeadm's own tokens have, and to which its roles are bound. */
const kubeadmGroup = 'system:bootstrappers:kubeadm:default-node-token';

export function addTokenCommand(program: Command, context: CommandContext): void {
  const token = program.command('token').description('Create, list and delete the tokens with which nodes join.');
  addCreate(token, context);
  token
    .command('list')
    .description('List tokens, as "evercert get tokens".')
    .addOption(new Option('-o, --output <format>', 'output format').choices([...outputFormats]))
    .action(async (options: { output?: OutputFormat }, command: Command) => {
      await withSession(command, context.environment, async (session) => {
        const { cluster } = session;
        const print = {
          format: options.output ?? 'table',
          noHeaders: false,
          clusters: cluster === '',
          superseded: false,
          watchEvents: false,
        } as const;
        await showListing(context, session, { resource: tokens, selection: { ...everything, cluster }, labels: [], print });
      });
    });
  token
    .command('delete')
    .description('Delete tokens. Nodes that have joined with them keep their identities.')
    .argument('<id...>', 'the six characters before the dot, or the whole token')
    .action(async (ids: string[], _options: object, command: Command) => {
      await withSession(command, context.environment, async ({ api }) => {
        for (const id of ids.map((text) => text.split('.')[0]!)) {
          await api.call('deleteToken', { id });
          line(context.environment.out, `token "${id}" deleted`);
        }
      });
    });
}

function addCreate(token: Command, context: CommandContext): void {
  token
    .command('create')
    .summary('create a token and print it, this once')
    .description('Create a token with which a node joins, and print it. It is shown this once: the coordinator keeps its hash only.')
    .addOption(new Option('--role <role>', 'role of the node that joins').choices([...roles]).makeOptionMandatory())
    .option('--node-name <name>', 'only for a node of this name')
    .option('--ttl <duration>', 'how long it can be used, 30 days at most', '24h')
    .option('--uses <n>', 'how many nodes may join with it; 0: any number', '1')
    .option('--address <ip>', "address that may stand in the node's certificates; needs --node-name; repeatable", collect)
    .option('--dns-name <name>', "name that may stand in the node's certificates; needs --node-name; repeatable", collect)
    .option('--label <key=value>', 'label of the node that joins; repeatable', collect)
    .option('--description <text>', 'what it is for')
    .option(
      '--kubernetes',
      "also write it into the cluster's API server as a bootstrap token, until it expires, is deleted or is used up: what Kubernetes does with it is not counted there, and not limited by --uses",
    )
    .option('--groups <group...>', `with --kubernetes: groups of its user there, beside system:bootstrappers (default: "${kubeadmGroup}")`)
    .option('--print-agent-config', "print the agent's configuration, with the token in it, instead of the token")
    .addOption(new Option('-o, --output <format>', 'print token, pin and agent configuration').choices(['json', 'yaml']))
    .addHelpText('after', examples)
    .action(async (options: CreateOptions, command: Command) => {
      const request = {
        role: roleToProto(options.role),
        nodeName: options.nodeName ?? '',
        maxUses: wholeNumber(options.uses, '--uses', 0, 1_000_000),
        description: options.description ?? '',
        labels: keyValues(options.label ?? [], '--label'),
        addresses: options.address ?? [],
        dnsNames: options.dnsName ?? [],
        kubernetes: options.kubernetes ?? false,
        kubernetesGroups: options.kubernetes ? (options.groups ?? [kubeadmGroup]) : [],
      };
      if (options.groups !== undefined && !options.kubernetes) throw usageError('--groups goes with --kubernetes alone');
      if (options.nodeName === undefined && request.addresses.length + request.dnsNames.length > 0) {
        throw usageError('--address and --dns-name register what one node may hold: say which with --node-name');
      }
      const lifetime = protoDuration(duration(options.ttl, '--ttl'));
      await withSession(command, context.environment, async (session) => {
        const { api } = session;
        const created = await api.call('createToken', { ...request, cluster: session.requireCluster(), lifetime });
        const config = (): Promise<Record<string, unknown>> => agentConfiguration(api, created, request.nodeName);
        const { out } = context.environment;
        if (options.output) {
          const object = {
            ...(created.info && tokens.object(created.info)),
            token: created.token,
            caPin: created.caPin,
            caPins: pinsOf(created),
            agentConfig: await config(),
          };
          out(renderObject(object, options.output));
        } else if (options.printAgentConfig) out(stringify(await config()));
        else line(out, created.token);
      });
    });
}

/** What `evercert-agent --config` needs to join. */
async function agentConfiguration(
  api: AdminApi,
  created: Pick<CreateTokenResponse, 'token' | 'caPin' | 'caPins'>,
  nodeName: string,
): Promise<Record<string, unknown>> {
  return {
    coordinator: { endpoints: await endpointsOf(api), caPins: pinsOf(created) },
    ...(nodeName !== '' && { node: { name: nodeName } }),
    token: created.token,
  };
}

/** All coordinators that serve. Their own word for their addresses goes before the one that this command used. */
async function endpointsOf(api: AdminApi): Promise<string[]> {
  const { address } = await api.call('getServerInfo', {});
  // A coordinator of an earlier release is alone, and does not know the question.
  const { coordinators } = await api.call('listCoordinators', {}).catch(() => ({ coordinators: [] }));
  const known = coordinators.map((coordinator) => coordinator.address);
  return known.length > 0 ? known : [address || api.server];
}

/** During a rotation of the control CA, both; a coordinator of an earlier release tells only one. */
function pinsOf({ caPin, caPins }: Pick<CreateTokenResponse, 'caPin' | 'caPins'>): string[] {
  return caPins.length > 0 ? caPins : [caPin];
}
