import { ReplacementPolicy } from '@evercert/proto';
import { defaultClusterPolicy, defaultReplacementPolicy, layouts, recoveryPolicies, replacementModes } from '@evercert/shared/manifest';
import { type Command, Option } from 'commander';
import { line } from '../environment.ts';
import { usageError } from '../errors.ts';
import { listOf, renderObject } from '../output/objects.ts';
import { timestamp } from '../output/time.ts';
import { cas, clusters } from '../resources/index.ts';
import { type CommandContext, collect, duration, withSession } from './session.ts';

interface CreateOptions {
  keyAlgorithm?: string;
  layout?: string;
  dnsDomain?: string;
  serviceCidr?: string;
  controlPlaneEndpoint?: string;
  nodeAddressRange?: string[];
  allowedPath?: string[];
  leafLifetime?: string;
  identityLifetime?: string;
  controlPlaneRecovery?: string;
  workerRecovery?: string;
  apiServerExtraSan?: string[];
  replacementProvisioner?: string;
  replacementMode?: string;
  replacementGrace?: string;
  maxUnhealthy?: string;
  output?: 'json' | 'yaml';
}

const examples = `
Examples:
  # ECDSA P-384 throughout, etcd's server certificate from the cluster CA
  evercert cluster create demo --node-address-range 10.0.0.0/16
  # Workers whose renewals failed until expiry are replaced through the coordinator's provisioner "machines"; at first only told of
  evercert cluster create demo --replacement-provisioner machines --replacement-mode dry-run
  # RSA 4096, kubeadm's layout, an endpoint in front of the API servers
  evercert cluster create prod --key-algorithm rsa-4096 --layout kubeadm --control-plane-endpoint api.prod.example:6443`;

export function addClusterCommand(program: Command, context: CommandContext): void {
  const cluster = program
    .command('cluster')
    .description('Create clusters. Show them with "evercert get clusters", change them with "evercert apply".');
  const policy = defaultClusterPolicy;
  cluster
    .command('create')
    .summary('create a cluster with its CAs and its default manifests')
    .description('Create a cluster: its three CAs and the shipped set of manifests of its layout.')
    .argument('<name>', 'name of the cluster')
    .addOption(
      new Option('--key-algorithm <algorithm>', `of the CAs and of leaves (default: ${policy.keyAlgorithm})`).choices([
        'ecdsa-p384',
        'rsa-4096',
      ]),
    )
    .addOption(new Option('--layout <layout>', `set of manifests to start with (default: ${policy.layout})`).choices([...layouts]))
    .option('--dns-domain <domain>', `Kubernetes' cluster domain (default: ${policy.dnsDomain})`)
    .option('--service-cidr <range>', `Kubernetes' service range (default: ${policy.serviceCidr})`)
    .option('--control-plane-endpoint <host[:port]>', 'where the API server is reached by all')
    .option('--node-address-range <range>', 'CIDR range from which nodes may bring addresses of their own; repeatable', collect)
    .option(
      '--allowed-path <folder>',
      `folder in which manifests may place files; repeatable (default: ${policy.allowedPaths.join(', ')})`,
      collect,
    )
    .option('--leaf-lifetime <duration>', 'life of certificates whose manifest says none (default: 96h)')
    .option('--identity-lifetime <duration>', "life of nodes' identities (default: 96h)")
    .addOption(
      new Option(
        '--control-plane-recovery <policy>',
        `who of the control plane may come back on an expired identity (default: ${policy.controlPlaneRecovery})`,
      ).choices([...recoveryPolicies]),
    )
    .addOption(
      new Option(
        '--worker-recovery <policy>',
        `which workers may come back on an expired identity (default: ${policy.workerRecovery})`,
      ).choices([...recoveryPolicies]),
    )
    .option('--api-server-extra-san <name>', 'one more name or address of the API server; repeatable', collect)
    .option('--replacement-provisioner <name>', "provisioner of the coordinator's configuration that replaces workers (default: none)")
    .addOption(
      new Option('--replacement-mode <mode>', `what replacement does (default: ${defaultReplacementPolicy.mode})`).choices([
        ...replacementModes,
      ]),
    )
    .option('--replacement-grace <duration>', 'how long a worker has been expired before it is replaced (default: 10m)')
    .option(
      '--max-unhealthy <count|percent>',
      `no worker is replaced while more than these fail at once (default: ${defaultReplacementPolicy.maxUnhealthy})`,
    )
    .addOption(new Option('-o, --output <format>', 'print the objects').choices(['json', 'yaml']))
    .addHelpText('after', examples)
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { environment } = context;
      const spec = {
        keyAlgorithm: options.keyAlgorithm ?? '',
        layout: options.layout ?? '',
        dnsDomain: options.dnsDomain ?? '',
        serviceCidr: options.serviceCidr ?? '',
        controlPlaneEndpoint: options.controlPlaneEndpoint ?? '',
        nodeAddressRanges: options.nodeAddressRange ?? [],
        allowedPaths: options.allowedPath ?? [],
        leafLifetimeSeconds: seconds(options.leafLifetime, '--leaf-lifetime'),
        identityLifetimeSeconds: seconds(options.identityLifetime, '--identity-lifetime'),
        apiServerExtraSans: options.apiServerExtraSan ?? [],
        controlPlaneRecovery: options.controlPlaneRecovery ?? '',
        workerRecovery: options.workerRecovery ?? '',
        replacement: ReplacementPolicy.fromPartial({
          provisioner: options.replacementProvisioner ?? '',
          mode: options.replacementMode ?? '',
          graceSeconds: seconds(options.replacementGrace, '--replacement-grace'),
          maxUnhealthy: options.maxUnhealthy ?? '',
        }),
        adopt: false,
      };
      await withSession(command, environment, async ({ api }) => {
        const { cluster: created, certificateAuthorities } = await api.call('createCluster', { name, spec });
        if (options.output) {
          const objects = [...(created ? [clusters.object(created)] : []), ...certificateAuthorities.map(cas.object)];
          environment.out(renderObject(listOf(objects), options.output));
          return;
        }
        line(environment.out, `cluster/${created?.name ?? name} created`);
        for (const ca of certificateAuthorities) {
          line(
            environment.out,
            `ca/${ca.name} created: ${ca.keyAlgorithm}, ends ${ca.notAfter ? timestamp(ca.notAfter) : 'never'}, ${ca.publicKeyPin}`,
          );
        }
      });
    });
}

/** 0, the coordinator's default, when the option is absent. */
function seconds(text: string | undefined, option: string): number {
  if (text === undefined) return 0;
  const ms = duration(text, option);
  if (ms % 1000 !== 0) throw usageError(`${option} takes whole seconds, got "${text}"`);
  return ms / 1000;
}
