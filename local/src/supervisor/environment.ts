/** Variables added for a child; undefined takes one away. */
export type Environment = Record<string, string | undefined>;

/** Would make a child talk to this process's supervisor, or bring it down on purpose. */
const notInherited = ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'EVERCERT_FAULT_POINT'];

/** This process's environment without what is meant for itself alone, and without etcd's settings (ETCD_DISCOVERY and the like), which would compete with the flags. */
export function childEnvironment(added: Environment, inherited: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const kept = Object.entries(inherited).filter(
    ([name]) => !notInherited.includes(name) && (!name.startsWith('ETCD_') || name === 'ETCD_UNSUPPORTED_ARCH'),
  );
  return { ...Object.fromEntries(kept), ...added };
}
