import type { Certificate, Revocation } from '@evercert/proto';
import { apiVersion, type RenewRevocation, type RevocationEntry, revocationApiVersions, valueFields } from '@evercert/shared/manifest';
import type { RevocationReason } from '@evercert/shared/revocation';
import type { AdminApi } from '../client.ts';
import type { DescribedTable, Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { age, expiry, timestamp, timeWithAge } from '../output/time.ts';
import { canonicalSpec } from './canonical.ts';
import { allPages } from './paging.ts';
import type { DescribeContext, Resource } from './types.ts';

/** Matching certificates that `describe` shows. */
const maxShown = 50;

const matchesOf = ({ entries }: Revocation): number => entries.reduce((sum, { matches }) => sum + matches, 0);

/** The object as a document, so that what `get -o yaml` shows can be applied. */
function documentOf(revocation: Revocation): RenewRevocation {
  const entries = revocation.entries.map((entry): RevocationEntry => {
    const { description, reason, value, notBefore } = entry;
    const base = { description, reason: reason as RevocationReason, ...(notBefore && { notBeforeMs: notBefore.getTime() }) };
    const kind = entry.kind as RevocationEntry['kind'];
    if (kind === 'SerialNumber') return { ...base, kind, serialNumber: value, includeSuccessors: entry.includeSuccessors };
    return { ...base, kind, [valueFields[kind]]: value } as RevocationEntry;
  });
  return {
    kind: 'RenewRevocation',
    apiVersion: revocationApiVersions.find((known) => known === revocation.apiVersion) ?? apiVersion,
    metadata: { name: revocation.name, ...(revocation.namespace !== '' && { namespace: revocation.namespace }) },
    spec: { description: revocation.description, revocations: entries },
  };
}

/** Certificates that have not expired and that an entry of this object matches, those in use first. */
async function matching(api: AdminApi, { cluster, name }: Revocation, nowMs: number): Promise<Certificate[]> {
  const filter = { cluster, node: '', name: '', serial: '', includeSuperseded: true, pageSize: 1000 };
  const all = await allPages(async (pageToken) => {
    const { certificates, nextPageToken } = await api.call('listCertificates', { ...filter, pageToken });
    return { items: certificates, nextPageToken };
  });
  return all
    .filter(({ notAfter, revokedBy }) => (notAfter?.getTime() ?? 0) > nowMs && revokedBy.some(({ object }) => object === name))
    .sort((a, b) => Number(b.current) - Number(a.current) || a.node.localeCompare(b.node) || a.name.localeCompare(b.name));
}

function matchTable(found: readonly Certificate[], object: string, nowMs: number): DescribedTable {
  const rows = found
    .slice(0, maxShown)
    .map((one) => [
      one.node,
      one.name,
      one.serial,
      one.current ? 'yes' : 'no',
      expiry(one.notAfter, nowMs),
      one.revokedBy.flatMap((by) => (by.object === object ? [String(by.entry + 1)] : [])).join(','),
    ]);
  if (found.length > maxShown) rows.push([`and ${found.length - maxShown} more`, '', '', '', '', '']);
  return { headers: ['NODE', 'NAME', 'SERIAL', 'IN-USE', 'EXPIRES', 'ENTRY'], rows };
}

async function describe(revocation: Revocation, { api, nowMs }: DescribeContext): Promise<Description> {
  const { name, cluster, namespace, entries, yaml } = revocation;
  return [
    ['Name', name],
    ['Cluster', cluster],
    ['Namespace', namespace],
    ['API Version', revocation.apiVersion],
    ['Description', revocation.description],
    ['Source', revocation.source],
    ['Generation', String(revocation.generation)],
    ['Created', timeWithAge(revocation.createdAt, nowMs)],
    ['Updated', timeWithAge(revocation.updatedAt, nowMs)],
    ['Refusals', `${revocation.refusals} since the coordinator started`],
    [
      'Entries',
      {
        headers: ['ENTRY', 'KIND', 'VALUE', 'NOT-BEFORE', 'REASON', 'MATCHES', 'SUCCESSORS', 'DESCRIPTION'],
        rows: entries.map((entry, index) => [
          String(index + 1),
          entry.kind,
          entry.value,
          entry.notBefore ? timestamp(entry.notBefore) : '<none>',
          entry.reason,
          String(entry.matches),
          entry.kind === 'SerialNumber' ? String(entry.successorSerials.length) : '-',
          orNone(entry.description),
        ]),
      },
    ],
    ['Matching Certificates', matchTable(await matching(api, revocation, nowMs), name, nowMs)],
    ['Document', { text: yaml }],
  ];
}

export const revocations: Resource<Revocation> = {
  kind: 'RenewRevocation',
  singular: 'revocation',
  plural: 'revocations',
  shortNames: ['renewrevocations', 'rr'],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (revocation) => revocation.cluster },
    { header: 'NAME', value: (revocation) => revocation.name },
    { header: 'ENTRIES', value: (revocation) => String(revocation.entries.length) },
    { header: 'MATCHES', value: (revocation) => String(matchesOf(revocation)) },
    { header: 'REFUSALS', show: 'wide', value: (revocation) => String(revocation.refusals) },
    { header: 'AGE', value: (revocation, nowMs) => age(revocation.createdAt, nowMs) },
    { header: 'SOURCE', value: (revocation) => orNone(revocation.source) },
    { header: 'NAMESPACE', show: 'wide', value: (revocation) => orNone(revocation.namespace) },
    { header: 'GENERATION', show: 'wide', value: (revocation) => String(revocation.generation) },
    { header: 'UPDATED', show: 'wide', value: (revocation, nowMs) => `${age(revocation.updatedAt, nowMs)} ago` },
    { header: 'DESCRIPTION', show: 'wide', value: (revocation) => orNone(revocation.description) },
  ],
  name: (revocation) => revocation.name,
  cluster: (revocation) => revocation.cluster,
  list: async (api, { cluster, names }) => {
    const name = cluster !== '' && names.length === 1 ? names[0]! : '';
    return (await api.call('listRevocations', { cluster, name })).revocations;
  },
  watch: { resource: 'revocations', take: ({ object }) => (object?.$case === 'revocation' ? object.value : undefined) },
  object: (revocation) => {
    const { name, cluster, namespace, createdAt, generation, entries } = revocation;
    return {
      apiVersion: revocation.apiVersion,
      kind: 'RenewRevocation',
      metadata: { name, ...compact({ namespace, cluster, creationTimestamp: createdAt, generation }) },
      spec: canonicalSpec(documentOf(revocation)),
      status: {
        matches: matchesOf(revocation),
        refusals: revocation.refusals,
        revocations: entries.map(({ matches, successorSerials }) => ({ matches, ...compact({ successorSerials }) })),
      },
    };
  },
  describe,
};
