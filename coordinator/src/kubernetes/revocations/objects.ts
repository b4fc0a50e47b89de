/** RenewRevocation objects as an API server has them. Pure. */
import { formatFault } from '@evercert/shared/errors';
import { parseDocuments, type RenewRevocation, type RevocationApiVersion, valueFields } from '@evercert/shared/manifest';
import type { KubernetesObject } from '../core/index.ts';

export interface RevocationObject extends KubernetesObject {
  spec?: unknown;
  status?: RevocationStatus;
}

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/condition/ */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  lastTransitionTime: string;
  reason: string;
  message: string;
}

export interface RevocationStatus {
  observedGeneration?: number;
  /** In one word, for a column. */
  state?: string;
  entries?: number;
  /** Certificates, not expired, that it matches. */
  matchingCertificates?: number;
  /** Renewals and issues that it has refused. */
  refusals?: number;
  conditions?: Condition[];
}

/** Objects of one API group in one namespace. */
export interface ObjectSource {
  apiVersion: RevocationApiVersion;
  namespace: string;
}

/** Faults that a message tells. */
const maxFaults = 5;

export function collectionPath({ apiVersion, namespace }: ObjectSource): string {
  return `/apis/${apiVersion}/namespaces/${encodeURIComponent(namespace)}/renewrevocations`;
}

/** `renewrevocations.GROUP NAME in namespace NAMESPACE`, for people. */
export function describeObject({ apiVersion, namespace }: ObjectSource, name: string): string {
  return `renewrevocations.${apiVersion.split('/')[0]} ${name} in namespace ${namespace}`;
}

/** By the very parser of `evercert apply`; or what is wrong with it, each fault with its field. */
export function readObject(
  { metadata, spec }: RevocationObject,
  apiVersion: RevocationApiVersion,
): { document: RenewRevocation } | { fault: string } {
  const { name, namespace } = metadata;
  const text = JSON.stringify({ apiVersion, kind: 'RenewRevocation', metadata: { name, namespace }, spec });
  const { documents, faults } = parseDocuments(text, { file: name, kinds: ['RenewRevocation'] });
  const all = [...numbersIn(spec), ...faults].map(({ field, message }) => formatFault({ field, message }));
  const [parsed] = documents;
  if (all.length === 0 && parsed) return { document: parsed.document as RenewRevocation };
  const more = all.length > maxFaults ? `; and ${all.length - maxFaults} more` : '';
  return { fault: all.slice(0, maxFaults).join('; ') + more };
}

/** The API server keeps a number, not what was written: of `12e5` nothing is left but 1200000. */
function numbersIn(spec: unknown): { field: string; message: string }[] {
  const { revocations } = (spec ?? {}) as { revocations?: unknown };
  if (!Array.isArray(revocations)) return [];
  return revocations.flatMap((entry: unknown, index) =>
    Object.values(valueFields)
      .filter((field) => typeof (entry as Record<string, unknown> | null)?.[field] === 'number')
      .map((field) => ({
        field: `spec.revocations[${index}].${field}`,
        message: 'expected text, found a number: put it in quotes, or digits of it are lost',
      })),
  );
}
