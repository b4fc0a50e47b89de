import type { KnownKeyAlgorithm } from '@evercert/shared/x509';
import type { AuthorityRecord, RotationRecord } from '../state/records.ts';

export interface NewRotation {
  id: string;
  by: string;
  reason: RotationRecord['reason'];
  note: string;
  intermediate: boolean;
  asked: NonNullable<RotationRecord['asked']>;
  following: readonly string[];
  nowMs: number;
}

/** What a CA's new key is where nobody says: what nodes have been measured with, also where the present one is of a kind that is not made any more. */
const defaultAlgorithm = 'ecdsa-p384';

/** A rotation at its begin: nothing has been made yet. */
export function newRotation(authority: AuthorityRecord, order: NewRotation): RotationRecord {
  const { id, by, reason, note, intermediate, asked, following, nowMs } = order;
  return {
    id,
    cluster: authority.cluster,
    authority: authority.name,
    stage: 'Preparing',
    stageSinceMs: nowMs,
    startedAtMs: nowMs,
    by,
    reason,
    note,
    keyAlgorithm: asked.keyAlgorithm ?? asItIs(authority),
    ...(intermediate && { intermediate }),
    oldSerial: authority.serial,
    newSerial: '',
    bundleVersion: authority.bundleVersion,
    ...(asked.deadlineAfterMs !== undefined && { deadlineMs: nowMs + asked.deadlineAfterMs }),
    ...(following.length > 0 && { following: [...following] }),
    ...((asked.keyAlgorithm !== undefined || asked.deadlineAfterMs !== undefined) && { asked }),
  };
}

function asItIs({ keyAlgorithm }: AuthorityRecord): KnownKeyAlgorithm {
  return keyAlgorithm === '' || keyAlgorithm === 'rsa-2048' ? defaultAlgorithm : keyAlgorithm;
}
