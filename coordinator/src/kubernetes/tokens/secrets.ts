/** Bootstrap tokens as Kubernetes keeps them (https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#bootstrap-token-secret-format). Pure. */
import { formatRfc3339, parseRfc3339 } from '@evercert/shared/manifest';
import type { TokenRecord } from '../../state/records.ts';
import type { KubernetesObject } from '../core/index.ts';

export const tokenNamespace = 'kube-system';
export const tokenSecretType = 'bootstrap.kubernetes.io/token';
const namePrefix = 'bootstrap-token-';
/** On what the bridge has made; it deletes nothing else. */
const clusterLabel = 'evercert.io/cluster';
const managedByLabel = 'app.kubernetes.io/managed-by';
const manager = 'evercert';

export interface Secret extends KubernetesObject {
  type?: string;
  /** Base64. */
  data?: Record<string, string>;
}

/** A token with which cluster-info is signed. */
export interface SigningToken {
  id: string;
  secret: string;
  /** Undefined: never. */
  expiresAtMs: number | undefined;
}

export function secretName(id: string): string {
  return `${namePrefix}${id}`;
}

/** As controllers call it. */
export function secretKey(id: string): string {
  return `${tokenNamespace}/${secretName(id)}`;
}

/** The Secret of a token, to be created. */
export function secretOf({ id, cluster, role, nodeName, expiresAtMs, description, kubernetes }: TokenRecord, secret: string): object {
  const groups = kubernetes?.groups ?? [];
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    type: tokenSecretType,
    metadata: {
      name: secretName(id),
      namespace: tokenNamespace,
      labels: { [managedByLabel]: manager, [clusterLabel]: cluster },
    },
    stringData: {
      'token-id': id,
      'token-secret': secret,
      // Kubernetes knows whole seconds.
      expiration: formatRfc3339(Math.floor(expiresAtMs / 1000) * 1000),
      'usage-bootstrap-authentication': 'true',
      'usage-bootstrap-signing': 'true',
      ...(groups.length > 0 && { 'auth-extra-groups': groups.join(',') }),
      description: description === '' ? `Evercert, for ${role} ${nodeName === '' ? 'nodes' : nodeName} of cluster ${cluster}` : description,
    },
  };
}

/** The id of a token whose Secret the bridge of this cluster has made; undefined: it is somebody else's. */
export function ownTokenId({ metadata, type }: Secret, cluster: string): string | undefined {
  const { labels = {}, name } = metadata;
  const own = labels[managedByLabel] === manager && labels[clusterLabel] === cluster && type === tokenSecretType;
  return own && name.startsWith(namePrefix) ? name.slice(namePrefix.length) : undefined;
}

/** By the rules of kube-controller-manager's bootstrapsigner: what is damaged, expired or not for signing signs nothing. */
export function signingTokenOf(object: Secret, nowMs: number): SigningToken | undefined {
  const { metadata, type } = object;
  const value = (key: string): string => Buffer.from(object.data?.[key] ?? '', 'base64').toString();
  const id = value('token-id');
  const secret = value('token-secret');
  if (type !== tokenSecretType || metadata.deletionTimestamp !== undefined || metadata.name !== secretName(id)) return undefined;
  if (!/^[a-z0-9]{6}$/.test(id) || !/^[a-z0-9]{16}$/.test(secret) || value('usage-bootstrap-signing') !== 'true') return undefined;
  const expiration = value('expiration');
  if (expiration === '') return { id, secret, expiresAtMs: undefined };
  const expiresAtMs = parseRfc3339(expiration);
  return expiresAtMs !== undefined && expiresAtMs > nowMs ? { id, secret, expiresAtMs } : undefined;
}

/** Why a token's Secret is to go; undefined: it may stay. */
export function endOf(token: TokenRecord | undefined, cluster: string, nowMs: number): string | undefined {
  if (token === undefined || token.cluster !== cluster || token.kubernetes === undefined) return 'the token is deleted';
  if (token.expiresAtMs <= nowMs) return 'the token has expired';
  return token.maxUses > 0 && token.uses >= token.maxUses ? 'the token is used up' : undefined;
}
