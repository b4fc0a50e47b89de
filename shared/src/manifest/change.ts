import type { ResolvedNode } from './types.ts';

export interface CertificateChange {
  /** The manifest's name. */
  certificate: string;
  /** `issue`: new on the node; `reissue`: what it says changes; `remove`: no longer declared there. */
  action: 'issue' | 'reissue' | 'remove';
}

/** What happens to a node's certificates when its desired state changes, in order of names. Other paths, reloads or checks alone need no new certificate. */
export function describeChange(before: ResolvedNode | undefined, after: ResolvedNode): CertificateChange[] {
  const old = new Map((before?.certificates ?? []).map(({ name, specHash }) => [name, specHash]));
  const changes: CertificateChange[] = [];
  for (const { name, specHash } of after.certificates) {
    const oldHash = old.get(name);
    if (oldHash === undefined) changes.push({ certificate: name, action: 'issue' });
    else if (oldHash !== specHash) changes.push({ certificate: name, action: 'reissue' });
    old.delete(name);
  }
  for (const name of old.keys()) changes.push({ certificate: name, action: 'remove' });
  return changes.sort((a, b) => (a.certificate < b.certificate ? -1 : 1));
}
