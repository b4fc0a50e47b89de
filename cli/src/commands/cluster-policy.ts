/** The options that say a cluster's policy, for whoever makes one. */
import { ClusterSpec, ReplacementPolicy } from '@evercert/proto';
import { defaultClusterPolicy, defaultReplacementPolicy, layouts, recoveryPolicies, replacementModes } from '@evercert/shared/manifest';
import { type Command, Option } from 'commander';
import { usageError } from '../errors.ts';
import { collect, duration } from './session.ts';

export interface PolicyOptions {
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
}

/** `inferred`: what is left out is read from the cluster's certificates where they tell it. */
export function addPolicyOptions(command: Command, { inferred }: { inferred: boolean }): Command {
  const policy = defaultClusterPolicy;
  const otherwise = (value: string): string => (inferred ? 'default: what the certificates tell' : `default: ${value}`);
  return command
    .addOption(
      new Option('--key-algorithm <algorithm>', `of the CAs and of leaves (${otherwise(policy.keyAlgorithm)})`).choices([
        'ecdsa-p384',
        'rsa-4096',
      ]),
    )
    .addOption(new Option('--layout <layout>', `set of manifests to start with (${otherwise(policy.layout)})`).choices([...layouts]))
    .option('--dns-domain <domain>', `Kubernetes' cluster domain (${otherwise(policy.dnsDomain)})`)
    .option('--service-cidr <range>', `Kubernetes' service range (${otherwise(policy.serviceCidr)})`)
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
    );
}

/** Zero values stand for the coordinator's defaults. */
export function specOf(options: PolicyOptions): ClusterSpec {
  return ClusterSpec.fromPartial({
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
  });
}

/** 0, the coordinator's default, when the option is absent. */
function seconds(text: string | undefined, option: string): number {
  if (text === undefined) return 0;
  const ms = duration(text, option);
  if (ms % 1000 !== 0) throw usageError(`${option} takes whole seconds, got "${text}"`);
  return ms / 1000;
}
