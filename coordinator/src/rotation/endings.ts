/** How near a CA's end is, and when its rotation is to begin by itself. Pure. */
import type { AuthorityEnding, AuthorityRecord, RotationRecord } from '../state/records.ts';

const dayMs = 86_400_000;
const yearMs = 365 * dayMs;
const halfYearMs = yearMs / 2;
/** After somebody has ended a rotation, none begins by itself for so long. */
const respectMs = 7 * dayMs;

/** Undefined: its end is far. The first certificate to end counts: its own, or one above it. */
export function endingOf({ notAfterMs }: Pick<AuthorityRecord, 'notAfterMs'>, nowMs: number): AuthorityEnding | undefined {
  const leftMs = notAfterMs - nowMs;
  if (leftMs <= 0) return 'Ended';
  if (leftMs <= halfYearMs) return 'WithinHalfYear';
  return leftMs <= yearMs ? 'WithinYear' : undefined;
}

const severity: Record<AuthorityEnding, number> = { WithinYear: 1, WithinHalfYear: 2, Ended: 3 };

export function isWorse(ending: AuthorityEnding, told: AuthorityEnding | undefined): boolean {
  return told === undefined || severity[ending] > severity[told];
}

export interface AutomaticQuestion {
  authority: AuthorityRecord;
  policy: { automatic: boolean; beforeSeconds: number };
  /** Of this CA, ended ones included. */
  history: readonly RotationRecord[];
  /** Any rotation of the cluster is under way: CAs take turns. */
  busy: boolean;
  nowMs: number;
}

/** Whether a rotation is to begin by itself. An intermediate needs the root that is kept offline, so that a person begins it. */
export function beginsByItself({ authority, policy, history, busy, nowMs }: AutomaticQuestion): boolean {
  const { keyId, root, notAfterMs } = authority;
  if (!policy.automatic || busy || keyId === '' || root !== undefined) return false;
  if (notAfterMs - nowMs > policy.beforeSeconds * 1000) return false;
  return !history.some(({ stage, endedAtMs = 0 }) => stage === 'Aborted' && nowMs - endedAtMs < respectMs);
}
