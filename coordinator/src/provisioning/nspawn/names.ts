import { createHash } from 'node:crypto';
import { join } from 'node:path';

/** Where everything of one machine is. */
export interface MachinePlace {
  /** Name of the container, and of its folder. */
  name: string;
  /** Name of the machine's node. */
  node: string;
  folder: string;
  /** Its root file system. */
  root: string;
  /** Seen inside as /etc/evercert-agent, read-only. */
  agent: string;
  /** What it was made for. */
  record: string;
  /** What systemd-nspawn itself says; begun anew with every start. */
  log: string;
}

/** A machine name is a host name of 64 characters at most. */
const maxName = 64;

/** `CLUSTER.NODE`: no cluster's name has a dot. What is too long is cut, and told apart by a digest. */
export function machineName(cluster: string, node: string): string {
  const name = `${cluster}.${node}`;
  if (name.length <= maxName) return name;
  const digest = createHash('sha256').update(name).digest('hex').slice(0, 16);
  return `${name.slice(0, maxName - digest.length - 1).replace(/[.-]+$/, '')}-${digest}`;
}

export function machinePlace(machinesDir: string, cluster: string, node: string): MachinePlace {
  const name = machineName(cluster, node);
  return placeIn(join(machinesDir, name), name, node);
}

/** The same machine in another folder. */
export function placeIn(folder: string, name: string, node: string): MachinePlace {
  return {
    name,
    node,
    folder,
    root: join(folder, 'root'),
    agent: join(folder, 'agent'),
    record: join(folder, 'machine.json'),
    log: join(folder, 'nspawn.log'),
  };
}

/** The node's name as far as the kernel takes it. */
export function hostName(node: string): string {
  return node.slice(0, maxName).replace(/[.-]+$/, '');
}
