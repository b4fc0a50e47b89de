import type { CertificateSigningRequest } from './types.ts';

const hourMs = 3_600_000;
/** Those of kube-controller-manager's csrcleaner. */
const keptMs = { answered: hourMs, pending: 24 * hourMs };

/** When a request may be deleted, as kube-controller-manager's csrcleaner reckons it; undefined: not as it is now (approved, and not signed yet). */
export function deletableAtMs({ metadata, status }: CertificateSigningRequest): number | undefined {
  const conditions = status?.conditions ?? [];
  const createdAtMs = Date.parse(metadata.creationTimestamp);
  if (conditions.length === 0) return createdAtMs + keptMs.pending;
  const issued = (status?.certificate ?? '') !== '';
  const answers = conditions.filter(({ type }) => type === 'Denied' || type === 'Failed' || (type === 'Approved' && issued));
  // Approved, and not signed: somebody waits for it still.
  if (answers.length === 0) return undefined;
  const since = Math.max(...answers.map(({ lastUpdateTime }) => Date.parse(lastUpdateTime ?? metadata.creationTimestamp)));
  return since + keptMs.answered;
}
