import type { CoordinatorView } from '../cluster/coordinators.ts';
import type { KubernetesState } from '../cluster/kubernetes.ts';
import type { NodeView, StatusTotals } from '../cluster/status.ts';
import type { WriterStatistics } from '../etcd/writer.ts';
import type { KubernetesStatistics } from '../kubernetes/load.ts';
import type { Notice } from '../supervisor/events.ts';

/** All that one picture shows. */
export interface ViewModel {
  nowMs: number;
  elapsedMs: number;
  clusterName: string;
  runDir: string;
  nodes: readonly NodeView[];
  /** Empty where there is one alone. */
  coordinators: readonly CoordinatorView[];
  totals: StatusTotals;
  etcd: 'off' | 'starting' | 'up' | 'failed';
  writer: WriterStatistics | undefined;
  kubernetes: KubernetesState;
  load: KubernetesStatistics | undefined;
  restarts: number;
  /** Oldest first. */
  notices: readonly Notice[];
}

/** `00:01:23` */
export function clockText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(part).padStart(2, '0')).join(':');
}

/** `12:34:56` of a time, UTC. */
export function timeOfDay(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}

export function etcdText({ etcd, writer }: ViewModel): string {
  if (etcd === 'off') return 'etcd: none';
  if (etcd === 'failed') return 'etcd: did not come up';
  if (!writer) return etcd === 'up' ? 'etcd: up' : 'etcd: starting';
  return `etcd: ${writer.writes} writes, ${writer.writesFailed} failed, ${writer.connections} connections`;
}

/** Begins what follows `etcdText` in the same line; empty without API servers. */
export function kubernetesText({ kubernetes, load }: ViewModel): string {
  if (kubernetes === 'off') return '';
  if (kubernetes === 'failed') return '; kube-apiserver: did not come up';
  if (!load) return `; kube-apiserver: ${kubernetes}`;
  return `; kube-apiserver: ${load.requests} requests, ${load.retried} retried, ${load.failed} failed`;
}

/** Empty where there is one coordinator alone. */
export function coordinatorsText({ coordinators }: ViewModel): string {
  if (coordinators.length === 0) return '';
  const each = coordinators.map(({ name, serves, leads, nodes }) => {
    if (!serves) return `${name} is down`;
    return `${name}${leads ? ' leads' : ''} (${nodes} ${nodes === 1 ? 'node' : 'nodes'})`;
  });
  return `coordinators: ${each.join(', ')}`;
}

export function statusText({ totals, restarts }: ViewModel): string {
  const { ready, nodes, certificates, renewals, failures, lapses, lapsesOfRemoved } = totals;
  const gone = lapsesOfRemoved > 0 ? ` (${lapsesOfRemoved} on removed machines)` : '';
  const more = gone + (restarts > 0 ? `, ${restarts} restarts` : '');
  return `${ready}/${nodes} nodes Ready, ${certificates} certificates, ${renewals} renewals, ${failures} failures, ${lapses} lapses${more}`;
}

/** One line for a log. */
export function plainLine(model: ViewModel): string {
  const coordinators = coordinatorsText(model);
  const more = coordinators === '' ? '' : `; ${coordinators}`;
  return `[${clockText(model.elapsedMs)}] ${statusText(model)}; ${etcdText(model)}${kubernetesText(model)}${more}`;
}
