import type { Certificate, Node } from '@evercert/proto';
import { EvercertError } from '@evercert/shared/errors';
import { apiVersion } from '@evercert/shared/manifest';
import type { AdminApi } from '../client.ts';
import type { DescribedTable, Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { list as listText, orNone } from '../output/table.ts';
import { age, expiry, timeWithAge, timeWithExpiry } from '../output/time.ts';
import { type ListedCertificate, NodeReports, stateOf, watchReports } from './certificate-state.ts';
import { lastEvents } from './event.ts';
import { allPages } from './paging.ts';
import { describeReference, referenceObject, shortReference } from './references.ts';
import { type DescribeContext, everything, type Resource, type Selection } from './types.ts';

const pageSize = 1000;

/** `NODE/NAME`, or a serial number in hexadecimal with or without colons. */
function parseName(text: string): { node: string; name: string; serial: string } {
  const slash = text.indexOf('/');
  if (slash >= 0) return { node: text.slice(0, slash), name: text.slice(slash + 1), serial: '' };
  return { node: '', name: '', serial: text.replaceAll(':', '').toLowerCase() };
}

async function list(api: AdminApi, selection: Selection): Promise<ListedCertificate[]> {
  const [found, nodes] = await Promise.all([listIssued(api, selection), nodesOf(api, selection)]);
  const reports = new NodeReports();
  for (const node of nodes) reports.put(node);
  return found.map((certificate) => reports.join(certificate));
}

/** The nodes whose certificates are wanted; none when the one of this name is gone. */
async function nodesOf(api: AdminApi, { cluster, node }: Selection): Promise<Node[]> {
  try {
    // Without a cluster the same name may be in several.
    return (await api.call('listNodes', { cluster, name: cluster === '' ? '' : node })).nodes;
  } catch (error) {
    if (error instanceof EvercertError && error.code === 'NotFound') return [];
    throw error;
  }
}

async function listIssued(api: AdminApi, { cluster, node, names, superseded }: Selection): Promise<Certificate[]> {
  const only = names.length === 1 ? parseName(names[0]!) : { node: '', name: '', serial: '' };
  return allPages(async (pageToken) => {
    const answer = await api.call('listCertificates', {
      cluster,
      node: only.node || node,
      name: only.name,
      serial: only.serial,
      // A serial number names one certificate, current or not.
      includeSuperseded: superseded || names.some((name) => !name.includes('/')),
      pageSize,
      pageToken,
    });
    return { items: answer.certificates, nextPageToken: answer.nextPageToken };
  });
}

const nameOf = (certificate: Certificate): string => `${certificate.node}/${certificate.name}`;

/** In Kubernetes' form of conditions. */
function revokedCondition({ revokedBy }: Certificate): DescribedTable {
  const headers = ['TYPE', 'STATUS', 'REASON', 'MESSAGE'];
  if (revokedBy.length === 0) return { headers, rows: [['Revoked', 'False', 'NotRevoked', 'no entry matches it']] };
  return { headers, rows: [['Revoked', 'True', 'RenewalRefused', `by ${revokedBy.map(describeReference).join('; ')}`]] };
}

async function describe(certificate: ListedCertificate, { api, nowMs }: DescribeContext): Promise<Description> {
  const { cluster, node, name, reported: status } = certificate;
  const events = await lastEvents(api, { ...everything, cluster, node, certificate: name }, nowMs);
  return [
    ['Name', name],
    ['Node', node],
    ['Cluster', cluster],
    ['Issuer', certificate.issuer],
    ['Serial', certificate.serial],
    ['Subject', certificate.subject],
    ['DNS Names', certificate.dnsNames],
    ['IP Addresses', certificate.ipAddresses],
    ['Usages', certificate.usages],
    ['Key', certificate.keyAlgorithm],
    ['Issued', timeWithAge(certificate.issuedAt, nowMs)],
    ['Not Before', timeWithAge(certificate.notBefore, nowMs)],
    ['Not After', timeWithExpiry(certificate.notAfter, nowMs)],
    ['Current', certificate.current ? 'yes' : 'no, a newer one has succeeded it'],
    ['Reason', certificate.reason],
    ['Conditions', revokedCondition(certificate)],
    ['State', stateOf(certificate, nowMs)],
    ...(status && certificate.current
      ? ([
          ['Next Renewal', timeWithExpiry(status.nextRenewalAt, nowMs)],
          ['Last Renewal', timeWithAge(status.lastRenewalAt, nowMs)],
          ['Issued In All', String(status.issuedTotal)],
          ['Failures', String(status.failures)],
          ['Lapses', String(status.lapses)],
          ['Last Error', [status.lastErrorCode, status.lastError].filter((part) => part !== '').join(': ')],
          ['Seen Served', status.served],
        ] as const)
      : []),
    ['Events', events],
  ];
}

export const certificates: Resource<ListedCertificate> = {
  kind: 'Certificate',
  singular: 'certificate',
  plural: 'certificates',
  shortNames: ['cert', 'certs'],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (certificate) => certificate.cluster },
    { header: 'NODE', value: (certificate) => orNone(certificate.node) },
    { header: 'NAME', value: (certificate) => certificate.name },
    { header: 'ISSUER', value: (certificate) => certificate.issuer },
    { header: 'SERIAL', value: (certificate) => certificate.serial },
    { header: 'STATE', value: stateOf },
    { header: 'CURRENT', show: 'superseded', value: (certificate) => String(certificate.current) },
    { header: 'AGE', value: (certificate, nowMs) => age(certificate.issuedAt, nowMs) },
    { header: 'EXPIRES', value: (certificate, nowMs) => expiry(certificate.notAfter, nowMs) },
    { header: 'KEY', show: 'wide', value: (certificate) => certificate.keyAlgorithm },
    { header: 'REASON', show: 'wide', value: (certificate) => orNone(certificate.reason) },
    { header: 'REVOKED-BY', show: 'wide', value: ({ revokedBy }) => listText(revokedBy.map(shortReference), 3) },
    { header: 'SUBJECT', show: 'wide', value: (certificate) => certificate.subject },
    { header: 'SANS', show: 'wide', value: ({ dnsNames, ipAddresses }) => listText([...dnsNames, ...ipAddresses], 4) },
  ],
  name: nameOf,
  nameForm: 'NODE/NAME, or by serial number',
  cluster: (certificate) => certificate.cluster,
  answersTo: (certificate, name) => name === nameOf(certificate) || parseName(name).serial === certificate.serial,
  nodes: (certificate) => [certificate.node],
  selects: (certificate, { superseded, names }) =>
    certificate.current || superseded || names.some((name) => parseName(name).serial === certificate.serial),
  compare: (a, b) =>
    a.cluster.localeCompare(b.cluster) ||
    a.node.localeCompare(b.node) ||
    a.name.localeCompare(b.name) ||
    (a.issuedAt?.getTime() ?? 0) - (b.issuedAt?.getTime() ?? 0),
  list,
  watch: {
    resource: 'certificates',
    take: ({ object }) => (object?.$case === 'certificate' ? object.value : undefined),
    beside: { resource: 'nodes', start: watchReports },
  },
  object: (certificate) => ({
    apiVersion,
    kind: 'Certificate',
    metadata: {
      name: certificate.name,
      ...compact({ node: certificate.node, cluster: certificate.cluster, creationTimestamp: certificate.issuedAt }),
    },
    spec: compact({
      issuer: certificate.issuer,
      subject: certificate.subject,
      dnsNames: certificate.dnsNames,
      ipAddresses: certificate.ipAddresses,
      usages: certificate.usages,
      keyAlgorithm: certificate.keyAlgorithm,
    }),
    status: compact({
      serial: certificate.serial,
      state: stateOf(certificate),
      current: certificate.current,
      reason: certificate.reason,
      issuedAt: certificate.issuedAt,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      revokedBy: certificate.revokedBy.map(referenceObject),
      certificate: certificate.certificatePem,
    }),
  }),
  describe,
};
