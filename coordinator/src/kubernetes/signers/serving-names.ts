import { addressInRange, canonicalAddress, parseHostPort, parseRange } from '@evercert/shared/config';
import ipaddr from 'ipaddr.js';
import type { RequestedCertificate } from './types.ts';

/** The Node object's, as its kubelet wrote them. */
export interface NodeAddress {
  type: string;
  address: string;
}

/** What may stand in a node's serving certificate, from two sources, and what may not, whatever they say. */
export interface KnownNames {
  /** status.addresses of the Node object; undefined: there is no such object. */
  node: readonly NodeAddress[] | undefined;
  /** Registered at the coordinator; undefined: the node is not. */
  registered: { name: string; addresses: readonly string[]; dnsNames: readonly string[] } | undefined;
  /** The cluster's own. */
  cluster: ClusterNames;
  /** Another node of the cluster that holds this address or name, by registration. */
  holder: (name: string) => string | undefined;
}

export interface ClusterNames {
  dnsDomain: string;
  serviceCidr: string;
  controlPlaneEndpoint: string;
  apiServerExtraSans: readonly string[];
}

/** Why these names may not stand in the node's serving certificate; undefined: they may. `later`: what is missing may still come. */
export function namesFault(request: RequestedCertificate, known: KnownNames): { message: string; later: boolean } | undefined {
  const asked = [...request.dnsNames.map((name) => name.toLowerCase()), ...request.ipAddresses];
  const registered = new Set(
    known.registered ? [known.registered.name, ...known.registered.dnsNames, ...known.registered.addresses].map(canonical) : [],
  );
  const told = new Set((known.node ?? []).map(({ address }) => canonical(address)));
  for (const name of asked) {
    if (registered.has(name)) continue;
    // A kubelet writes its Node object's addresses itself: it must not call itself what clients look for elsewhere.
    const taken = reservedFor(name, known);
    if (taken !== undefined) return { message: `"${name}" belongs to ${taken}`, later: false };
    if (told.has(name)) continue;
    const where = known.node === undefined ? 'there is no Node object' : 'it is not among the addresses of the Node object';
    const here =
      known.registered === undefined ? 'the node is not registered at the coordinator' : 'nor registered for the node at the coordinator';
    return { message: `"${name}" is not known as the node's: ${where}, ${known.node === undefined ? 'and ' : ''}${here}`, later: true };
  }
  return undefined;
}

function reservedFor(name: string, { cluster, holder }: KnownNames): string | undefined {
  const other = holder(name);
  if (other !== undefined) return `node ${other}`;
  if (canonicalAddress(name) !== undefined) {
    if (isLocal(name)) return 'every machine';
    if (inRange(name, cluster.serviceCidr)) return "the cluster's services";
  } else if (isServiceName(name, cluster.dnsDomain)) return "the cluster's services";
  const own = [parseHostPort(cluster.controlPlaneEndpoint)?.host, ...cluster.apiServerExtraSans];
  return own.some((each) => each !== undefined && canonical(each) === name) ? 'the API server' : undefined;
}

function isServiceName(name: string, dnsDomain: string): boolean {
  const domain = dnsDomain.toLowerCase();
  if (name === 'localhost' || name.includes('*') || name === domain || name.endsWith(`.${domain}`)) return true;
  return name === 'kubernetes' || /(^|\.)svc$/.test(name) || name === 'kubernetes.default';
}

function isLocal(address: string): boolean {
  const range = ipaddr.parse(address).range();
  return range === 'loopback' || range === 'unspecified';
}

function inRange(address: string, range: string): boolean {
  const parsed = parseRange(range);
  if (!('range' in parsed)) return false;
  const [network = '', bits = ''] = parsed.range.split('/');
  const [a, b] = [ipaddr.parse(address), ipaddr.parse(addressInRange(parsed.range, 0))];
  return a.kind() === b.kind() && network !== '' && a.match(b as never, Number(bits) as never);
}

function canonical(text: string): string {
  return canonicalAddress(text) ?? text.toLowerCase();
}
