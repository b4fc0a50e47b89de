import { findExecutable, isExecutable } from '../executables.ts';

/** One line for a person whose machine has no etcd. */
export const etcdMissing =
  'no etcd binary in PATH or $ETCD: the nodes run without etcd members and nothing is written (Debian and Ubuntu: apt-get install etcd-server)';

/** The same for one who wants several coordinators. */
export const stateEtcdMissing =
  'several coordinators keep their state in etcd, and there is no etcd binary in PATH or $ETCD (Debian and Ubuntu: apt-get install etcd-server)';

/** Path of the etcd binary: $ETCD if it is set, else the first in PATH. Undefined when there is none. */
export function findEtcd(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const named = env['ETCD'];
  if (named) return isExecutable(named) ? named : undefined;
  return findExecutable('etcd', env['PATH']);
}
