import { join } from 'node:path';

/** Where one etcd member listens. All members of a cluster know each other's. */
export interface EtcdEndpoint {
  name: string;
  address: string;
  clientPort: number;
  peerPort: number;
}

export interface EtcdMemberOptions {
  endpoint: EtcdEndpoint;
  members: EtcdEndpoint[];
  /** Kubernetes' PKI folder on the node, `$P` in the certificate table. */
  pkiDir: string;
  dataDir: string;
  /** Keeps members of two clusters apart. */
  clusterToken: string;
}

/**
 * Command line of a member that serves with the node's certificates. Clients are verified against the etcd CA in both layouts: with the Cluster CA there,
 * any kubelet could read the whole store. The JSON gateway is off because it dials the member's own client port with the server certificate, which in the founding
 * layout the Cluster CA signed (docs: "The trap in the founding layout").
 */
export function etcdArguments({ endpoint, members, pkiDir, dataDir, clusterToken }: EtcdMemberOptions): string[] {
  const etcdCa = join(pkiDir, 'etcd', 'ca.crt');
  const flags: Record<string, string> = {
    name: endpoint.name,
    'data-dir': dataDir,
    'listen-client-urls': clientUrl(endpoint),
    'advertise-client-urls': clientUrl(endpoint),
    'listen-peer-urls': peerUrl(endpoint),
    'initial-advertise-peer-urls': peerUrl(endpoint),
    'initial-cluster': members.map((member) => `${member.name}=${peerUrl(member)}`).join(','),
    'initial-cluster-token': clusterToken,
    'initial-cluster-state': 'new',
    'cert-file': join(pkiDir, 'etcd', 'server.crt'),
    'key-file': join(pkiDir, 'etcd', 'server.key'),
    'trusted-ca-file': etcdCa,
    'client-cert-auth': 'true',
    'peer-cert-file': join(pkiDir, 'etcd', 'peer.crt'),
    'peer-key-file': join(pkiDir, 'etcd', 'peer.key'),
    'peer-trusted-ca-file': etcdCa,
    'peer-client-cert-auth': 'true',
    'enable-grpc-gateway': 'false',
    // Generous for a machine that runs everything at once; etcd's own defaults are 100 and 1000 ms.
    'heartbeat-interval': '250',
    'election-timeout': '2500',
    'auto-compaction-mode': 'revision',
    'auto-compaction-retention': '10000',
    logger: 'zap',
    'log-outputs': 'stderr',
  };
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
}

/** Files that have to be there before the member can start. */
export function etcdFiles(pkiDir: string): string[] {
  const names = ['ca.crt', 'server.crt', 'server.key', 'peer.crt', 'peer.key'].map((name) => join('etcd', name));
  return [...names, 'apiserver-etcd-client.crt', 'apiserver-etcd-client.key'].map((name) => join(pkiDir, name));
}

function clientUrl({ address, clientPort }: EtcdEndpoint): string {
  return `https://${address}:${clientPort}`;
}

function peerUrl({ address, peerPort }: EtcdEndpoint): string {
  return `https://${address}:${peerPort}`;
}
