/** A whole cluster on this machine, for `npm start`, for tests and for benchmarks. */
export { AdminApi } from './cluster/admin.ts';
export { type LocalCluster, prepareLocalCluster, startLocalCluster } from './cluster/cluster.ts';
export { LocalCoordinator } from './cluster/coordinator.ts';
export type { AgentSettings, LocalNode, NodeRole } from './cluster/node.ts';
export { CertificateObserver, type ObservedFile } from './cluster/observer.ts';
export type { ClusterKeyAlgorithm, LocalClusterOptions, LocalReplacement } from './cluster/options.ts';
export { replacementFor } from './cluster/replacement.ts';
export { type CertificateView, type NodeView, StatusBook, type StatusTotals } from './cluster/status.ts';
export { exitCodeOf, type Summary, type SummaryInput, summarize } from './cluster/summary.ts';
export { etcdMissing, findEtcd } from './etcd/binary.ts';
export { type ClientFiles, etcdClientFiles, type Layout } from './etcd/credentials.ts';
export { type MemberHealth, memberHealth } from './etcd/health.ts';
export { type EtcdEndpoint, type EtcdMemberOptions, etcdArguments } from './etcd/member.ts';
export { EtcdWriter, type WriterMember, type WriterOptions, type WriterStatistics } from './etcd/writer.ts';
export { findExecutable } from './executables.ts';
export { type KubeApiServerOptions, kubeApiServerArguments, kubeApiServerFiles } from './kubernetes/api-server.ts';
export { findKubeApiServer, findKubernetesBinary, kubeApiServerMissing } from './kubernetes/binary.ts';
export { type KubeconfigCredential, readKubeconfig } from './kubernetes/kubeconfig.ts';
export {
  type EndpointStatistics,
  type KubernetesEndpoint,
  KubernetesLoad,
  type KubernetesLoadOptions,
  type KubernetesStatistics,
} from './kubernetes/load.ts';
export { type KubernetesRequest, type KubernetesResponse, sendOnce } from './kubernetes/request.ts';
export { pause, repeat, type WaitOptions, waitUntil } from './loop.ts';
export { type MachineApi, serveMachines } from './machines/api.ts';
export { Fleet, type FleetOptions, type FleetTally } from './machines/fleet.ts';
export { MachineHost, type MachineHostOptions } from './machines/host.ts';
export { ActionJournal, type JournalEntry } from './machines/journal.ts';
export type { MachineKeeper, MachineOrder, MachineView } from './machines/types.ts';
export { isUsage, parseRunOptions, type RunOptions, type Usage } from './run-options.ts';
export { childEnvironment, type Environment } from './supervisor/environment.ts';
export type { Notice, Notify } from './supervisor/events.ts';
export { freePort } from './supervisor/ports.ts';
export { type ProcessExit, type ProcessSpec, SupervisedProcess } from './supervisor/process.ts';
export { newRunFolder, prepareRunFolder, type RunFolder, timestampName } from './supervisor/run-folder.ts';
export { clip, fit, widthOf, withColour, withoutColour } from './view/ansi.ts';
export { colourOf, lifeBar, lifeBlock } from './view/bar.ts';
export { LiveView, PlainView, type Terminal } from './view/live.ts';
export { plainLine, type ViewModel } from './view/model.ts';
export { summaryText } from './view/summary-text.ts';
export { renderTable } from './view/table.ts';
