import type { AuditEntry } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import { compact } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { timestamp } from '../output/time.ts';
import type { Resource } from './types.ts';

function subject({ event, details }: AuditEntry): string {
  const node = event?.node || (details['node'] ?? '');
  const certificate = event?.certificate ?? '';
  if (certificate !== '') return `certificate/${node === '' ? '' : `${node}/`}${certificate}`;
  return node === '' ? '<none>' : `node/${node}`;
}

/** Entries of the audit log. They are listed by `evercert audit list`, which has filters of its own. */
export const auditEntries: Omit<Resource<AuditEntry>, 'list'> = {
  kind: 'AuditEntry',
  singular: 'auditentry',
  plural: 'auditentries',
  shortNames: [],
  columns: [
    { header: 'SEQUENCE', value: ({ sequence }) => String(sequence) },
    { header: 'TIME', value: ({ event }) => (event?.time ? timestamp(event.time) : '<unknown>') },
    { header: 'CLUSTER', value: ({ event, details }) => orNone(event?.cluster || (details['cluster'] ?? '')) },
    { header: 'ACTOR', value: ({ event }) => orNone(event?.actor ?? '') },
    { header: 'REASON', value: ({ event }) => event?.reason ?? '' },
    { header: 'OBJECT', value: subject },
    { header: 'SERIAL', show: 'wide', value: ({ event }) => orNone(event?.serial ?? '') },
    { header: 'CODE', show: 'wide', value: ({ event }) => orNone(event?.errorCode ?? '') },
    { header: 'DETAILS', show: 'wide', value: ({ details }) => orNone(shortDetails(details)) },
    { header: 'MESSAGE', value: ({ event }) => event?.message ?? '' },
  ],
  name: ({ sequence }) => String(sequence),
  cluster: ({ event }) => event?.cluster ?? '',
  object: ({ sequence, event, hash, method, details }) => ({
    apiVersion,
    kind: 'AuditEntry',
    metadata: { name: String(sequence), ...compact({ cluster: event?.cluster, creationTimestamp: event?.time }) },
    spec: compact({
      sequence,
      id: event?.id,
      type: event?.type,
      reason: event?.reason,
      message: event?.message,
      actor: event?.actor,
      node: event?.node,
      certificate: event?.certificate,
      serial: event?.serial,
      errorCode: event?.errorCode,
      source: event?.source,
      method,
      details,
      hash,
    }),
  }),
};

/** A table is for looking; whole objects stand in -o json. */
const maxDetail = 40;

function shortDetails(details: Readonly<Record<string, string>>): string {
  return Object.entries(details)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value.length > maxDetail ? `${value.slice(0, maxDetail)}…` : value}`)
    .join(' ');
}
