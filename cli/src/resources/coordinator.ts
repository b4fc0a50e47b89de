import type { CoordinatorInstance } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { age, timeWithAge } from '../output/time.ts';
import type { DescribeContext, Resource } from './types.ts';

const roleOf = ({ leader }: CoordinatorInstance): string => (leader ? 'leader' : '-');

async function describe(coordinator: CoordinatorInstance, { nowMs }: DescribeContext): Promise<Description> {
  return [
    ['ID', coordinator.id],
    ['Address', coordinator.address],
    ['Leader', coordinator.leader ? 'yes: it runs the controllers' : 'no'],
    ['Nodes', `${coordinator.nodes} connected`],
    ['Version', coordinator.version],
    ['Started', timeWithAge(coordinator.startedAt, nowMs)],
  ];
}

/** Processes that serve on one store: each start has an id of its own. They belong to no cluster. */
export const coordinators: Resource<CoordinatorInstance> = {
  kind: 'Coordinator',
  singular: 'coordinator',
  plural: 'coordinators',
  shortNames: ['coord'],
  columns: [
    { header: 'ADDRESS', value: ({ address }) => address },
    { header: 'ROLE', value: roleOf },
    { header: 'NODES', value: ({ nodes }) => String(nodes) },
    { header: 'AGE', value: ({ startedAt }, nowMs) => age(startedAt, nowMs) },
    { header: 'VERSION', show: 'wide', value: ({ version }) => version },
    { header: 'ID', show: 'wide', value: ({ id }) => id },
  ],
  name: ({ address }) => address,
  nameForm: 'HOST:PORT, or by its id',
  answersTo: ({ address, id }, name) => address === name || id === name,
  cluster: () => '',
  list: async (api) => (await api.call('listCoordinators', {})).coordinators,
  object: ({ id, address, version, startedAt, leader, nodes }) => ({
    apiVersion,
    kind: 'Coordinator',
    metadata: { name: address, ...compact({ uid: id, creationTimestamp: startedAt }) },
    status: compact({ id, address, version, leader, nodes }),
  }),
  describe,
};
