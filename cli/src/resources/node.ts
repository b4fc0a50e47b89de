import type { CertificateStatus, Node, NodeCordon } from '@evercert/proto';
import { formatFileMode } from '@evercert/shared/config';
import { apiVersion, type NodeManifest } from '@evercert/shared/manifest';
import { roleFromProto } from '@evercert/shared/wire';
import type { Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { labelText, list, orNone } from '../output/table.ts';
import { age, expiry, timestamp, timeWithAge, timeWithExpiry } from '../output/time.ts';
import { canonicalSpec } from './canonical.ts';
import { lastEvents } from './event.ts';
import { declaredFiles } from './manifest-files.ts';
import { conditionTable, isRevoked } from './node-conditions.ts';
import { machineHistory, verdictLines, verdictObject, verdictOf } from './replacement.ts';
import { type DescribeContext, everything, type Resource } from './types.ts';

const roleOf = (node: Node): string => roleFromProto(node.role) ?? '<unknown>';
const phaseOf = (node: Node): string => node.status?.phase || 'Registered';
/** As kubectl shows cordoned nodes: what else is to be known stands after the phase. */
const statusOf = (node: Node): string =>
  [
    phaseOf(node),
    ...(statusesOf(node).some(isRevoked) && phaseOf(node) !== 'Revoked' ? ['Revoked'] : []),
    ...(node.cordon ? ['Cordoned'] : []),
  ].join(',');
const statusesOf = (node: Node): CertificateStatus[] => node.status?.certificates ?? [];

/** The earliest or latest of the times that there are. */
function extreme(times: readonly (Date | undefined)[], pick: (...values: number[]) => number): Date | undefined {
  const known = times.filter((time) => time !== undefined).map((time) => time.getTime());
  return known.length === 0 ? undefined : new Date(pick(...known));
}

const soonest = (node: Node): Date | undefined =>
  extreme(
    statusesOf(node).map(({ notAfter }) => notAfter),
    Math.min,
  );
const lastRenewal = (node: Node): Date | undefined =>
  extreme(
    statusesOf(node).map(({ lastRenewalAt }) => lastRenewalAt),
    Math.max,
  );
const total = (node: Node, field: 'failures' | 'lapses'): string => String(statusesOf(node).reduce((sum, one) => sum + one[field], 0));

function readyCount(node: Node): string {
  const all = statusesOf(node);
  return `${all.filter(({ state }) => state === 'Ready').length}/${all.length}`;
}

function manifestOf(node: Node): NodeManifest {
  return {
    kind: 'Node',
    metadata: { name: node.name, cluster: node.cluster, labels: node.labels },
    spec: { role: roleFromProto(node.role) ?? 'worker', addresses: node.addresses, dnsNames: node.dnsNames },
  };
}

function cordonText({ cordon }: Node, nowMs: number): string {
  if (!cordon) return 'no';
  const end = cordon.until ? `, until ${timeWithExpiry(cordon.until, nowMs)}` : '';
  return `by ${cordon.by} at ${timeWithAge(cordon.at, nowMs)}${end}${cordon.reason === '' ? '' : `: ${cordon.reason}`}`;
}

/** For tables; a cordon without an end lasts until somebody ends it. */
function cordonEnd(cordon: NodeCordon | undefined): string {
  if (!cordon) return '<none>';
  return cordon.until ? timestamp(cordon.until) : '<no-end>';
}

async function describe(node: Node, { api, nowMs }: DescribeContext): Promise<Description> {
  const { cluster, name, status } = node;
  const [{ manifests }, events, machines] = await Promise.all([
    api.call('listManifests', { cluster, kind: '', name: '' }),
    lastEvents(api, { ...everything, cluster, node: name }, nowMs),
    machineHistory(api, node, nowMs),
  ]);
  return [
    ['Name', name],
    ['Cluster', cluster],
    ['Role', roleOf(node)],
    ['Labels', Object.entries(node.labels).map(([key, value]) => `${key}=${value}`)],
    ['Addresses', node.addresses],
    ['DNS Names', node.dnsNames],
    ['Created', timeWithAge(node.createdAt, nowMs)],
    ['Status', `${phaseOf(node)}${status?.phaseSince ? `, since ${timeWithAge(status.phaseSince, nowMs)}` : ''}`],
    ['Message', status?.message ?? ''],
    ['Cordoned', cordonText(node, nowMs)],
    ['Replacement', verdictLines(node, nowMs)],
    ['Last Seen', timeWithAge(status?.lastSeenAt, nowMs)],
    ['Agent Version', status?.agentVersion ?? ''],
    ['Identity Serial', status?.identitySerial ?? ''],
    ['Identity Expires', timeWithExpiry(status?.identityNotAfter, nowMs)],
    ['Conditions', conditionTable(status, nowMs)],
    [
      'Certificates',
      {
        headers: ['NAME', 'STATE', 'SERIAL', 'EXPIRES', 'RENEWAL', 'ISSUED', 'FAILURES', 'SERVED', 'LAST-ERROR'],
        rows: statusesOf(node).map((one) => [
          one.name,
          one.state,
          orNone(one.serial),
          expiry(one.notAfter, nowMs),
          expiry(one.nextRenewalAt, nowMs).replace(/^expired /, 'due '),
          String(one.issuedTotal),
          String(one.failures),
          orNone(one.served),
          orNone([one.lastErrorCode, one.lastError].filter((part) => part !== '').join(': ')),
        ]),
      },
    ],
    [
      'Trust Bundles',
      {
        headers: ['NAME', 'ISSUER', 'VERSION', 'STATE', 'SERVED', 'LAST-ERROR'],
        rows: (status?.bundles ?? []).map((one) => [
          one.name,
          one.issuer,
          String(one.version),
          orNone(one.state),
          orNone(one.served),
          orNone(one.lastError || one.servedMessage),
        ]),
      },
    ],
    [
      'Revocation Lists',
      {
        headers: ['NAME', 'ISSUER', 'NUMBER', 'STATE', 'LAST-ERROR'],
        rows: (status?.revocationLists ?? []).map((one) => [
          one.name,
          one.issuer,
          String(one.number),
          orNone(one.state),
          orNone(one.lastError),
        ]),
      },
    ],
    [
      'Components',
      {
        headers: ['NAME', 'STATE', 'CHECKED', 'MESSAGE'],
        rows: (status?.components ?? []).map((one) => [
          one.name,
          orNone(one.state),
          `${age(one.checkedAt, nowMs)} ago`,
          orNone(one.message),
        ]),
      },
    ],
    [
      'Files',
      {
        headers: ['PATH', 'MODE', 'OWNER', 'CONTENT', 'MANIFEST'],
        rows: manifests
          .filter((manifest) => manifest.nodes.includes(name))
          .flatMap(declaredFiles)
          .map(({ file, content, manifest }) => [
            file.path,
            formatFileMode(file.mode),
            orNone([file.owner, file.group].filter((part) => part !== undefined).join(':')),
            content,
            manifest,
          ]),
      },
    ],
    ...machines,
    ['Events', events],
  ];
}

export const nodes: Resource<Node> = {
  kind: 'Node',
  singular: 'node',
  plural: 'nodes',
  shortNames: ['no'],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (node) => node.cluster },
    { header: 'NAME', value: (node) => node.name },
    { header: 'ROLE', value: roleOf },
    { header: 'STATUS', watchWidth: 'RenewalFailing,Revoked'.length, value: statusOf },
    { header: 'AGE', value: (node, nowMs) => age(node.createdAt, nowMs) },
    { header: 'CERTIFICATES', value: readyCount },
    { header: 'SOONEST-EXPIRY', watchWidth: 'expired 59s ago'.length, value: (node, nowMs) => expiry(soonest(node), nowMs) },
    {
      header: 'LAST-RENEWAL',
      value: (node, nowMs) => {
        const last = lastRenewal(node);
        return last ? `${age(last, nowMs)} ago` : '<none>';
      },
    },
    { header: 'FAILURES', value: (node) => total(node, 'failures') },
    { header: 'VERSION', value: (node) => orNone(node.status?.agentVersion ?? '') },
    { header: 'LAPSES', show: 'wide', value: (node) => total(node, 'lapses') },
    { header: 'ADDRESSES', show: 'wide', value: (node) => list(node.addresses, 3) },
    { header: 'IDENTITY-EXPIRY', show: 'wide', value: (node, nowMs) => expiry(node.status?.identityNotAfter, nowMs) },
    {
      header: 'LAST-SEEN',
      show: 'wide',
      value: (node, nowMs) => (node.status?.lastSeenAt ? age(node.status.lastSeenAt, nowMs) : '<never>'),
    },
    { header: 'CORDONED-UNTIL', show: 'wide', value: ({ cordon }) => cordonEnd(cordon) },
    { header: 'REPLACEMENT', show: 'wide', value: verdictOf },
    { header: 'LABELS', show: 'wide', value: (node) => labelText(node.labels) },
    { header: 'MESSAGE', show: 'wide', value: (node) => orNone(node.status?.message ?? '') },
  ],
  name: (node) => node.name,
  cluster: (node) => node.cluster,
  labels: (node) => node.labels,
  nodes: (node) => [node.name],
  list: async (api, { cluster, node, names }) => {
    // Without a cluster the same name may be in several.
    const name = cluster === '' ? '' : names.length === 1 ? names[0]! : node;
    return (await api.call('listNodes', { cluster, name })).nodes;
  },
  watch: { resource: 'nodes', take: ({ object }) => (object?.$case === 'node' ? object.value : undefined) },
  // A node that is well reports twice a minute: a watch has a line when there is something to see.
  shown: (node, wide) => ({
    steady: JSON.stringify([
      statusOf(node),
      readyCount(node),
      total(node, 'failures'),
      node.status?.agentVersion,
      wide && [total(node, 'lapses'), node.addresses, node.labels, node.status?.message, verdictOf(node), node.cordon?.until],
    ]),
    times: JSON.stringify([soonest(node), lastRenewal(node), wide && node.status?.identityNotAfter]),
  }),
  object: (node) => ({
    apiVersion,
    kind: 'Node',
    metadata: { name: node.name, ...compact({ cluster: node.cluster, creationTimestamp: node.createdAt, labels: node.labels }) },
    spec: canonicalSpec(manifestOf(node)),
    status: statusObject(node),
  }),
  describe,
};

function statusObject(node: Node): Record<string, unknown> {
  const { status } = node;
  return {
    phase: phaseOf(node),
    ...compact({
      phaseSince: status?.phaseSince,
      message: status?.message,
      cordon: node.cordon && compactMessage(node.cordon),
      replacement: verdictObject(node.replacement),
      lastSeenAt: status?.lastSeenAt,
      agentVersion: status?.agentVersion,
      identity: compact({ serial: status?.identitySerial, notAfter: status?.identityNotAfter }),
      appliedRevision: status?.appliedRevision,
    }),
    conditions: (status?.conditions ?? []).map(compactMessage),
    certificates: statusesOf(node).map(compactMessage),
    bundles: (status?.bundles ?? []).map(compactMessage),
    keyPairs: (status?.keyPairs ?? []).map(compactMessage),
    components: (status?.components ?? []).map(compactMessage),
    revocationLists: (status?.revocationLists ?? []).map(compactMessage),
  };
}

function compactMessage(message: object): Record<string, unknown> {
  return compact({ ...message });
}
