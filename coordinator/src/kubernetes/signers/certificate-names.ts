import { createHash } from 'node:crypto';
import type { SignerKind } from './types.ts';

/** No manifest can declare a name with a dot: what the bridge issues is never taken for what an agent should have in place. */
const suffix = '.csr';

/** Of a node's certificates, one name for each signer: a renewal succeeds the certificate before it. */
const nodeNames: Readonly<Record<Exclude<SignerKind, 'own'>, string>> = {
  'client-kubelet': `kubelet-client${suffix}`,
  'kubelet-serving': `kubelet-serving${suffix}`,
  client: `kube-apiserver-client${suffix}`,
};

/** All names under which a node can have a certificate by a CertificateSigningRequest. */
export const nodeRequestNames: readonly string[] = Object.values(nodeNames);

const longest = 63;

/** The name under which a certificate is recorded: by signer for a node, else by the name of the request. */
export function certificateName(kind: SignerKind, node: string | undefined, requestName: string): string {
  if (node !== undefined && kind !== 'own') return nodeNames[kind];
  const name = requestName + suffix;
  if (name.length <= longest && !nodeRequestNames.includes(name)) return name;
  const digest = createHash('sha256').update(requestName).digest('hex').slice(0, 12);
  return `${requestName.slice(0, 40)}-${digest}${suffix}`;
}

export function isRequestName(name: string): boolean {
  return name.endsWith(suffix);
}

/** The names of a node's certificates that count as in use when it asks for another of this kind: the manifests' own, and those of requests. */
export function predecessorNames(kind: SignerKind): string[] {
  const client = ['kubelet-client', nodeNames['client-kubelet']];
  return kind === 'kubelet-serving' ? [...client, 'kubelet-serving', nodeNames['kubelet-serving']] : client;
}
