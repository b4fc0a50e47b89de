import type { Event } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import type { AdminApi } from '../client.ts';
import type { DescribedTable } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { age } from '../output/time.ts';
import { allPages } from './paging.ts';
import type { Resource, Selection } from './types.ts';

const defaultLimit = 100;
const maxPageSize = 1000;

/** The newest events of a selection, up to its limit. `renewalLog`: only what belongs to a renewal log. */
export async function listEvents(
  api: AdminApi,
  { cluster, node, certificate, reason, limit }: Selection,
  renewalLog = false,
): Promise<Event[]> {
  const most = limit === 0 ? defaultLimit : limit;
  const pageSize = Math.min(most, maxPageSize);
  return allPages(async (pageToken) => {
    const answer = await api.call('listEvents', { cluster, node, certificate, reason, pageSize, pageToken, renewalLog });
    return { items: answer.events, nextPageToken: answer.nextPageToken };
  }, most);
}

function subject(event: Event): string {
  if (event.node === '') return event.certificate === '' ? 'cluster' : `certificate/${event.certificate}`;
  return event.certificate === '' ? `node/${event.node}` : `certificate/${event.node}/${event.certificate}`;
}

export const events: Resource<Event> = {
  kind: 'Event',
  singular: 'event',
  plural: 'events',
  shortNames: ['ev'],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (event) => orNone(event.cluster) },
    { header: 'LAST SEEN', value: (event, nowMs) => age(event.time, nowMs) },
    { header: 'TYPE', value: (event) => event.type },
    { header: 'REASON', value: (event) => event.reason },
    { header: 'OBJECT', value: subject },
    { header: 'ACTOR', show: 'wide', value: (event) => orNone(event.actor) },
    { header: 'SERIAL', show: 'wide', value: (event) => orNone(event.serial) },
    { header: 'SOURCE', show: 'wide', value: (event) => orNone(event.source) },
    { header: 'CODE', show: 'wide', value: (event) => orNone(event.errorCode) },
    { header: 'MESSAGE', value: (event) => event.message },
  ],
  name: (event) => event.id,
  cluster: (event) => event.cluster,
  nodes: (event) => (event.node === '' ? [] : [event.node]),
  selects: (event, { cluster, certificate, reason }) =>
    (cluster === '' || event.cluster === cluster) &&
    (certificate === '' || event.certificate === certificate) &&
    (reason === '' || event.reason === reason),
  // The newest stands last, where a watch goes on.
  compare: (a, b) => (a.time?.getTime() ?? 0) - (b.time?.getTime() ?? 0),
  list: (api, selection) => listEvents(api, selection),
  watch: { resource: 'events', take: ({ object }) => (object?.$case === 'event' ? object.value : undefined) },
  object: (event) => ({
    apiVersion,
    kind: 'Event',
    metadata: { name: event.id, ...compact({ cluster: event.cluster, creationTimestamp: event.time }) },
    spec: compact({
      type: event.type,
      reason: event.reason,
      message: event.message,
      actor: event.actor,
      node: event.node,
      certificate: event.certificate,
      serial: event.serial,
      errorCode: event.errorCode,
      source: event.source,
    }),
  }),
};

/** The last events of a node or certificate, oldest first, for `describe`. */
export async function lastEvents(api: AdminApi, selection: Selection, nowMs: number): Promise<DescribedTable> {
  const found = (await listEvents(api, { ...selection, limit: selection.limit || 20 })).sort((a, b) => events.compare!(a, b));
  return {
    headers: ['TYPE', 'REASON', 'AGE', 'FROM', 'MESSAGE'],
    rows: found.map((event) => [event.type, event.reason, age(event.time, nowMs), orNone(event.actor), event.message]),
  };
}
