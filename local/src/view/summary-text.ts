import type { Summary } from '../cluster/summary.ts';

/** The summary for a person. */
export function summaryText(summary: Summary): string {
  const { nodes, ready, certificates, renewals, renewalFailures, lapses, etcdMembers, etcdWrites, etcdWritesFailed } = summary;
  const etcd =
    etcdMembers === 0
      ? 'no etcd'
      : `${etcdWrites} etcd writes, ${etcdWritesFailed} failed, ${summary.etcdReads} read back, over ${summary.etcdConnections} connections (slowest write ${summary.slowestEtcdWriteMs} ms)`;
  return [
    `${ready} of ${nodes} nodes Ready${summary.readyAfterSeconds === null ? '' : `, after ${summary.readyAfterSeconds} s`}`,
    `${certificates} certificates, ${renewals} renewals, ${renewalFailures} failures, ${lapses} lapses, ${summary.reusedKeys} keys used twice`,
    ...(summary.replacements > 0
      ? [`${summary.replacements} broken machines replaced; ${summary.lapsesReplaced} of the lapses were on machines that are gone`]
      : []),
    etcd,
    ...(summary.kubeApiServers > 0 ? [kubernetesText(summary)] : []),
    `${summary.restarts} restarts in ${summary.seconds} s; logs and data: ${summary.runDir}`,
    '',
  ].join('\n');
}

function kubernetesText(summary: Summary): string {
  const { kubeApiServers, kubeRequests, kubeRequestsRetried, kubeRequestsFailed, slowestKubeRequestMs } = summary;
  const each = summary.kubeEndpoints.map(
    ({ name, failed, attempts, certificates }) => `${name} ${failed} of ${attempts}, ${certificates} certificates`,
  );
  return `${kubeRequests} requests to ${kubeApiServers} API servers, ${kubeRequestsRetried} retried, ${kubeRequestsFailed} failed (slowest ${slowestKubeRequestMs} ms); failed attempts: ${each.join('; ')}`;
}
