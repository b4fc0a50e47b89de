/** What the coordinator knows of the node that a request speaks for. */
export interface NodeStanding {
  node: string;
  registered: boolean;
  /** Its identity was withdrawn for a replacement, and the new machine has not joined yet. */
  awaited: boolean;
  /** A node of this name was removed. */
  removed: boolean;
  /** The entry that revokes its identity. */
  identityRevokedBy: string | undefined;
}

/** Why nothing is issued in the node's name, whoever approves it; undefined: it may be. */
export function standingFault(
  { node, registered, awaited, removed, identityRevokedBy }: NodeStanding,
  byItself: boolean,
): string | undefined {
  if (identityRevokedBy !== undefined) return `the identity of node ${node} is revoked by ${identityRevokedBy}`;
  if (!registered && removed)
    return `node ${node} was removed; to let a machine of this name come, register it again: 'evercert token create --node-name ${node}', or a Node manifest`;
  if (awaited && byItself) return `the machine that was node ${node} is being replaced: the new one comes by a bootstrap token`;
  return undefined;
}
