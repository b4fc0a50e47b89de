import { type IssuerName, issuers } from '@evercert/shared/manifest';
import type { Signer, SignerKind } from './types.ts';

const kubernetesSigners: Readonly<Record<string, SignerKind>> = {
  'kubernetes.io/kube-apiserver-client-kubelet': 'client-kubelet',
  'kubernetes.io/kubelet-serving': 'kubelet-serving',
  'kubernetes.io/kube-apiserver-client': 'client',
};

/** `evercert.io/CLUSTER-CA`: the cluster's name stands in it, so that one manifest of roles can serve several clusters. */
export function ownSignerName(cluster: string, ca: IssuerName): string {
  return `evercert.io/${cluster}-${ca}`;
}

/** Undefined: somebody else's. */
export function signerOf(signerName: string, cluster: string, own: readonly IssuerName[]): Signer | undefined {
  const kind = Object.hasOwn(kubernetesSigners, signerName) ? kubernetesSigners[signerName] : undefined;
  if (kind !== undefined) return { name: signerName, kind, ca: 'cluster-ca' };
  const ca = issuers.find((name) => own.includes(name) && signerName === ownSignerName(cluster, name));
  return ca && { name: signerName, kind: 'own', ca };
}
