import type { Cluster, ClusterSpec } from '@evercert/proto';
import { formatDuration } from '@evercert/shared/config';
import {
  apiVersion,
  type ClusterManifest,
  defaultClusterPolicy,
  defaultRotationPolicy,
  formatRfc3339,
  formatTimeOfDay,
} from '@evercert/shared/manifest';
import { replacementPolicyFromProto, rotationPolicyFromProto } from '@evercert/shared/wire';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { labelText, list, orNone } from '../output/table.ts';
import { age, timeWithAge, timeWithExpiry } from '../output/time.ts';
import { canonicalSpec } from './canonical.ts';
import type { DescribeContext, Resource } from './types.ts';

const lifetime = (seconds: number | undefined): string => (seconds ? formatDuration(seconds * 1000) : '<none>');

/** The policy as a manifest has it, so that what `get -o yaml` shows can be applied. */
function manifestOf(cluster: Cluster): ClusterManifest {
  const spec = cluster.spec as Partial<ClusterSpec> | undefined;
  const policy = { ...defaultClusterPolicy, ...spec, replacement: replacementPolicyFromProto(spec?.replacement) };
  return { kind: 'Cluster', metadata: { name: cluster.name }, spec: policy as ClusterManifest['spec'] };
}

/** For `describe`: what is replaced by whom, and within which limits. */
function replacementLines({ spec }: Cluster): string[] {
  const policy = replacementPolicyFromProto(spec?.replacement);
  if (policy.provisioner === '') return ['nobody is replaced: spec.replacement names no provisioner'];
  const duration = (seconds: number): string => formatDuration(seconds * 1000);
  return [
    `by provisioner ${policy.provisioner}, mode ${policy.mode}, ${duration(policy.graceSeconds)} after the end of the certificates`,
    `while at most ${policy.maxUnhealthy} of the workers fail at once; ${policy.maxConcurrent} at a time, ${policy.maxPerHour} an hour`,
    `drain within ${duration(policy.drainTimeoutSeconds)}, join within ${duration(policy.joinTimeoutSeconds)}, else again after ${duration(policy.backoffSeconds)} to ${duration(policy.maxBackoffSeconds)}`,
  ];
}

/** For `describe`: when CAs are rotated, and how. */
function rotationText({ spec }: Cluster): string {
  const { automatic, beforeSeconds, maxConcurrent, settleSeconds } = rotationPolicyFromProto(spec?.rotation) ?? defaultRotationPolicy;
  const begin = automatic ? `by itself ${formatDuration(beforeSeconds * 1000)} before the end of a CA` : 'by an admin alone';
  return `begins ${begin}; ${maxConcurrent} workers at once; ${formatDuration(settleSeconds * 1000)} for components to read their files again`;
}

function windowRows({ spec }: Cluster): string[][] {
  return replacementPolicyFromProto(spec?.replacement).maintenanceWindows.map(({ name, time, selector }) => [
    name,
    time.type === 'once'
      ? `${formatRfc3339(time.fromMs)} to ${formatRfc3339(time.untilMs)}`
      : `${time.days.length === 0 ? 'every day' : time.days.join(',')} from ${formatTimeOfDay(time.startMinutes)} UTC for ${formatDuration(time.durationSeconds * 1000)}`,
    selector.nodes || selector.labels
      ? [...(selector.nodes ?? []), labelText(selector.labels ?? {}).replace('<none>', '')].filter((part) => part !== '').join(',')
      : 'all',
  ]);
}

/** For `describe`: how the bridge to the API server stands. */
function bridgeLines({ kubernetes }: Cluster, nowMs: number): string[] {
  if (!kubernetes) return ['this coordinator has no bridge to its API server'];
  const { server, state, message, lastContactAt, signed, denied, failed } = kubernetes;
  return [
    `${state}${server === '' ? '' : `, ${server}`}${lastContactAt === undefined ? '' : `, last heard ${timeWithAge(lastContactAt, nowMs)}`}`,
    ...(message === '' ? [] : [message]),
    `requests since the coordinator started: ${signed} signed, ${denied} denied, ${failed} failed`,
  ];
}

async function describe(cluster: Cluster, { api, nowMs }: DescribeContext): Promise<Description> {
  const [authorities, { nodes }] = await Promise.all([
    api.call('listCertificateAuthorities', { cluster: cluster.name }),
    api.call('listNodes', { cluster: cluster.name, name: '' }),
  ]);
  const ready = nodes.filter((node) => node.status?.phase === 'Ready').length;
  const { spec } = cluster;
  return [
    ['Name', cluster.name],
    ['UID', cluster.uid],
    ['Created', timeWithAge(cluster.createdAt, nowMs)],
    ['Key Algorithm', spec?.keyAlgorithm ?? ''],
    ['Layout', spec?.layout ?? ''],
    ['DNS Domain', spec?.dnsDomain ?? ''],
    ['Service CIDR', spec?.serviceCidr ?? ''],
    ['Control Plane Endpoint', spec?.controlPlaneEndpoint ?? ''],
    ['API Server Extra SANs', spec?.apiServerExtraSans ?? []],
    ['Node Address Ranges', spec?.nodeAddressRanges ?? []],
    ['Allowed Paths', spec?.allowedPaths ?? []],
    ['Leaf Lifetime', lifetime(spec?.leafLifetimeSeconds)],
    ['Identity Lifetime', lifetime(spec?.identityLifetimeSeconds)],
    ['Replacement', replacementLines(cluster)],
    ['Maintenance Windows', { headers: ['NAME', 'TIME', 'NODES'], rows: windowRows(cluster) }],
    ['CA Rotation', rotationText(cluster)],
    ['Kubernetes', bridgeLines(cluster, nowMs)],
    ['Nodes', `${ready}/${nodes.length} ready`],
    [
      'Certificate Authorities',
      {
        headers: ['NAME', 'KEY', 'EXPIRES', 'PIN'],
        rows: authorities.certificateAuthorities
          .filter((ca) => ca.cluster === cluster.name)
          .map((ca) => [ca.name, ca.keyAlgorithm, timeWithExpiry(ca.notAfter, nowMs), ca.publicKeyPin]),
      },
    ],
  ];
}

export const clusters: Resource<Cluster> = {
  kind: 'Cluster',
  singular: 'cluster',
  plural: 'clusters',
  shortNames: ['cl'],
  columns: [
    { header: 'NAME', value: (cluster) => cluster.name },
    { header: 'LAYOUT', value: (cluster) => orNone(cluster.spec?.layout ?? '') },
    { header: 'KEY-ALGORITHM', value: (cluster) => orNone(cluster.spec?.keyAlgorithm ?? '') },
    { header: 'LEAF-LIFETIME', value: (cluster) => lifetime(cluster.spec?.leafLifetimeSeconds) },
    { header: 'AGE', value: (cluster, nowMs) => age(cluster.createdAt, nowMs) },
    { header: 'ENDPOINT', show: 'wide', value: (cluster) => orNone(cluster.spec?.controlPlaneEndpoint ?? '') },
    { header: 'SERVICE-CIDR', show: 'wide', value: (cluster) => orNone(cluster.spec?.serviceCidr ?? '') },
    { header: 'DNS-DOMAIN', show: 'wide', value: (cluster) => orNone(cluster.spec?.dnsDomain ?? '') },
    { header: 'NODE-RANGES', show: 'wide', value: (cluster) => list(cluster.spec?.nodeAddressRanges ?? [], 2) },
    { header: 'KUBERNETES', show: 'wide', value: (cluster) => orNone(cluster.kubernetes?.state ?? '') },
  ],
  name: (cluster) => cluster.name,
  // The context's cluster does not narrow the list of clusters.
  cluster: () => '',
  list: async (api) => (await api.call('listClusters', {})).clusters,
  watch: { resource: 'clusters', take: ({ object }) => (object?.$case === 'cluster' ? object.value : undefined) },
  object: (cluster) => ({
    apiVersion,
    kind: 'Cluster',
    metadata: { name: cluster.name, ...compact({ uid: cluster.uid, creationTimestamp: cluster.createdAt }) },
    spec: canonicalSpec(manifestOf(cluster)),
  }),
  describe,
};
