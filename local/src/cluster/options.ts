import type { ClusterSpec } from '@evercert/proto';
import { type Clock, systemClock } from '@evercert/shared/clock';
import type { Layout } from '../etcd/credentials.ts';
import type { Environment } from '../supervisor/environment.ts';
import type { Notice } from '../supervisor/events.ts';

/** As in a cluster's spec, without the provisioner. */
export type LocalReplacement = Omit<NonNullable<Parameters<typeof ClusterSpec.fromPartial>[0]['replacement']>, 'provisioner'>;

export const maxCoordinators = 5;

export type ClusterKeyAlgorithm = 'ecdsa-p384' | 'rsa-4096';

export interface LocalClusterOptions {
  /** Folder for everything; see prepareRunFolder. Default: a temporary folder, removed by `stop`. */
  runDir?: string;
  /** Name of the cluster; default `demo`. */
  clusterName?: string;
  /** Default 3: cp-1, cp-2, cp-3. */
  controlPlanes?: number;
  /** Default 1. Several share an etcd that is run for them, and need `stateEtcdBinary`. */
  coordinators?: number;
  /** Path of an etcd binary for the state of several coordinators. */
  stateEtcdBinary?: string | undefined;
  /** Default 2: worker-1, worker-2. */
  workers?: number;
  /** Life of leaves; default 60. */
  leafLifetimeSeconds?: number;
  /** Life of nodes' Evercert identities; default as the leaves', at least 60. */
  identityLifetimeSeconds?: number;
  /** Default `ecdsa-p384`. */
  keyAlgorithm?: ClusterKeyAlgorithm;
  /** Default `founding`. */
  layout?: Layout;
  /** Path of an etcd binary: each control-plane node runs a member, and the writer writes. Default: none. */
  etcdBinary?: string | undefined;
  /** Path of a kube-apiserver binary: each control-plane node runs one over its etcd member, and people write and read through all of them. Needs etcd. Default: none. */
  kubeApiServerBinary?: string | undefined;
  /** False: the members run, nothing is written until `startWriter`. Default true. */
  writer?: boolean;
  /** More keys for the coordinator's configuration file. */
  coordinatorConfig?: Record<string, unknown>;
  /** Workers are replaced by this policy: their machines are made and removed by the local cluster itself. Default: nobody is replaced. */
  replacement?: LocalReplacement | undefined;
  /** More fields of the cluster's spec. */
  spec?: Parameters<typeof ClusterSpec.fromPartial>[0];
  /** `HOST:PORT` at which a node's first agent reaches a coordinator, as from behind a proxy. Default: the coordinator's own address. */
  endpointFor?: (node: string, coordinator: string) => string | Promise<string>;
  /** How often agents look at all of their files; default 10. */
  scanIntervalSeconds?: number;
  /** Children that end by themselves are started again; default true. */
  autoRestart?: boolean;
  /** Variables for the first run of a child, by its name: `coordinator` (of several: `coordinator-1`), `cp-1` (the agent), `etcd-cp-1`, `kube-apiserver-cp-1`. */
  env?: Record<string, Environment>;
  /** What the person at the terminal should hear of. */
  onNotice?: (notice: Notice) => void;
  clock?: Clock;
  /** Numbers from 0 to below 1, for ports and the folder's etcd cluster token. */
  random?: () => number;
}

type Optional = 'runDir' | 'stateEtcdBinary' | 'etcdBinary' | 'kubeApiServerBinary' | 'replacement';
export type Settings = Required<Omit<LocalClusterOptions, Optional>> & Pick<LocalClusterOptions, Optional>;

/** The options with every default. */
export function withDefaults(options: LocalClusterOptions): Settings {
  const leafLifetimeSeconds = options.leafLifetimeSeconds ?? 60;
  return {
    clusterName: 'demo',
    coordinators: 1,
    controlPlanes: 3,
    workers: 2,
    identityLifetimeSeconds: Math.max(60, leafLifetimeSeconds),
    keyAlgorithm: 'ecdsa-p384',
    layout: 'founding',
    writer: true,
    coordinatorConfig: {},
    spec: {},
    endpointFor: (_node: string, coordinator: string) => coordinator,
    scanIntervalSeconds: 10,
    autoRestart: true,
    env: {},
    onNotice: (_notice: Notice) => undefined,
    clock: systemClock as Clock,
    random: Math.random,
    ...options,
    leafLifetimeSeconds,
  };
}
