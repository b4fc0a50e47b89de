import type { Token } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import { roleFromProto } from '@evercert/shared/wire';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { labelText, orNone } from '../output/table.ts';
import { age, expiry, timeWithAge, timeWithExpiry } from '../output/time.ts';
import type { DescribeContext, Resource } from './types.ts';

const roleOf = (token: Token): string => roleFromProto(token.role) ?? '<unknown>';
const usesOf = (token: Token): string => `${token.uses}/${token.maxUses === 0 ? 'unlimited' : token.maxUses}`;

async function describe(token: Token, { nowMs }: DescribeContext): Promise<Description> {
  return [
    ['ID', token.id],
    ['Cluster', token.cluster],
    ['Role', roleOf(token)],
    ['Node', token.nodeName === '' ? '<any>' : token.nodeName],
    ['Uses', usesOf(token)],
    ['Created', timeWithAge(token.createdAt, nowMs)],
    ['Expires', timeWithExpiry(token.expiresAt, nowMs)],
    ['Kubernetes', token.kubernetes ? ['system:bootstrappers', ...token.kubernetesGroups].join(', ') : '<none>'],
    ['Labels', Object.entries(token.labels).map(([key, value]) => `${key}=${value}`)],
    ['Description', token.description],
  ];
}

export const tokens: Resource<Token> = {
  kind: 'Token',
  singular: 'token',
  plural: 'tokens',
  shortNames: [],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (token) => token.cluster },
    { header: 'ID', value: (token) => token.id },
    { header: 'ROLE', value: roleOf },
    { header: 'NODE', value: (token) => (token.nodeName === '' ? '<any>' : token.nodeName) },
    { header: 'USES', value: usesOf },
    { header: 'EXPIRES', value: (token, nowMs) => expiry(token.expiresAt, nowMs) },
    { header: 'AGE', value: (token, nowMs) => age(token.createdAt, nowMs) },
    { header: 'KUBERNETES', show: 'wide', value: (token) => (token.kubernetes ? 'yes' : 'no') },
    { header: 'LABELS', show: 'wide', value: (token) => labelText(token.labels) },
    { header: 'DESCRIPTION', value: (token) => orNone(token.description) },
  ],
  name: (token) => token.id,
  cluster: (token) => token.cluster,
  labels: (token) => token.labels,
  nodes: (token) => [token.nodeName],
  list: async (api, { cluster }) => (await api.call('listTokens', { cluster })).tokens,
  watch: { resource: 'tokens', take: ({ object }) => (object?.$case === 'token' ? object.value : undefined) },
  object: (token) => ({
    apiVersion,
    kind: 'Token',
    metadata: { name: token.id, ...compact({ cluster: token.cluster, creationTimestamp: token.createdAt, labels: token.labels }) },
    spec: compact({
      role: roleFromProto(token.role),
      nodeName: token.nodeName,
      expiresAt: token.expiresAt,
      maxUses: token.maxUses,
      description: token.description,
      ...(token.kubernetes && { kubernetes: { groups: token.kubernetesGroups } }),
    }),
    status: { uses: token.uses },
  }),
  describe,
};
