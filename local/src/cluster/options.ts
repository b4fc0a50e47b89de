import type { Clock } from '@evercert/shared/clock';
import type { Layout } from '../etcd/credentials.ts';
import type { Environment } from '../supervisor/environment.ts';
import type { Notice } from '../supervisor/events.ts';

export type ClusterKeyAlgorithm = 'ecdsa-p384' | 'rsa-4096';

export interface LocalClusterOptions {
  /** Folder for everything; see prepareRunFolder. Default: a temporary folder, removed by `stop`. */
  runDir?: string;
  /** Name of the cluster; default `demo`. */
  clusterName?: string;
  /** Default 3: cp-1, cp-2, cp-3. */
  controlPlanes?: number;
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
  /** False: the members run, nothing is written until `startWriter`. Default true. */
  writer?: boolean;
  /** More keys for the coordinator's configuration file. */
  coordinatorConfig?: Record<string, unknown>;
  /** How often agents look at all of their files; default 10. */
  scanIntervalSeconds?: number;
  /** Children that end by themselves are started again; default true. */
  autoRestart?: boolean;
  /** Variables for the first run of a child, by its name: `coordinator`, `cp-1` (the agent), `etcd-cp-1`. */
  env?: Record<string, Environment>;
  /** What the person at the terminal should hear of. */
  onNotice?: (notice: Notice) => void;
  clock?: Clock;
  /** Numbers from 0 to below 1, for ports and the folder's etcd cluster token. */
  random?: () => number;
}

export type Settings = Required<Omit<LocalClusterOptions, 'runDir' | 'etcdBinary'>> & Pick<LocalClusterOptions, 'runDir' | 'etcdBinary'>;
