/** Where each record lives in the store. Names are RFC 1123 labels and can hold no slash, so that a prefix never reaches into a neighbour. */
const root = '/evercert/v1';

export const layout = {
  /** Everything that is Evercert's; of the store's other keys nothing is known. */
  root: `${root}/`,
  /** Clusters cannot be called this: it stands for what belongs to no cluster. */
  controlScope: '_control',

  controlCa: `${root}/control-ca`,
  clusters: `${root}/clusters/`,
  cluster: (name: string) => `${root}/clusters/${name}`,
  authorities: `${root}/cas/`,
  authority: (cluster: string, name: string) => `${root}/cas/${cluster}/${name}`,
  manifests: `${root}/manifests/`,
  manifest: (cluster: string, kind: string, name: string) => `${root}/manifests/${cluster}/${kind}/${name}`,
  keyPairs: `${root}/key-pairs/`,
  keyPair: (cluster: string, name: string) => `${root}/key-pairs/${cluster}/${name}`,
  nodes: `${root}/nodes/`,
  node: (cluster: string, name: string) => `${root}/nodes/${cluster}/${name}`,
  nodeStatuses: `${root}/node-status/`,
  nodeStatus: (cluster: string, name: string) => `${root}/node-status/${cluster}/${name}`,
  nodeHealths: `${root}/node-health/`,
  nodeHealth: (cluster: string, name: string) => `${root}/node-health/${cluster}/${name}`,
  /** Who holds an address: one node of a cluster at most. */
  address: (cluster: string, address: string) => `${root}/addresses/${cluster}/${address}`,
  addresses: (cluster: string) => `${root}/addresses/${cluster}/`,
  /** Replacements of workers, ended ones included. */
  replacements: `${root}/replacements/`,
  replacementsOf: (cluster: string) => `${root}/replacements/${cluster}/`,
  replacement: (cluster: string, id: string) => `${root}/replacements/${cluster}/${id}`,
  /** By cluster; the control scope stands for all. */
  replacementPauses: `${root}/replacement-pauses/`,
  replacementPause: (scope: string) => `${root}/replacement-pauses/${scope}`,
  /** Nodes that were removed, by the serial number of an identity of theirs. */
  removedNodes: `${root}/removed-nodes/`,
  removedNodesOf: (cluster: string) => `${root}/removed-nodes/${cluster}/`,
  removedNode: (cluster: string, identitySerial: string) => `${root}/removed-nodes/${cluster}/${identitySerial}`,
  /** When the coordinator was last well, and when it was not. */
  availability: `${root}/availability`,
  tokens: `${root}/tokens/`,
  token: (id: string) => `${root}/tokens/${id}`,
  certificates: `${root}/certificates/`,
  certificatesOf: (cluster: string) => `${root}/certificates/${cluster}/`,
  certificate: (cluster: string, serial: string) => `${root}/certificates/${cluster}/${serial}`,
  /** Which certificate a public key belongs to: makes issue idempotent, and keeps keys from being used twice. */
  publicKey: (spkiSha256: string) => `${root}/public-keys/${spkiSha256}`,
  /** The newest certificate of each node and name. */
  currents: (cluster: string, node?: string) => `${root}/current/${cluster}/${node === undefined ? '' : `${node}/`}`,
  current: (cluster: string, node: string, name: string) => `${root}/current/${cluster}/${node}/${name}`,
  allCurrents: `${root}/current/`,
  revocations: `${root}/revocations/`,
  revocationsOf: (cluster: string) => `${root}/revocations/${cluster}/`,
  revocation: (cluster: string, name: string) => `${root}/revocations/${cluster}/${name}`,
  /** Written with every change of a cluster's revocations: an issue that was decided before the change cannot be committed after it. */
  revocationEpochs: `${root}/revocation-epochs/`,
  revocationEpoch: (cluster: string) => `${root}/revocation-epochs/${cluster}`,
  /** The latest wall-clock time that was seen. */
  clockMark: `${root}/clock-mark`,
  repairWindows: `${root}/repair-windows/`,
  repairWindowsOf: (cluster: string) => `${root}/repair-windows/${cluster}/`,
  /** Recoveries that were refused for good, as the coordinator that was asked tells them to the one that repairs. */
  refusedRecoveries: `${root}/refused-recoveries/`,
  refusedRecovery: (cluster: string, node: string) => `${root}/refused-recoveries/${cluster}/${node}`,
  repairWindow: (cluster: string, node: string) => `${root}/repair-windows/${cluster}/${node}`,
  /** What was decided last of a node's replacement. */
  replacementVerdicts: `${root}/replacement-verdicts/`,
  replacementVerdict: (cluster: string, node: string) => `${root}/replacement-verdicts/${cluster}/${node}`,
  /** Which node of a cluster restarts a component of its control plane now. */
  restartLease: (cluster: string) => `${root}/restart-leases/${cluster}`,
  /** The newest CRL of each CA, and what it consists of. */
  revocationLists: `${root}/crls/`,
  revocationListsOf: (cluster: string) => `${root}/crls/${cluster}/`,
  revocationList: (cluster: string, issuer: string) => `${root}/crls/${cluster}/${issuer}`,
  revocationListPartsOf: (cluster: string) => `${root}/crl-parts/${cluster}/`,
  revocationListParts: (cluster: string, issuer: string, id?: string) =>
    `${root}/crl-parts/${cluster}/${issuer}/${id === undefined ? '' : `${id}/`}`,
  /** The elected coordinator, on its lease. */
  leader: `${root}/leader`,
  /** Coordinators that serve, each on its lease. */
  coordinators: `${root}/coordinators/`,
  coordinator: (id: string) => `${root}/coordinators/${id}`,
  /** Which coordinator a node's stream is at, on that coordinator's lease. */
  sessions: `${root}/sessions/`,
  session: (cluster: string, node: string) => `${root}/sessions/${cluster}/${node}`,
  /** Rotations of CAs, ended ones included; those of the control CA under the control scope. */
  rotations: `${root}/ca-rotations/`,
  rotationsOf: (cluster: string) => `${root}/ca-rotations/${cluster}/`,
  rotation: (cluster: string, id: string) => `${root}/ca-rotations/${cluster}/${id}`,
  /** Which rotation of a CA is under way; there is none while the key is not there. */
  rotating: `${root}/ca-rotating/`,
  rotatingOf: (cluster: string) => `${root}/ca-rotating/${cluster}/`,
  rotatingNow: (cluster: string, authority: string) => `${root}/ca-rotating/${cluster}/${authority}`,
  /** What was told of the end of a CA's certificate that draws near. */
  authorityEndings: (cluster: string) => `${root}/ca-endings/${cluster}/`,
  authorityEnding: (cluster: string, authority: string, serial: string) => `${root}/ca-endings/${cluster}/${authority}/${serial}`,
  /** Private keys, encrypted (key provider `store`). */
  sealedKeys: `${root}/keys/`,
  sealedKey: (id: string) => `${root}/keys/${id}`,
  /** The hash-chained audit log. */
  audit: `${root}/audit/`,
  auditHead: `${root}/audit/head`,
  /** By the sequence number of the first entry, then by the number of the block; in their order. */
  auditBlocks: `${root}/audit/blocks/`,
  auditBlock: (first: number, block: number) => `${root}/audit/blocks/${digits(first)}-${digits(block)}`,
  auditSigner: `${root}/audit/signer`,
  auditStore: `${root}/audit/store`,
  auditRelink: `${root}/audit/relink`,
  /** That this store is not to be used: it is being filled, or was moved elsewhere. */
  storeMark: `${root}/store-mark`,
  /** That, and from when, this store was restored from a backup. */
  restored: `${root}/restored`,
  events: `${root}/events/`,
  eventsOf: (cluster: string) => `${root}/events/${cluster}/`,
  event: (cluster: string, id: string) => `${root}/events/${cluster}/${id}`,
} as const;

/** Sorts as a number. */
function digits(number: number): string {
  return String(number).padStart(16, '0');
}

/** The last parts of a key, after a prefix: `['demo', 'cp-1']` of `…/nodes/demo/cp-1`. */
export function partsAfter(prefix: string, key: string): string[] {
  return key.slice(prefix.length).split('/');
}
