/** The ConfigMap by which a machine with nothing but a token finds its cluster (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#configmap-signing). Pure. */
import { formatHostPort, parseHostPort } from '@evercert/shared/config';
import { certificatesFromPem, certificatesToPem } from '@evercert/shared/x509';
import { parse, stringify } from 'yaml';
import type { KubernetesObject } from '../core/index.ts';
import { detachedJws } from './jws.ts';
import type { SigningToken } from './secrets.ts';

export const infoNamespace = 'kube-public';
export const infoName = 'cluster-info';
export const infoKey = `${infoNamespace}/${infoName}`;
const signaturePrefix = 'jws-kubeconfig-';
const apiServerPort = 6443;

export interface ConfigMap extends KubernetesObject {
  data?: Record<string, string>;
}

export interface ClusterInfo {
  /** `https://HOST:PORT` */
  server: string;
  /** What is to be trusted there, DER. */
  authorities: readonly Buffer[];
}

/** Undefined: the cluster's endpoint is not known. */
export function serverOf(controlPlaneEndpoint: string): string | undefined {
  const endpoint = parseHostPort(controlPlaneEndpoint);
  return endpoint && `https://${formatHostPort(endpoint.host, endpoint.port ?? apiServerPort)}`;
}

/** What a ConfigMap tells; undefined where it cannot be understood. */
export function readInfo(data: Record<string, string> | undefined): ClusterInfo | undefined {
  try {
    const config = parse(data?.['kubeconfig'] ?? '') as { clusters?: { name: string; cluster: Record<string, string> }[] } | null;
    // kubeadm looks for the one without a name.
    const cluster = config?.clusters?.find(({ name }) => name === '')?.cluster;
    const authority = Buffer.from(cluster?.['certificate-authority-data'] ?? '', 'base64');
    return cluster?.['server'] ? { server: cluster['server'], authorities: certificatesFromPem(authority) } : undefined;
  } catch {
    // Whatever somebody has written there, it is written anew.
    return undefined;
  }
}

/** As kubeadm writes it. */
export function kubeconfigOf({ server, authorities }: ClusterInfo): string {
  const authority = Buffer.from(certificatesToPem([...authorities])).toString('base64');
  return stringify(
    {
      apiVersion: 'v1',
      clusters: [{ cluster: { 'certificate-authority-data': authority, server }, name: '' }],
      contexts: null,
      'current-context': '',
      kind: 'Config',
      preferences: {},
      users: null,
    },
    { lineWidth: 0 },
  );
}

/**
 * The ConfigMap's data as it should be. A kubeconfig that says the same already stays as it is written; signatures are there for these tokens and for no other; what else somebody keeps in it is left
 * alone.
 */
export function signedData(
  present: Record<string, string> | undefined,
  info: ClusterInfo,
  tokens: readonly SigningToken[],
): Record<string, string> {
  const known = readInfo(present);
  const kubeconfig = known && sameInfo(known, info) ? (present?.['kubeconfig'] ?? '') : kubeconfigOf(info);
  const others = Object.entries(present ?? {}).filter(([key]) => !key.startsWith(signaturePrefix));
  const signatures = tokens.map((token) => [`${signaturePrefix}${token.id}`, detachedJws(token, kubeconfig)]);
  return { ...Object.fromEntries(others), kubeconfig, ...Object.fromEntries(signatures) };
}

export function sameData(a: Record<string, string> | undefined, b: Record<string, string>): boolean {
  const keys = Object.keys(a ?? {});
  return keys.length === Object.keys(b).length && keys.every((key) => a?.[key] === b[key]);
}

function sameInfo(a: ClusterInfo, b: ClusterInfo): boolean {
  const texts = ({ authorities }: ClusterInfo): string => [...new Set(authorities.map((der) => der.toString('base64')))].sort().join();
  return a.server === b.server && texts(a) === texts(b);
}
