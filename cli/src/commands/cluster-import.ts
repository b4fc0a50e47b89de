import { resolve } from 'node:path';
import type { ImportClusterRequest, ImportClusterResponse, ImportFinding } from '@evercert/proto';
import { canonicalAddress, parseHostPort } from '@evercert/shared/config';
import { EvercertError } from '@evercert/shared/errors';
import { apiVersion } from '@evercert/shared/manifest';
import { certificatesFromPem, parseCertificate } from '@evercert/shared/x509';
import { type Command, Option } from 'commander';
import { type Environment, line } from '../environment.ts';
import { type FoundCluster, findCluster } from '../import/folder.ts';
import { renderFindings, sortFindings } from '../import/print.ts';
import { renderObject } from '../output/objects.ts';
import { timestamp } from '../output/time.ts';
import { addPolicyOptions, type PolicyOptions, specOf } from './cluster-policy.ts';
import { type CommandContext, collect, withSession } from './session.ts';

interface ImportOptions extends PolicyOptions {
  from: string;
  keys: boolean;
  dryRun?: boolean;
  nodeName?: string;
  nodeAddress?: string[];
  yes?: boolean;
  headers: boolean;
  output?: 'json' | 'yaml';
}

const examples = `
Examples:
  # What is there, and what would be issued instead; nothing is changed
  evercert cluster import prod --from /etc/kubernetes --dry-run
  # The CA keys come along: the coordinator renews from then on
  evercert cluster import prod --from /etc/kubernetes --yes
  # Watch only: the keys stay where they are
  evercert cluster import prod --from /backup/kubernetes/pki --no-keys

Run it on a control-plane node, or on a copy of its folder. The keys go to the coordinator over mTLS and nowhere else; with --dry-run they are checked there and
not kept. The node's certificates are taken over, as they are, when its agent joins; nothing restarts by that.

Exit code of --dry-run: 0 nothing but notes; 1 warnings; 2 errors, which refuse the import. An import with warnings needs --yes (else 6).`;

const dryRunCodes: Record<string, number> = { Error: 2, Warning: 1 };

export function addImportCommand(cluster: Command, context: CommandContext): void {
  const command = cluster
    .command('import')
    .summary("take over a cluster that exists, from kubeadm's folder")
    .description(
      "Take over a cluster that exists: its CAs as they are, with their keys or without, and Kubernetes' service-account key. Certificates in place are compared with what the manifests would issue.",
    )
    .argument('<name>', 'name that the cluster is to have here')
    .requiredOption('--from <dir>', '/etc/kubernetes or /etc/kubernetes/pki of a control-plane node, or a copy')
    .option('--no-keys', 'leave the private keys where they are: certificates are watched, none is renewed')
    .option('--dry-run', 'say what was found and what would be different, change nothing')
    .option('--node-name <name>', "node that the folder is from (default: as etcd's certificate says)")
    .option(
      '--node-address <address>',
      "its address, the advertise address first; repeatable (default: as etcd's certificate says)",
      collect,
    )
    .option('--yes', 'import although there are warnings');
  addPolicyOptions(command, { inferred: true })
    .addOption(new Option('-o, --output <format>', 'print the answer').choices(['json', 'yaml']))
    .option('--no-headers', 'no header line')
    .addHelpText('after', examples)
    .action(async (name: string, options: ImportOptions, self: Command) => {
      const { environment } = context;
      const found = await findCluster(resolve(environment.cwd, options.from), { keys: options.keys });
      const request = requestOf(name, options, found);
      await withSession(self, environment, async ({ api }) => {
        const look = await api.call('importCluster', { ...request, dryRun: true });
        const findings = sortFindings([...look.findings, ...found.findings]);
        if (!options.output) environment.out(renderFindings(findings, !options.headers));
        if (options.dryRun) {
          if (options.output) printObject(environment, look, findings, options.output);
          context.exit(dryRunCodes[findings[0]?.severity ?? ''] ?? 0);
          return;
        }
        confirm(name, findings, options.yes ?? false);
        const done = await api.call('importCluster', request);
        if (options.output) printObject(environment, done, findings, options.output);
        else printDone(environment, name, done);
      });
    });
}

function requestOf(name: string, options: ImportOptions, found: FoundCluster): ImportClusterRequest {
  const { authorities, serviceAccountKeyPem, certificates } = found;
  const spec = specOf(options);
  const nodeAddresses = options.nodeAddress ?? [];
  return {
    name,
    spec: { ...spec, controlPlaneEndpoint: spec.controlPlaneEndpoint || endpointOf(found, nodeAddresses) },
    authorities,
    serviceAccountKeyPem,
    certificates,
    nodeName: options.nodeName ?? '',
    nodeAddresses,
    dryRun: false,
  };
}

/** Where admin.conf reaches the API server, unless that is this node alone. */
function endpointOf({ server, certificates }: FoundCluster, nodeAddresses: readonly string[]): string {
  const host = parseHostPort(server)?.host;
  if (host === undefined) return '';
  const own = new Set(nodeAddresses.map((address) => canonicalAddress(address) ?? address));
  const etcd = certificates.find(({ path }) => path.endsWith('/etcd/server.crt'));
  if (etcd) for (const address of parseCertificate(certificatesFromPem(etcd.certificatePem)[0]!).ipAddresses) own.add(address);
  const isAddress = canonicalAddress(host) !== undefined;
  // An address of which nothing tells whether it is the node's own says too little.
  return isAddress && (own.has(canonicalAddress(host)!) || own.size === 0) ? '' : server;
}

function confirm(name: string, findings: readonly ImportFinding[], yes: boolean): void {
  const count = (severity: string): number => findings.filter((one) => one.severity === severity).length;
  if (count('Error') > 0)
    throw new EvercertError('InvalidArgument', `cluster ${name} was not imported: put the ${count('Error')} errors above right first`);
  if (count('Warning') > 0 && !yes) {
    throw new EvercertError(
      'FailedPrecondition',
      `cluster ${name} was not imported: look at the warnings above, then confirm them with --yes`,
    );
  }
}

function printObject(
  environment: Environment,
  { cluster, certificateAuthorities }: ImportClusterResponse,
  findings: ImportFinding[],
  format: 'json' | 'yaml',
): void {
  const cas = certificateAuthorities.map(({ name, serial, keyAlgorithm, notAfter, publicKeyPin, watchOnly }) => ({
    name,
    serial,
    keyAlgorithm,
    notAfter: notAfter && timestamp(notAfter),
    publicKeyPin,
    watchOnly,
  }));
  environment.out(
    renderObject(
      { apiVersion, kind: 'ClusterImport', metadata: { name: cluster?.name }, spec: cluster?.spec, certificateAuthorities: cas, findings },
      format,
    ),
  );
}

function printDone({ out }: Environment, name: string, { cluster, certificateAuthorities }: ImportClusterResponse): void {
  line(out, `cluster/${cluster?.name ?? name} imported`);
  for (const ca of certificateAuthorities) {
    const how = ca.watchOnly ? 'watched only' : 'taken over';
    line(out, `ca/${ca.name} ${how}: ${ca.keyAlgorithm}, ends ${ca.notAfter ? timestamp(ca.notAfter) : 'never'}, ${ca.publicKeyPin}`);
  }
  line(
    out,
    `Next, for each node: evercert token create --cluster ${name} --role control-plane --node-name NODE --address ADDRESS, and start its agent with it.`,
  );
}
