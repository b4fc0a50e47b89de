/** Replacements as the protocol tells them. */
import type { NodeReplacement, Replacement, ReplacementPause } from '@evercert/proto';
import type { ShownVerdict } from '../replacement/shown.ts';
import type { ReplacementPauseRecord, ReplacementRecord } from '../replacement/types.ts';

export function replacementToProto(record: ReplacementRecord): Replacement {
  const { id, cluster, node, newNode, provisioner, state, step, attempt, reason, message } = record;
  return {
    id,
    cluster,
    node,
    newNode,
    provisioner,
    state,
    step,
    attempt,
    reason,
    message,
    createdAt: new Date(record.createdAtMs),
    finishedAt: dateOf(record.finishedAtMs),
    nextAttemptAt: state === 'BackingOff' ? dateOf(record.nextAttemptAtMs) : undefined,
    steps: record.steps.map((one) => ({
      step: one.step,
      attempt: one.attempt,
      idempotencyKey: one.idempotencyKey,
      startedAt: new Date(one.startedAtMs),
      finishedAt: dateOf(one.finishedAtMs),
      result: one.result,
      message: one.message,
    })),
  };
}

export function pauseToProto({ cluster, atMs, by, reason }: ReplacementPauseRecord): ReplacementPause {
  return { cluster, at: new Date(atMs), by, reason };
}

/** Undefined: there is nothing to tell. */
export function nodeReplacementToProto(verdict: ShownVerdict | undefined): NodeReplacement | undefined {
  if (!verdict) return undefined;
  const { kind, reason, message, sinceMs, replacementId, step } = verdict;
  return { verdict: kind, reason, message, since: new Date(sinceMs), replacementId, step };
}

function dateOf(ms: number | undefined): Date | undefined {
  return ms === undefined ? undefined : new Date(ms);
}
