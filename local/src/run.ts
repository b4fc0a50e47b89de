import { join } from 'node:path';
import type { Clock } from '@evercert/shared/clock';
import { EvercertError } from '@evercert/shared/errors';
import { type LocalCluster, prepareLocalCluster } from './cluster/cluster.ts';
import { replacementFor } from './cluster/replacement.ts';
import { exitCodeOf, type Summary } from './cluster/summary.ts';
import { etcdMissing, findEtcd, stateEtcdMissing } from './etcd/binary.ts';
import { findKubeApiServer, kubeApiServerMissing } from './kubernetes/binary.ts';
import { pause } from './loop.ts';
import type { RunOptions } from './run-options.ts';
import { StopRequests } from './stop.ts';
import type { Notice } from './supervisor/events.ts';
import { LiveView, PlainView, type View } from './view/live.ts';
import type { ViewModel } from './view/model.ts';
import { summaryText } from './view/summary-text.ts';

export interface RunSurroundings {
  clock: Clock;
  stdout: NodeJS.WriteStream;
  stderr: NodeJS.WriteStream;
  env: NodeJS.ProcessEnv;
}

const keptNotices = 50;
const finalStatusTries = 10;

/** Runs a local cluster until its time is over or somebody stops it; shows it, prints the summary and returns the exit code. Everything it started has ended by then. */
export async function runCluster(
  options: RunOptions & { runDir: string },
  { clock, stdout, stderr, env }: RunSurroundings,
): Promise<number> {
  const begunMs = clock.monotonicMs();
  const etcdBinary = options.etcd ? findEtcd(env) : undefined;
  const stateEtcdBinary = options.coordinators > 1 ? findEtcd(env) : undefined;
  if (options.coordinators > 1 && stateEtcdBinary === undefined) throw new EvercertError('NotFound', stateEtcdMissing);
  const kubeApiServerBinary = options.kubeApiServer === true ? findKubeApiServer(env) : options.kubeApiServer;
  if (options.kubeApiServer === true && kubeApiServerBinary === undefined) throw new EvercertError('NotFound', kubeApiServerMissing);
  const notices: Notice[] = [];
  let view: View | undefined;
  const onNotice = (notice: Notice): void => {
    notices.push(notice);
    if (notices.length > keptNotices) notices.shift();
    view?.notice(notice);
  };
  const { runDir, keyAlgorithm, layout, coordinators, workers, leafLifetimeSeconds } = options;
  const replacement = replacementFor(leafLifetimeSeconds);
  const common = { runDir, keyAlgorithm, layout, coordinators, stateEtcdBinary, workers, leafLifetimeSeconds };
  const cluster = await prepareLocalCluster({ ...common, replacement, etcdBinary, kubeApiServerBinary, onNotice, clock });
  // Under npm the parent is the wrapper that npm runs.
  const stop = new StopRequests({ clock, onImpatience: () => cluster.killAll(), endWithParent: env['npm_lifecycle_event'] !== undefined });
  try {
    view = openView({ clock, stdout, env }, () => modelOf(cluster, notices, clock));
    onNotice({ timeMs: clock.nowMs(), level: 'info', message: `everything of this run is in ${runDir}` });
    const context = join(cluster.coordinator.adminDir, 'config.yaml');
    onNotice({ timeMs: clock.nowMs(), level: 'info', message: `for the evercert command: export EVERCERT_CONFIG=${context}` });
    if (options.etcd && etcdBinary === undefined) onNotice({ timeMs: clock.nowMs(), level: 'warn', message: etcdMissing });
    await live(cluster, options.durationMs === undefined ? undefined : begunMs + options.durationMs, { clock, signal: stop.signal });
    const summary = await conclude(cluster, clock, stop.signal);
    await cluster.stop();
    view.end();
    for (const problem of summary.problems) stderr.write(`problem: ${problem}\n`);
    stdout.write(options.summary === 'json' ? `${JSON.stringify(summary)}\n` : summaryText(summary));
    return exitCodeOf(summary);
  } finally {
    await cluster.stop();
    view?.end();
    stop.release();
  }
}

/** Starts the cluster and stays until the time is over or a stop is asked for, whichever is first. */
async function live(
  cluster: LocalCluster,
  endMs: number | undefined,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<void> {
  const over = new AbortController();
  const timer = endMs === undefined ? undefined : clock.after(Math.max(0, endMs - clock.monotonicMs()), () => over.abort());
  const ended = AbortSignal.any([signal, over.signal]);
  try {
    const starting = cluster.start();
    const cut = new Promise<'cut'>((resolve) => ended.addEventListener('abort', () => resolve('cut'), { once: true }));
    if ((await Promise.race([starting, cut])) === 'cut') {
      // The stop that follows ends the start too, by Cancelled or by a call that finds nobody.
      await Promise.allSettled([cluster.stop(), starting]);
      return;
    }
    while (!ended.aborted) await pause(clock, 60_000, ended);
  } finally {
    timer?.cancel();
  }
}

/** The last look at everything, while it still runs. */
async function conclude(cluster: LocalCluster, clock: Clock, signal: AbortSignal): Promise<Summary> {
  await cluster.stopWriter();
  for (let i = 1; cluster.stopping === false; i++) {
    try {
      await cluster.refresh();
      // After it: a renewal that has been reported by then is on the disk.
      await cluster.observe();
      break;
    } catch (error) {
      if (!(error instanceof EvercertError) || i >= finalStatusTries) throw error;
      await pause(clock, 500, signal);
    }
  }
  return cluster.summary();
}

function openView({ clock, stdout, env }: Pick<RunSurroundings, 'clock' | 'stdout' | 'env'>, model: () => ViewModel): View {
  if (stdout.isTTY && env['TERM'] !== 'dumb') return new LiveView(stdout, clock, model, !env['NO_COLOR']);
  return new PlainView((line) => stdout.write(`${line}\n`), clock, model);
}

function modelOf(cluster: LocalCluster, notices: readonly Notice[], clock: Clock): ViewModel {
  return {
    nowMs: clock.nowMs(),
    elapsedMs: cluster.elapsedMs,
    clusterName: cluster.name,
    runDir: cluster.folder.path,
    nodes: cluster.book.nodes,
    coordinators: cluster.coordinators.views,
    totals: cluster.book.totals(),
    etcd: cluster.etcdState,
    writer: cluster.writerStatistics,
    kubernetes: cluster.kubernetesState,
    load: cluster.kubernetesStatistics,
    restarts: cluster.restarts,
    notices,
  };
}
