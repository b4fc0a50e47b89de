/** What an agent costs while nothing is due: resident memory and CPU, with at least ten certificates in its care. */
import { startLocalCluster } from '@evercert/local';
import { systemClock } from '@evercert/shared/clock';
import { cpuMsOf, median, rssKibOf } from './cpu.ts';

export interface AgentResult {
  certificates: number;
  /** Median over the time of rest. */
  rssMib: number;
  /** Part of one core, in percent. */
  cpuPercent: number;
  restSeconds: number;
}

export async function benchAgent(restSeconds: number): Promise<AgentResult> {
  const cluster = await startLocalCluster({ controlPlanes: 1, workers: 0, leafLifetimeSeconds: 96 * 3600, scanIntervalSeconds: 30 });
  try {
    await cluster.waitUntilReady(60_000);
    const [node] = cluster.nodes;
    const pid = node?.agent.pid;
    const certificates = cluster.book.nodes[0]?.certificates.length ?? 0;
    if (pid === undefined) throw new Error('the agent does not run');
    await systemClock.sleep(5000);
    const [before, start] = [cpuMsOf(pid), performance.now()];
    const samples: number[] = [];
    for (let second = 0; second < restSeconds; second++) {
      await systemClock.sleep(1000);
      samples.push(rssKibOf(pid));
    }
    const cpuPercent = ((cpuMsOf(pid) - before) / (performance.now() - start)) * 100;
    return { certificates, rssMib: median(samples) / 1024, cpuPercent, restSeconds };
  } finally {
    await cluster.stop();
  }
}
