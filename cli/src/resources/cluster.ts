import type { Cluster, ClusterSpec } from '@evercert/proto';
import { formatDuration } from '@evercert/shared/config';
import { apiVersion, type ClusterManifest, defaultClusterPolicy } from '@evercert/shared/manifest';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { list, orNone } from '../output/table.ts';
import { age, timeWithAge, timeWithExpiry } from '../output/time.ts';
import { canonicalSpec } from './canonical.ts';
import type { DescribeContext, Resource } from './types.ts';

const lifetime = (seconds: number | undefined): string => (seconds ? formatDuration(seconds * 1000) : '<none>');

/** The policy as a manifest has it, so that what `get -o yaml` shows can be applied. */
function manifestOf(cluster: Cluster): ClusterManifest {
  const spec = cluster.spec as Partial<ClusterSpec> | undefined;
  return { kind: 'Cluster', metadata: { name: cluster.name }, spec: { ...defaultClusterPolicy, ...spec } as ClusterManifest['spec'] };
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
