/** What a cluster's certificates tell of its policy. Pure. */
import { addressInRange, canonicalAddress, dnsNameFault, parseHostPort } from '@evercert/shared/config';
import { type ClusterPolicy, defaultClusterPolicy } from '@evercert/shared/manifest';
import { type CertificateInfo, verifyChain } from '@evercert/shared/x509';
import type { CheckedAuthority, ImportFinding, PlacedCertificate } from './import-types.ts';

/** The node that the certificates are from. */
export interface PlacedNode {
  name: string;
  addresses: string[];
}

const serviceName = 'kubernetes.default.svc';
const loopback = new Set(['127.0.0.1', '::1']);

/** As given; else as etcd's server certificate or kubelet's client certificate name it. Empty: nothing tells. */
export function nodeOf(certificates: readonly PlacedCertificate[], given: PlacedNode): PlacedNode {
  const etcd = certificates.find(({ path }) => path.endsWith('/etcd/server.crt'))?.info;
  const kubelet = certificates.map(({ info }) => /^system:node:(.+)$/.exec(info.commonName)?.[1]).find((name) => name !== undefined);
  const addresses = etcd?.ipAddresses.filter((address) => !loopback.has(address)) ?? [];
  return {
    name: given.name || etcd?.commonName || kubelet || '',
    addresses: given.addresses.length > 0 ? given.addresses.map((address) => canonicalAddress(address) ?? address) : addresses,
  };
}

export interface InferredPolicy {
  policy: ClusterPolicy;
  findings: ImportFinding[];
}

/** The policy of an imported cluster: what was given, then what its certificates tell, then the defaults; and what was inferred, for the admin to look at. */
export function inferPolicy(
  given: Partial<ClusterPolicy>,
  authorities: readonly CheckedAuthority[],
  certificates: readonly PlacedCertificate[],
  node: PlacedNode,
): InferredPolicy {
  const findings: ImportFinding[] = [];
  const tell = (message: string): void => {
    findings.push({ severity: 'Info', path: '', certificate: '', kind: 'Policy', message });
  };
  const apiServer = apiServerOf(certificates);
  const inferred: Partial<ClusterPolicy> = {
    keyAlgorithm: keyAlgorithmOf(authorities),
    layout: layoutOf(authorities, certificates),
    ...(apiServer && { ...domainOf(apiServer), ...serviceRangeOf(apiServer, node) }),
  };
  const policy: ClusterPolicy = { ...defaultClusterPolicy, ...inferred, ...given, adopt: true };
  if (given.layout === undefined) tell(`layout: ${policy.layout}, by the CA of etcd's server certificate`);
  if (given.keyAlgorithm === undefined) tell(`keyAlgorithm: ${policy.keyAlgorithm}, for keys that are made from now on`);
  if (given.dnsDomain === undefined && inferred.dnsDomain !== undefined)
    tell(`dnsDomain: ${policy.dnsDomain}, from the API server's certificate`);
  if (given.serviceCidr === undefined && inferred.serviceCidr !== undefined) {
    tell(`serviceCidr: ${policy.serviceCidr}, from the API server's certificate; only its first address counts here, its size is a guess`);
  }
  if (given.apiServerExtraSans === undefined && apiServer) Object.assign(policy, extraSansOf(apiServer, policy, node, tell));
  return { policy, findings };
}

function apiServerOf(certificates: readonly PlacedCertificate[]): CertificateInfo | undefined {
  const named = certificates.find(({ path }) => path.endsWith('/apiserver.crt'));
  return (named ?? certificates.find(({ info }) => info.dnsNames.includes(serviceName)))?.info;
}

/** The cluster's own where new keys may be of it; RSA 2048 gives way to the default. */
function keyAlgorithmOf(authorities: readonly CheckedAuthority[]): ClusterPolicy['keyAlgorithm'] {
  const own = authorities.find(({ name }) => name === 'cluster-ca')?.info.keyAlgorithm;
  return own === 'rsa-4096' || own === 'ecdsa-p384' ? own : defaultClusterPolicy.keyAlgorithm;
}

/** The two differ in who signs etcd's server certificate. */
function layoutOf(authorities: readonly CheckedAuthority[], certificates: readonly PlacedCertificate[]): ClusterPolicy['layout'] {
  const server = certificates.find(({ path }) => path.endsWith('/etcd/server.crt'));
  const clusterCa = authorities.find(({ name }) => name === 'cluster-ca');
  const etcdCa = authorities.find(({ name }) => name === 'etcd-ca');
  return server && clusterCa && isFrom(server, clusterCa) && !(etcdCa && isFrom(server, etcdCa)) ? 'founding' : 'kubeadm';
}

/** True if the certificate comes from this CA, whenever. */
function isFrom({ chain, info }: PlacedCertificate, { certificates }: CheckedAuthority): boolean {
  try {
    verifyChain({ chain, anchors: certificates, atMs: info.notBefore.getTime() });
    return true;
  } catch {
    // Whatever is wrong with the way to this CA, it is not a way.
    return false;
  }
}

function domainOf({ dnsNames }: CertificateInfo): { dnsDomain?: string } {
  const domain = dnsNames.map((name) => name.toLowerCase()).find((name) => name.startsWith(`${serviceName}.`));
  return domain === undefined ? {} : { dnsDomain: domain.slice(serviceName.length + 1) };
}

/** kubeadm writes the first address of the service range before all others. */
function serviceRangeOf({ ipAddresses }: CertificateInfo, { addresses }: PlacedNode): { serviceCidr?: string } {
  if (ipAddresses.includes(addressInRange(defaultClusterPolicy.serviceCidr, 1))) return { serviceCidr: defaultClusterPolicy.serviceCidr };
  const first = ipAddresses.find((address) => !addresses.includes(address) && !loopback.has(address) && rangeAround(address) !== undefined);
  const range = first && rangeAround(first);
  return range ? { serviceCidr: range } : {};
}

/** A range of which this is the first address; undefined: it does not end in 1. */
function rangeAround(address: string): string | undefined {
  const v4 = /^(\d+\.\d+)\.(\d+)\.1$/.exec(address);
  if (v4) return v4[2] === '0' ? `${v4[1]}.0.0/16` : `${v4[1]}.${v4[2]}.0/24`;
  return /^[0-9a-f:]+::1$/.test(address) ? `${address.slice(0, -1)}/112` : undefined;
}

/** Names of the API server that only a policy can keep in its next certificate. */
function extraSansOf(
  { dnsNames, ipAddresses }: CertificateInfo,
  policy: ClusterPolicy,
  node: PlacedNode,
  tell: (message: string) => void,
): { apiServerExtraSans?: string[] } {
  if (node.name === '') {
    tell(
      "apiServerExtraSans: not read from the API server's certificate, for nothing tells which of its names is the node's; name the node",
    );
    return {};
  }
  const endpoint = parseHostPort(policy.controlPlaneEndpoint)?.host;
  const own = ['kubernetes', 'kubernetes.default', serviceName, `${serviceName}.${policy.dnsDomain}`, node.name.toLowerCase(), endpoint];
  const names = dnsNames
    .map((name) => name.toLowerCase())
    .filter((name) => !own.includes(name) && dnsNameFault(name, { wildcard: true }) === undefined);
  const service = addressInRange(policy.serviceCidr, 1);
  const addresses = ipAddresses.filter((address) => address !== service && address !== endpoint && !node.addresses.includes(address));
  const extra = [...names, ...addresses];
  if (extra.length === 0) return {};
  tell(`apiServerExtraSans: ${extra.join(', ')}, so that the API server's next certificate keeps them`);
  return { apiServerExtraSans: extra };
}
