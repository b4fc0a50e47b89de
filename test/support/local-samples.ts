/** Samples of what a local cluster's views and summary are made from. */

import type { CertificateView, KubernetesStatistics, NodeView, SummaryInput, ViewModel } from '@evercert/local';
import { CertificateStatus, Node, NodeStatus, Role } from '@evercert/proto';

export const startMs = Date.parse('2026-03-01T12:00:00Z');

/** A certificate of 60 s whose renewal is due after 40 s. */
export function certificateView(changes: Partial<CertificateView> = {}): CertificateView {
  return {
    name: 'apiserver',
    state: 'Ready',
    startMs,
    endMs: startMs + 60_000,
    dueMs: startMs + 40_000,
    renewals: 2,
    failures: 0,
    lapses: 0,
    lastError: '',
    ...changes,
  };
}

const controlPlaneNames = [
  'apiserver',
  'apiserver-kubelet-client',
  'apiserver-etcd-client',
  'front-proxy-client',
  'etcd-server',
  'etcd-peer',
  'etcd-healthcheck-client',
  'controller-manager',
  'scheduler',
  'admin',
  'super-admin',
  'kubelet-client',
  'kubelet-serving',
];

export function nodeViews(): NodeView[] {
  const node = (name: string, role: NodeView['role'], names: string[]): NodeView => ({
    name,
    role,
    phase: 'Ready',
    message: '',
    certificates: names.map((certificate) => certificateView({ name: certificate })),
  });
  const workerNames = ['kubelet-client', 'kubelet-serving'];
  return [
    ...['cp-1', 'cp-2', 'cp-3'].map((name) => node(name, 'control-plane', controlPlaneNames)),
    ...['worker-1', 'worker-2'].map((name) => node(name, 'worker', workerNames)),
  ];
}

export function viewModel(changes: Partial<ViewModel> = {}): ViewModel {
  return {
    nowMs: startMs + 30_000,
    elapsedMs: 95_000,
    clusterName: 'demo',
    runDir: '/home/me/evercert/.evercert-local/2026-03-01T11-58-55Z',
    nodes: nodeViews(),
    coordinators: [],
    totals: { nodes: 5, ready: 5, certificates: 43, renewals: 86, failures: 0, lapses: 0, lapsesOfRemoved: 0 },
    etcd: 'up',
    writer: {
      writes: 1200,
      writesFailed: 0,
      reads: 60,
      readsFailed: 0,
      connections: 90,
      connectionAttemptsFailed: 0,
      slowestWriteMs: 41,
      lastError: undefined,
    },
    kubernetes: 'off',
    load: undefined,
    restarts: 0,
    notices: [{ timeMs: startMs, level: 'info', message: 'all 5 nodes are Ready after 9.1 s' }],
    ...changes,
  };
}

export function summaryInput(changes: Partial<SummaryInput> = {}): SummaryInput {
  const { totals, writer } = viewModel();
  return {
    totals,
    writer,
    etcdFailed: false,
    etcdMembers: 3,
    kubeApiServers: 0,
    kubernetes: undefined,
    kubernetesFailed: false,
    kubeApiServerRestarts: 0,
    observed: { lapses: 0, lapsesOfRemoved: 0, renewals: 86, reusedKeys: 0 },
    replacements: 0,
    restarts: 0,
    readyAfterSeconds: 9.08,
    seconds: 90.04,
    keyAlgorithm: 'ecdsa-p384',
    layout: 'founding',
    leafLifetimeSeconds: 20,
    runDir: '/run',
    ...changes,
  };
}

/** A node as the coordinator answers. */
export function protoNode(name: string, phase: string, certificates: Partial<CertificateStatus>[]): Node {
  const status = NodeStatus.fromPartial({ phase, certificates: certificates.map((each) => CertificateStatus.fromPartial(each)) });
  return Node.fromPartial({ cluster: 'demo', name, role: Role.CONTROL_PLANE, status });
}

export const kubernetesStatistics: KubernetesStatistics = {
  requests: 400,
  writes: 200,
  retried: 2,
  failed: 0,
  slowestMs: 120,
  lastError: 'write 7 through cp-1 failed: Unavailable',
  endpoints: [
    { name: 'cp-1', attempts: 134, failed: 2, leftOut: 1, certificates: 3 },
    { name: 'cp-2', attempts: 134, failed: 0, leftOut: 0, certificates: 3 },
    { name: 'cp-3', attempts: 134, failed: 0, leftOut: 0, certificates: 3 },
  ],
};
