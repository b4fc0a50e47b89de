/**
 * What each signer signs: Kubernetes' rules to the letter (https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers, and the sources of
 * kube-controller-manager's signer), and those of Evercert's own signers. A request that breaks them is never signed, whoever approves it.
 */
import type { RequestedCertificate, Requester, Signer } from './types.ts';

export const nodesGroup = 'system:nodes';
export const nodeUserPrefix = 'system:node:';
const nodeName = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*$/;
const maxNodeName = 253;

const purposes = ['client auth', 'server auth'];
const keyUsages = ['digital signature', 'key encipherment'];

/** Why a request cannot be signed by this signer; undefined: it can. */
export function violationOf({ kind }: Signer, request: RequestedCertificate): string | undefined {
  if (kind === 'client-kubelet') return kubeletSubject(request) ?? noNames(request) ?? kubeletUsages(request, 'client auth');
  if (kind === 'kubelet-serving') return kubeletSubject(request) ?? servingNames(request) ?? kubeletUsages(request, 'server auth');
  if (kind === 'client') return clientSubject(request) ?? signableNames(request) ?? clientUsages(request);
  return ownSubject(request) ?? signableNames(request) ?? ownUsages(request);
}

/** The node that a subject speaks for; undefined: it is no node's. */
export function nodeOf({ commonName, organizations }: Pick<RequestedCertificate, 'commonName' | 'organizations'>): string | undefined {
  if (!commonName.startsWith(nodeUserPrefix) || !organizations.includes(nodesGroup)) return undefined;
  const name = commonName.slice(nodeUserPrefix.length);
  return isNodeName(name) ? name : undefined;
}

/** The requester is the node itself, by a credential that says so. */
export function isNodeItself({ username, groups }: Requester, node: string): boolean {
  return username === nodeUserPrefix + node && groups.includes(nodesGroup);
}

function isNodeName(name: string): boolean {
  return name.length <= maxNodeName && nodeName.test(name);
}

function kubeletSubject({ commonName, organizations }: RequestedCertificate): string | undefined {
  if (organizations.length !== 1 || organizations[0] !== nodesGroup) return `the subject's organization is not exactly ["${nodesGroup}"]`;
  if (!commonName.startsWith(nodeUserPrefix)) return `the subject's common name does not begin with "${nodeUserPrefix}"`;
  if (!isNodeName(commonName.slice(nodeUserPrefix.length))) return `the subject's common name has no node's name after "${nodeUserPrefix}"`;
  return undefined;
}

function noNames({ dnsNames, ipAddresses, uris, otherNames }: RequestedCertificate): string | undefined {
  if (dnsNames.length > 0) return 'DNS names are not allowed';
  if (ipAddresses.length > 0) return 'IP addresses are not allowed';
  if (uris.length > 0) return 'URIs are not allowed';
  return otherNames > 0 ? 'e-mail addresses and other alternative names are not allowed' : undefined;
}

function servingNames({ dnsNames, ipAddresses, uris, otherNames }: RequestedCertificate): string | undefined {
  if (dnsNames.length === 0 && ipAddresses.length === 0) return 'a DNS name or an IP address is required';
  if (uris.length > 0) return 'URIs are not allowed';
  return otherNames > 0 ? 'e-mail addresses and other alternative names are not allowed' : undefined;
}

/** Exactly {digital signature, key encipherment, PURPOSE} or {digital signature, PURPOSE}; repeats do not matter. */
function kubeletUsages({ usages }: RequestedCertificate, purpose: string): string | undefined {
  const asked = new Set(usages);
  const least = asked.has('digital signature') && asked.has(purpose);
  const most = [...asked].every((usage) => usage === purpose || keyUsages.includes(usage));
  if (least && most) return undefined;
  return `usages are not exactly ["digital signature", "key encipherment", "${purpose}"] or ["digital signature", "${purpose}"]`;
}

/** The API server refuses it when the request is made; here it is the last gate. */
function clientSubject({ organizations }: RequestedCertificate): string | undefined {
  return organizations.includes('system:masters') ? 'the organization "system:masters" is never signed' : undefined;
}

function clientUsages({ usages }: RequestedCertificate): string | undefined {
  const other = usages.find((usage) => usage !== 'client auth' && !keyUsages.includes(usage));
  if (other !== undefined) return `usage "${other}" is not allowed in a client certificate`;
  return usages.includes('client auth') ? undefined : 'usage "client auth" is required in a client certificate';
}

/** Users and groups that Kubernetes means by these names have signers of their own, with rules of their own. */
function ownSubject({ commonName, organizations }: RequestedCertificate): string | undefined {
  const reserved = [commonName, ...organizations].find((name) => /^(?:system|kubeadm):/i.test(name));
  return reserved === undefined ? undefined : `"${reserved}" is reserved for Kubernetes' own users and groups, and not signed here`;
}

function ownUsages({ usages }: RequestedCertificate): string | undefined {
  const other = usages.find((usage) => !purposes.includes(usage) && !keyUsages.includes(usage));
  if (other !== undefined) return `usage "${other}" is not signed here; expected "server auth" or "client auth", and key usages`;
  return usages.some((usage) => purposes.includes(usage)) ? undefined : 'usage "server auth" or "client auth" is required';
}

function signableNames({ otherNames, commonName, organizations, dnsNames, ipAddresses, uris }: RequestedCertificate): string | undefined {
  if (otherNames > 0) return 'e-mail addresses and other alternative names are not signed here';
  const empty = commonName === '' && organizations.length === 0 && dnsNames.length + ipAddresses.length + uris.length === 0;
  return empty ? 'there is neither a subject nor an alternative name' : undefined;
}
