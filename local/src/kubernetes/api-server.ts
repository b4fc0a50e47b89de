import { join } from 'node:path';
import type { Layout } from '../etcd/credentials.ts';

export interface KubeApiServerOptions {
  /** Where it listens, alone: the node's own address. */
  address: string;
  port: number;
  /** `HOST:PORT` of the node's own etcd member. */
  etcd: string;
  /** Kubernetes' PKI folder on the node, `$P` in the certificate table. */
  pkiDir: string;
  /** Empty folder of its own, into which it writes nothing while it is given a pair. */
  certDir: string;
  layout: Layout;
}

/**
 * Command line of a kube-apiserver on a control-plane node, as kubeadm writes it, with every file where the manifests put it. In the founding layout the Cluster CA signed
 * etcd's server certificate (docs: "The trap in the founding layout").
 */
export function kubeApiServerArguments({ address, port, etcd, pkiDir, certDir, layout }: KubeApiServerOptions): string[] {
  const file = (...names: string[]): string => join(pkiDir, ...names);
  const flags: Record<string, string> = {
    'bind-address': address,
    'advertise-address': address,
    'secure-port': String(port),
    'cert-dir': certDir,
    'tls-cert-file': file('apiserver.crt'),
    'tls-private-key-file': file('apiserver.key'),
    'client-ca-file': file('ca.crt'),
    'etcd-servers': `https://${etcd}`,
    'etcd-cafile': layout === 'founding' ? file('ca.crt') : file('etcd', 'ca.crt'),
    'etcd-certfile': file('apiserver-etcd-client.crt'),
    'etcd-keyfile': file('apiserver-etcd-client.key'),
    'kubelet-client-certificate': file('apiserver-kubelet-client.crt'),
    'kubelet-client-key': file('apiserver-kubelet-client.key'),
    'kubelet-certificate-authority': file('ca.crt'),
    'requestheader-client-ca-file': file('front-proxy-ca.crt'),
    'requestheader-allowed-names': 'front-proxy-client',
    'requestheader-username-headers': 'X-Remote-User',
    'requestheader-group-headers': 'X-Remote-Group',
    'requestheader-extra-headers-prefix': 'X-Remote-Extra-',
    'proxy-client-cert-file': file('front-proxy-client.crt'),
    'proxy-client-key-file': file('front-proxy-client.key'),
    'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
    'service-account-key-file': file('sa.pub'),
    'service-account-signing-key-file': file('sa.key'),
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'enable-bootstrap-token-auth': 'true',
    'service-cluster-ip-range': '10.96.0.0/12',
    // Its endpoints would be loopback addresses, which the API does not accept.
    'endpoint-reconciler-type': 'none',
  };
  return Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
}

const needed = [
  'ca.crt',
  'front-proxy-ca.crt',
  'sa.pub',
  'sa.key',
  ...['apiserver', 'apiserver-etcd-client', 'apiserver-kubelet-client', 'front-proxy-client'].flatMap((name) => [
    `${name}.crt`,
    `${name}.key`,
  ]),
];

/** Files that have to be there before it can start. */
export function kubeApiServerFiles(pkiDir: string): string[] {
  return needed.map((name) => join(pkiDir, name));
}
