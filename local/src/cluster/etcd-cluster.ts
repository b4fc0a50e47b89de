import { existsSync } from 'node:fs';
import type { Clock } from '@evercert/shared/clock';
import { type Layout, readClientMaterial } from '../etcd/credentials.ts';
import { memberHealth } from '../etcd/health.ts';
import { type EtcdEndpoint, etcdFiles } from '../etcd/member.ts';
import { waitUntil } from '../loop.ts';
import type { Environment } from '../supervisor/environment.ts';
import { commonPort, freePort } from '../supervisor/ports.ts';
import type { LocalNode } from './node.ts';

export interface EtcdClusterOptions {
  binary: string;
  nodes: LocalNode[];
  layout: Layout;
  random: () => number;
  takenPorts: Set<number>;
}

/** Chooses the members' ports and prepares their processes. Returns the port at which each member serves clients, at its node's address. */
export async function prepareEtcd({ binary, nodes, layout, random, takenPorts }: EtcdClusterOptions): Promise<number> {
  const members: EtcdEndpoint[] = [];
  // One port for all, each at its node's own address: the health check's URL is the same for every node then.
  const clientPort = await commonPort(
    nodes.map(({ address }) => address),
    random,
    takenPorts,
  );
  for (const { name, address } of nodes) {
    members.push({ name, address, clientPort, peerPort: await freePort(address, random, takenPorts) });
  }
  const clusterToken = `evercert-${Math.floor(random() * 2 ** 32).toString(16)}`;
  nodes.forEach((node, index) => {
    const endpoint = members[index];
    if (endpoint) node.useEtcd({ binary, endpoint, members, clusterToken, layout });
  });
  return clientPort;
}

export interface EtcdStart {
  nodes: LocalNode[];
  env: Record<string, Environment>;
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/** Starts each member as soon as its node holds the certificates, and resolves once all of them know a leader. DeadlineExceeded, Cancelled. */
export async function startEtcd({ nodes, env, timeoutMs, clock, signal }: EtcdStart): Promise<void> {
  await Promise.all(nodes.map((node) => startMember(node, env[`etcd-${node.name}`] ?? {}, { timeoutMs, clock, signal })));
  const details = new Map<string, string>();
  const healthy = async (): Promise<boolean> => {
    const answers = await Promise.all(
      nodes.map(async ({ name, etcdClient }) => {
        const health = etcdClient ? await memberHealth(etcdClient, clock) : { healthy: false, detail: 'not prepared' };
        details.set(name, health.detail);
        return health.healthy;
      }),
    );
    return answers.every(Boolean);
  };
  await waitUntil(clock, healthy, { timeoutMs, what: 'the etcd members to find a leader', pollMs: 250, signal });
}

async function startMember(
  node: LocalNode,
  env: Environment,
  wait: { timeoutMs: number; clock: Clock; signal: AbortSignal },
): Promise<void> {
  const usable = async (): Promise<boolean> => {
    if (!node.etcdClient || !etcdFiles(node.pkiDir).every((path) => existsSync(path))) return false;
    return await readClientMaterial(node.etcdClient.files, wait.clock).then(
      () => true,
      () => false,
    );
  };
  await waitUntil(wait.clock, usable, { ...wait, what: `the etcd certificates of ${node.name}` });
  await node.etcd?.start(env);
}
