import { type Command, Option } from 'commander';
import { line } from '../environment.ts';
import { listOf, renderObject } from '../output/objects.ts';
import { timestamp } from '../output/time.ts';
import { cas, clusters } from '../resources/index.ts';
import { addImportCommand } from './cluster-import.ts';
import { addPolicyOptions, type PolicyOptions, specOf } from './cluster-policy.ts';
import { type CommandContext, withSession } from './session.ts';

interface CreateOptions extends PolicyOptions {
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
    .description('Create clusters, or import those that exist. Show them with "evercert get clusters", change them with "evercert apply".');
  const create = cluster
    .command('create')
    .summary('create a cluster with its CAs and its default manifests')
    .description('Create a cluster: its three CAs and the shipped set of manifests of its layout.')
    .argument('<name>', 'name of the cluster');
  addPolicyOptions(create, { inferred: false })
    .addOption(new Option('-o, --output <format>', 'print the objects').choices(['json', 'yaml']))
    .addHelpText('after', examples)
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { environment } = context;
      await withSession(command, environment, async ({ api }) => {
        const { cluster: created, certificateAuthorities } = await api.call('createCluster', { name, spec: specOf(options) });
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
  addImportCommand(cluster, context);
}
