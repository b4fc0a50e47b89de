/** A coordinator in this process with a bridge to a real API server, and what a cluster's operator sets up there so that kubelets can bootstrap. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Certificate, ClusterSpec } from '@evercert/proto';
import { unary } from '@evercert/shared/grpc';
import { deadline, startTestCoordinator, type TestCoordinator } from './coordinator.ts';
import type { TestKubernetes } from './kubernetes.ts';
import { repositoryRoot } from './tools.ts';

export function clusterRoleBinding(role: string, subject: { kind: 'Group' | 'User'; name: string }): object {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: { name: `test-${role}-${subject.name}`.replaceAll(':', '-') },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', ...subject }],
  };
}

/** Groups of a bootstrap token's user, as the roles of deploy/ name them. */
export const bootstrapGroups = ['system:bootstrappers', 'system:bootstrappers:kubeadm:default-node-token'];

/** The roles of deploy/: the bridge's own, and those by which bootstrappers ask for nodes' client certificates, and nodes for their own. */
export async function allowBootstrapping(kubernetes: TestKubernetes): Promise<void> {
  for (const file of ['bridge-rbac.yaml', 'bootstrap-rbac.yaml'])
    await kubernetes.create(readFileSync(join(repositoryRoot, 'deploy/kubernetes', file), 'utf8'));
}

export interface BridgedOptions {
  /** The API server; called when the cluster's CA is known, which it may be given as one of its clients' (`clientCas`). */
  kubernetes: (clusterCaPem: string) => Promise<TestKubernetes>;
  spec?: Parameters<typeof ClusterSpec.fromPartial>[0];
  /** Of the bridge's configuration, besides `signers`. */
  bridge?: Record<string, unknown>;
}

export interface Bridged {
  kubernetes: TestKubernetes;
  coordinator: TestCoordinator;
  clusterCaPem: string;
  /** What the coordinator has of a node's certificates, oldest first; all of them without a node. */
  recorded(filter?: { node?: string; name?: string }): Promise<Certificate[]>;
}

/** Cluster `demo` with a bridge. Whoever calls stops both, the coordinator first. */
export async function startBridged({ kubernetes: startKubernetes, spec, bridge }: BridgedOptions): Promise<Bridged> {
  const first = await startTestCoordinator();
  await unary(
    first.admin.createCluster.bind(first.admin),
    { name: 'demo', spec: ClusterSpec.fromPartial({ keyAlgorithm: 'ecdsa-p384', layout: 'kubeadm', leafLifetimeSeconds: 3600, ...spec }) },
    deadline,
  );
  const { certificateAuthorities } = await unary(first.admin.listCertificateAuthorities.bind(first.admin), { cluster: 'demo' }, deadline);
  const clusterCaPem = certificateAuthorities.find(({ name }) => name === 'cluster-ca')?.certificatePem ?? '';
  await first.stop();
  const kubernetes = await startKubernetes(clusterCaPem);
  const kubeconfig = await kubernetes.kubeconfigFor('bridge', { commonName: 'evercert:bridge' });
  const config = { kubernetes: { demo: { kubeconfig, signers: true, ...bridge } } };
  const coordinator = await startTestCoordinator({ dataDir: first.dataDir, config });
  const recorded = async (filter = {}): Promise<Certificate[]> => {
    const all = { cluster: 'demo', node: '', name: '', serial: '', includeSuperseded: true, pageSize: 1000, pageToken: '' };
    const { certificates } = await unary(coordinator.admin.listCertificates.bind(coordinator.admin), { ...all, ...filter }, deadline);
    return certificates.sort((a, b) => Number(a.issuedAt) - Number(b.issuedAt));
  };
  return { kubernetes, coordinator, clusterCaPem, recorded };
}
