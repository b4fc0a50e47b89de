/** What a revocation does to a cluster: told before the blow. */
import { type Certificate, type Node, type RevocationMatch, type RevocationReference, Role } from '@evercert/proto';
import type { AdminApi } from '../client.ts';
import { allPages } from '../resources/paging.ts';

export interface Impact {
  /** When each matching certificate ends, by its serial. */
  ends: ReadonlyMap<string, Date>;
  controlPlane: Affected;
  etcd: Affected & { quorumLost: boolean };
  workers: Affected;
  /** Entries that match also what would be issued: repair is refused while they stand. */
  repairRefusedBy: RevocationReference[];
}

interface Affected {
  all: string[];
  /** Those that lose a certificate which they use, or would not get one. */
  hit: string[];
}

/** Certificates with which an etcd member serves its clients and its peers, in both layouts. */
const memberCertificates = new Set(['etcd-server', 'etcd-peer']);

function impactOf(matches: readonly RevocationMatch[], nodes: readonly Node[], certificates: readonly Certificate[]): Impact {
  const inUse = new Set(certificates.filter(({ current }) => current).map(({ serial }) => serial));
  const effective = matches.filter(({ future, serial }) => future || inUse.has(serial));
  const hit = new Set(effective.map(({ node }) => node));
  const hitMembers = new Set(effective.filter(({ certificate }) => memberCertificates.has(certificate)).map(({ node }) => node));
  const members = [...new Set(certificates.filter(({ name }) => memberCertificates.has(name)).map(({ node }) => node))].sort();
  const ofRole = (role: Role): Affected => {
    const all = nodes.filter((node) => node.role === role).map(({ name }) => name);
    return { all: all.sort(), hit: all.filter((name) => hit.has(name)) };
  };
  const lost = members.filter((name) => hitMembers.has(name));
  return {
    ends: new Map(certificates.flatMap(({ serial, notAfter }) => (notAfter ? [[serial, notAfter] as const] : []))),
    controlPlane: ofRole(Role.CONTROL_PLANE),
    workers: ofRole(Role.WORKER),
    etcd: { all: members, hit: lost, quorumLost: members.length > 0 && members.length - lost.length < Math.floor(members.length / 2) + 1 },
    repairRefusedBy: refusing(matches),
  };
}

/** Every control-plane node loses something: the cluster ends with the lives of its certificates. */
export function takesControlPlane({ controlPlane: { all, hit } }: Impact): boolean {
  return all.length > 0 && hit.length === all.length;
}

export async function fetchImpact(api: AdminApi, cluster: string, matches: readonly RevocationMatch[]): Promise<Impact> {
  const filter = { cluster, node: '', name: '', serial: '', includeSuperseded: true, pageSize: 1000 };
  const [{ nodes }, certificates] = await Promise.all([
    api.call('listNodes', { cluster, name: '' }),
    allPages(async (pageToken) => {
      const { certificates: items, nextPageToken } = await api.call('listCertificates', { ...filter, pageToken });
      return { items, nextPageToken };
    }),
  ]);
  return impactOf(matches, nodes, certificates);
}

function refusing(matches: readonly RevocationMatch[]): RevocationReference[] {
  const found = new Map<string, RevocationReference>();
  for (const { by, future } of matches) if (by && future) found.set(`${by.object}#${by.entry}`, by);
  return [...found.values()];
}
