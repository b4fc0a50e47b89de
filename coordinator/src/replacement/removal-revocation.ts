import { apiVersion, manifestLimits, toYaml } from '@evercert/shared/manifest';
import { revocationDocument } from '../revocation/documents.ts';
import type { RevocationRecord } from '../state/records.ts';

/** Where the objects come from that removals make: they go by themselves once their certificates have all expired. */
export const removalSource = 'replacement';
/** Serial numbers in one object: it can be applied again as it is. */
export const entriesAtOnce = manifestLimits.revocationEntries;

/** Of an object's name. */
const maxName = 63;

export interface RemovedCertificate {
  name: string;
  serial: string;
  issuedAtMs: number;
  isIdentity: boolean;
}

export interface RemovalRevocationOrder {
  cluster: string;
  node: string;
  by: string;
  suffix: string;
  certificates: readonly RemovedCertificate[];
  nowMs: number;
}

/** Revokes what a removed node had, by serial number: a new node of the same name is not touched by it. */
export function removalRevocation({ cluster, node, by, suffix, certificates, nowMs }: RemovalRevocationOrder): RevocationRecord {
  const draft: RevocationRecord = {
    cluster,
    name: removalName(node, suffix),
    namespace: '',
    apiVersion,
    description: `node ${node} was removed by ${by}`,
    entries: certificates.map(({ name, serial }) => ({
      kind: 'SerialNumber',
      value: serial,
      description: `${name} of ${node}`,
      reason: 'cessationOfOperation',
      includeSuccessors: false,
      successorSerials: [],
      addedAtMs: nowMs,
    })),
    generation: 1,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    source: removalSource,
    yaml: '',
  };
  return { ...draft, yaml: toYaml(revocationDocument(draft)) };
}

/** `removed-NODE-SUFFIX` as an RFC 1123 label: a long name is cut, dots become hyphens. */
export function removalName(node: string, suffix: string): string {
  const room = maxName - 'removed--'.length - suffix.length;
  const label = node.replaceAll('.', '-').slice(0, room).replace(/-+$/, '');
  return `removed-${label}-${suffix}`;
}
