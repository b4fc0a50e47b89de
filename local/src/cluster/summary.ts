import type { WriterStatistics } from '../etcd/writer.ts';
import type { EndpointStatistics, KubernetesStatistics } from '../kubernetes/load.ts';
import type { StatusTotals } from './status.ts';

/** The JSON object of `--summary json`. Field names are an interface: they are added to, not renamed. */
export interface Summary {
  nodes: number;
  ready: number;
  certificates: number;
  renewals: number;
  renewalFailures: number;
  /** Certificates that ran out while in use, on any machine: what agents report, or what was seen on the nodes' files, whichever is more. */
  lapses: number;
  /** Those of them that ran out on machines which were then removed: the node was broken, and another machine has its place. No problem by themselves. */
  lapsesReplaced: number;
  /** Machines that were made in the place of removed ones. */
  replacements: number;
  etcdWrites: number;
  etcdWritesFailed: number;
  /** Etcd members that ran with the cluster's certificates; 0 without etcd. */
  etcdMembers: number;
  /** Values read back and compared, and those that were not as written or could not be read. */
  etcdReads: number;
  etcdReadsFailed: number;
  /** TLS connections that the writer made to members, each with the newest certificates; attempts that failed and were made again. */
  etcdConnections: number;
  etcdConnectionAttemptsFailed: number;
  slowestEtcdWriteMs: number;
  /** API servers that came up with the cluster's certificates; 0 without. */
  kubeApiServers: number;
  /** Writes and reads through them; those that needed another endpoint; those that failed for a client that tries every endpoint. */
  kubeRequests: number;
  kubeRequestsRetried: number;
  kubeRequestsFailed: number;
  slowestKubeRequestMs: number;
  /** The same by API server: every single attempt, and how many different certificates it showed. */
  kubeEndpoints: EndpointStatistics[];
  /** API servers that ended by themselves and were started again. */
  kubeApiServerRestarts: number;
  /** New certificates seen on the nodes' files, and keys seen in more than one of them. */
  observedRenewals: number;
  reusedKeys: number;
  /** Processes that ended by themselves and were started again. */
  restarts: number;
  /** Seconds from the start until all nodes were Ready; null when they never were. */
  readyAfterSeconds: number | null;
  seconds: number;
  keyAlgorithm: string;
  layout: string;
  leafLifetimeSeconds: number;
  runDir: string;
  /** Why the exit code is not 0. */
  problems: string[];
}

/** What was seen on the files of all machines that there have been. */
export interface Observed {
  /** On machines that are there. */
  lapses: number;
  lapsesOfRemoved: number;
  renewals: number;
  reusedKeys: number;
}

export interface SummaryInput {
  totals: StatusTotals;
  /** Undefined: there was no writer. */
  writer: WriterStatistics | undefined;
  /** Etcd was wanted, found and yet its writer never began. */
  etcdFailed: boolean;
  etcdMembers: number;
  kubeApiServers: number;
  /** Undefined: there was no request. */
  kubernetes: KubernetesStatistics | undefined;
  /** API servers were wanted, and no request was ever made. */
  kubernetesFailed: boolean;
  kubeApiServerRestarts: number;
  observed: Observed;
  replacements: number;
  restarts: number;
  readyAfterSeconds: number | undefined;
  seconds: number;
  keyAlgorithm: string;
  layout: string;
  leafLifetimeSeconds: number;
  runDir: string;
}

export function summarize(input: SummaryInput): Summary {
  const { totals, writer, kubernetes, observed } = input;
  const lapsesReplaced = Math.max(totals.lapsesOfRemoved, observed.lapsesOfRemoved);
  const summary: Summary = {
    nodes: totals.nodes,
    ready: totals.ready,
    certificates: totals.certificates,
    renewals: totals.renewals,
    renewalFailures: totals.failures,
    lapses: lapsesReplaced + Math.max(totals.lapses - totals.lapsesOfRemoved, observed.lapses),
    lapsesReplaced,
    replacements: input.replacements,
    etcdWrites: writer?.writes ?? 0,
    etcdWritesFailed: writer?.writesFailed ?? 0,
    etcdMembers: input.etcdMembers,
    etcdReads: writer?.reads ?? 0,
    etcdReadsFailed: writer?.readsFailed ?? 0,
    etcdConnections: writer?.connections ?? 0,
    etcdConnectionAttemptsFailed: writer?.connectionAttemptsFailed ?? 0,
    slowestEtcdWriteMs: writer?.slowestWriteMs ?? 0,
    kubeApiServers: input.kubeApiServers,
    kubeRequests: kubernetes?.requests ?? 0,
    kubeRequestsRetried: kubernetes?.retried ?? 0,
    kubeRequestsFailed: kubernetes?.failed ?? 0,
    slowestKubeRequestMs: kubernetes?.slowestMs ?? 0,
    kubeEndpoints: kubernetes?.endpoints ?? [],
    kubeApiServerRestarts: input.kubeApiServerRestarts,
    observedRenewals: observed.renewals,
    reusedKeys: observed.reusedKeys,
    restarts: input.restarts,
    readyAfterSeconds: input.readyAfterSeconds === undefined ? null : round(input.readyAfterSeconds),
    seconds: round(input.seconds),
    keyAlgorithm: input.keyAlgorithm,
    layout: input.layout,
    leafLifetimeSeconds: input.leafLifetimeSeconds,
    runDir: input.runDir,
    problems: [],
  };
  return { ...summary, problems: problemsOf(summary, input) };
}

/** 0 when all went well, 1 when a node is not Ready, a certificate lapsed where no new machine has come, a certificate was made with an old key, or a write, a read or a request to the API servers failed. */
export function exitCodeOf(summary: Pick<Summary, 'problems'>): 0 | 1 {
  return summary.problems.length === 0 ? 0 : 1;
}

function problemsOf(summary: Summary, { etcdFailed, writer, kubernetesFailed, kubernetes }: SummaryInput): string[] {
  const last = lastOf(writer);
  const lapses = summary.lapses - summary.lapsesReplaced;
  const checks: [boolean, string][] = [
    [summary.ready < summary.nodes, `${summary.nodes - summary.ready} of ${summary.nodes} nodes are not Ready`],
    [lapses > 0, `${lapses} certificates ran out while in use`],
    [summary.reusedKeys > 0, `${summary.reusedKeys} keys came back in another certificate`],
    [etcdFailed, 'the etcd cluster did not come up'],
    [summary.etcdWritesFailed > 0, `${summary.etcdWritesFailed} of ${summary.etcdWrites} etcd writes failed${last}`],
    [summary.etcdReadsFailed > 0, `${summary.etcdReadsFailed} of ${summary.etcdReads} reads from etcd failed${last}`],
    [kubernetesFailed && !etcdFailed, 'the API servers did not come up'],
    [
      summary.kubeRequestsFailed > 0,
      `${summary.kubeRequestsFailed} of ${summary.kubeRequests} requests to the API servers failed${lastOf(kubernetes)}`,
    ],
  ];
  return checks.filter(([bad]) => bad).map(([, text]) => text);
}

function lastOf(statistics: { lastError: string | undefined } | undefined): string {
  return statistics?.lastError ? `; the last: ${statistics.lastError}` : '';
}

function round(seconds: number): number {
  return Math.round(seconds * 10) / 10;
}
