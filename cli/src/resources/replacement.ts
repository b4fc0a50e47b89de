import type { Node, NodeReplacement, Replacement, ReplacementPause } from '@evercert/proto';
import { apiVersion } from '@evercert/shared/manifest';
import type { AdminApi } from '../client.ts';
import type { DescribedTable, Description } from '../output/description.ts';
import { compact } from '../output/objects.ts';
import { orNone } from '../output/table.ts';
import { age, expiry, timeWithAge, timeWithExpiry, twoUnits } from '../output/time.ts';
import { lastEvents } from './event.ts';
import { type DescribeContext, everything, type Resource } from './types.ts';

/** While it has neither succeeded nor been cancelled. */
export const isUnderWay = ({ state }: Replacement): boolean => state === 'Running' || state === 'BackingOff';

const newNodeOf = ({ newNode }: Replacement): string => orNone(newNode);

/** `1m`, the time that a step took; `<unfinished>` while it is being done. */
function taken({ startedAt, finishedAt }: { startedAt: Date | undefined; finishedAt: Date | undefined }): string {
  return startedAt && finishedAt ? twoUnits(finishedAt.getTime() - startedAt.getTime()) : '<unfinished>';
}

function storyOf({ steps }: Replacement, nowMs: number): DescribedTable {
  return {
    headers: ['STEP', 'ATTEMPT', 'RESULT', 'BEGUN', 'TOOK', 'KEY', 'MESSAGE'],
    rows: steps.map((one) => [
      one.step,
      String(one.attempt),
      orNone(one.result),
      `${age(one.startedAt, nowMs)} ago`,
      taken(one),
      orNone(one.idempotencyKey),
      orNone(one.message),
    ]),
  };
}

async function describe(replacement: Replacement, { api, nowMs }: DescribeContext): Promise<Description> {
  const { id, cluster, node } = replacement;
  const events = await lastEvents(api, { ...everything, cluster, node }, nowMs);
  return [
    ['ID', id],
    ['Cluster', cluster],
    ['Node', node],
    ['New Node', replacement.newNode],
    ['Provisioner', replacement.provisioner],
    ['State', replacement.state],
    ['Step', replacement.step],
    ['Attempt', String(replacement.attempt)],
    ['Reason', replacement.reason],
    ['Message', replacement.message],
    ['Begun', timeWithAge(replacement.createdAt, nowMs)],
    ['Finished', timeWithAge(replacement.finishedAt, nowMs)],
    ['Next Attempt', timeWithExpiry(replacement.nextAttemptAt, nowMs).replace('(expired ', '(due ')],
    ['Steps', storyOf(replacement, nowMs)],
    ['Events', events],
  ];
}

/** Room for a node's name in a watch that begins without any. */
const usualName = 12;

export const replacements: Resource<Replacement> = {
  kind: 'Replacement',
  singular: 'replacement',
  plural: 'replacements',
  shortNames: ['rp'],
  columns: [
    { header: 'CLUSTER', show: 'clusters', value: (replacement) => replacement.cluster },
    { header: 'ID', watchWidth: 'rp-0123456789'.length, value: (replacement) => replacement.id },
    { header: 'NODE', watchWidth: usualName, value: (replacement) => replacement.node },
    { header: 'NEW-NODE', watchWidth: usualName, value: newNodeOf },
    { header: 'STATE', watchWidth: 'BackingOff'.length, value: (replacement) => replacement.state },
    { header: 'STEP', watchWidth: 'Verify'.length, value: (replacement) => replacement.step },
    { header: 'ATTEMPT', value: (replacement) => String(replacement.attempt) },
    { header: 'AGE', value: (replacement, nowMs) => age(replacement.createdAt, nowMs) },
    { header: 'PROVISIONER', show: 'wide', value: (replacement) => orNone(replacement.provisioner) },
    {
      header: 'NEXT-ATTEMPT',
      show: 'wide',
      value: (replacement, nowMs) => expiry(replacement.nextAttemptAt, nowMs).replace(/^expired /, 'due '),
    },
    { header: 'REASON', show: 'wide', value: (replacement) => orNone(replacement.reason) },
    { header: 'MESSAGE', show: 'wide', value: (replacement) => orNone(replacement.message) },
  ],
  name: (replacement) => replacement.id,
  cluster: (replacement) => replacement.cluster,
  nodes: ({ node, newNode }) => [node, newNode],
  // The newest stands last, where a watch goes on.
  compare: (a, b) => a.cluster.localeCompare(b.cluster) || (a.createdAt?.getTime() ?? 0) - (b.createdAt?.getTime() ?? 0),
  list: async (api, { cluster, node, names }) =>
    (await api.call('listReplacements', { cluster, id: names.length === 1 ? names[0]! : '', node })).replacements,
  watch: { resource: 'replacements', take: ({ object }) => (object?.$case === 'replacement' ? object.value : undefined) },
  shown: ({ node, newNode, state, step, attempt, message }, wide) => ({
    steady: JSON.stringify([node, newNode, state, step, attempt, wide && message]),
    times: '',
  }),
  object: (replacement) => ({
    apiVersion,
    kind: 'Replacement',
    metadata: { name: replacement.id, ...compact({ cluster: replacement.cluster, creationTimestamp: replacement.createdAt }) },
    spec: compact({ node: replacement.node, provisioner: replacement.provisioner, reason: replacement.reason }),
    status: {
      ...compact({
        state: replacement.state,
        step: replacement.step,
        attempt: replacement.attempt,
        newNode: replacement.newNode,
        message: replacement.message,
        finishedAt: replacement.finishedAt,
        nextAttemptAt: replacement.nextAttemptAt,
      }),
      steps: replacement.steps.map((step) => compact({ ...step })),
    },
  }),
  describe,
};

/** `Held/TooManyUnhealthy`, `Replacing/Drain`; `<none>` where there is nothing to decide. */
export function verdictOf(node: Node): string {
  const { replacement } = node;
  if (!replacement || !isOfNote(node)) return '<none>';
  const detail = replacement.reason === 'UnderWay' ? replacement.step : replacement.reason;
  return [replacement.verdict, detail].filter((part) => part !== '').join('/');
}

/** Something was decided of the node: it fails, or is under way. */
export function isOfNote({ replacement }: Node): boolean {
  if (!replacement) return false;
  const { verdict, reason } = replacement;
  return ['Held', 'Due', 'Replacing'].includes(verdict) || (reason !== '' && reason !== 'NotJoined');
}

/** For `describe node`: the verdict, since when, and what it waits for. */
export function verdictLines(node: Node, nowMs: number): string[] {
  const { replacement } = node;
  if (!replacement || !isOfNote(node)) return [];
  const since = replacement.since ? `, since ${timeWithAge(replacement.since, nowMs)}` : '';
  return [`${verdictOf(node)}${since}`, ...(replacement.message === '' ? [] : [replacement.message])];
}

export function verdictObject(replacement: NodeReplacement | undefined): Record<string, unknown> | undefined {
  return replacement && compact({ ...replacement });
}

/** `by admin/eve at … (2m ago): why`, one for each pause in force. */
export function pauseLines(pauses: readonly ReplacementPause[], nowMs: number): string[] {
  return pauses.map(({ cluster, by, at, reason }) => {
    const scope = cluster === '' ? 'all clusters' : `cluster ${cluster}`;
    return `${scope}, by ${by} at ${timeWithAge(at, nowMs)}${reason === '' ? '' : `: ${reason}`}`;
  });
}

const mostReturns = 5;
/** Where each new machine has a name of its own, the names before it. */
const mostNames = 4;

/** What `describe node` tells of the machines before this one: the replacements, and which of them came back after it had been removed. */
export async function machineHistory(api: AdminApi, { cluster, name }: Node, nowMs: number): Promise<Description> {
  const { replacements: found } = await api.call('listReplacements', { cluster, id: '', node: name });
  const names = [...new Set([name, ...found.map(({ node }) => node)])].slice(0, mostNames);
  const returns = await Promise.all(
    names.map((node) => lastEvents(api, { ...everything, cluster, node, reason: 'RemovedNodeReturned', limit: mostReturns }, nowMs)),
  );
  const rows = returns.flatMap((table) => table.rows);
  return [
    [
      'Replacements',
      {
        headers: ['ID', 'NODE', 'NEW-NODE', 'STATE', 'STEP', 'ATTEMPT', 'AGE', 'MESSAGE'],
        rows: found.map((one) => [
          one.id,
          one.node,
          newNodeOf(one),
          one.state,
          one.step,
          String(one.attempt),
          age(one.createdAt, nowMs),
          orNone(one.message),
        ]),
      },
    ],
    ...(rows.length === 0 ? [] : ([['Removed Machines That Returned', { headers: returns[0]!.headers, rows }]] as const)),
  ];
}
