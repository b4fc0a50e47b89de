import { EvercertError } from '@evercert/shared/errors';

/** Whoever calls with an identity that the node does not have (any more); `removed`: why, where that is known. */
export function notAccepted(name: string, serial: string, removed?: { removedAtMs: number; by: string }): EvercertError {
  const why = removed
    ? `the node was removed at ${new Date(removed.removedAtMs).toISOString()} by ${removed.by}`
    : 'the node was deleted or joined again';
  return new EvercertError(
    'Unauthenticated',
    `identity ${serial} of node ${name} is not accepted (any more): ${why}; let it join with a new token`,
    { metadata: { node: name, serial } },
  );
}
