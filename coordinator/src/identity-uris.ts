/** The URI SANs by which certificates of the control CA tell who holds them: each form is written and read here. */

/** The name under which a node's Evercert identity stands among its certificates. */
export const identityName = 'identity';

export interface NodeName {
  cluster: string;
  name: string;
}

export const coordinatorUri = 'spiffe://evercert/coordinator';

const nodeUri = /^spiffe:\/\/([a-z0-9-]+)\.evercert\/node\/([a-z0-9.-]+)$/;
const adminUri = /^spiffe:\/\/evercert\/admin\/([a-z0-9.-]+)$/;

export function nodeUriOf({ cluster, name }: NodeName): string {
  return `spiffe://${cluster}.evercert/node/${name}`;
}

export function adminUriOf(name: string): string {
  return `spiffe://evercert/admin/${name}`;
}

/** Whose identity has these URIs; undefined: no node's. */
export function nodeOfIdentity(uris: readonly string[]): NodeName | undefined {
  const [, cluster, name] = nodeUri.exec(only(uris)) ?? [];
  return cluster !== undefined && name !== undefined ? { cluster, name } : undefined;
}

/** The name of the admin whose identity has these URIs; undefined: no admin's. */
export function adminOfIdentity(uris: readonly string[]): string | undefined {
  return adminUri.exec(only(uris))?.[1];
}

/** An identity has one URI; a certificate with more is nobody's. */
function only(uris: readonly string[]): string {
  return uris.length === 1 ? (uris[0] ?? '') : '';
}
