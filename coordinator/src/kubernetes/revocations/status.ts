/** What an object's status says. Pure. */
import { formatRfc3339 } from '@evercert/shared/manifest';
import { visibleLine } from '@evercert/shared/text';
import type { RevocationRecord } from '../../state/records.ts';
import type { Condition, RevocationObject, RevocationStatus } from './objects.ts';

/** Why an object was not taken. */
export interface Refused {
  reason: 'Invalid' | 'NameTaken' | 'TooManyEntries';
  message: string;
}

export interface Standing {
  /** Undefined: the object was taken as it is. */
  refused: Refused | undefined;
  /** What of it is in force; of an earlier generation, where the present one was refused. */
  record: RevocationRecord | undefined;
}

export interface Counts {
  /** Undefined: not counted yet. */
  matching: number | undefined;
  /** Refusals that the object's status does not have yet. */
  refusals: number;
}

const maxMessage = 2000;

export function statusOf(object: RevocationObject, { refused, record }: Standing, counts: Counts, nowMs: number): RevocationStatus {
  const before = object.status ?? {};
  const generation = object.metadata.generation ?? 1;
  const inForce = record ? (refused ? conditionOf(before, 'InEffect')?.observedGeneration : generation) : undefined;
  const condition = (type: string, status: Condition['status'], reason: string, message: string, observed = generation): Condition => {
    const known = conditionOf(before, type);
    return {
      type,
      status,
      observedGeneration: observed,
      // Kubernetes keeps whole seconds.
      lastTransitionTime: known?.status === status ? known.lastTransitionTime : formatRfc3339(Math.floor(nowMs / 1000) * 1000),
      reason,
      message: visibleLine(message).slice(0, maxMessage),
    };
  };
  const accepted = refused
    ? condition('Accepted', 'False', refused.reason, refused.message)
    : condition('Accepted', 'True', 'Accepted', 'the object is valid');
  const inEffect = record
    ? condition('InEffect', 'True', refused ? 'EarlierGeneration' : 'InEffect', inEffectMessage(record, refused !== undefined), inForce)
    : condition('InEffect', 'False', 'NotAccepted', 'it refuses nothing');
  const matching = record ? (counts.matching ?? before.matchingCertificates) : 0;
  return {
    observedGeneration: generation,
    state: record ? (refused ? 'EarlierInEffect' : 'InEffect') : 'NotAccepted',
    entries: record?.entries.length ?? entriesIn(object),
    ...(matching !== undefined && { matchingCertificates: matching }),
    refusals: (before.refusals ?? 0) + counts.refusals,
    conditions: [...(before.conditions ?? []).filter(({ type }) => type !== 'Accepted' && type !== 'InEffect'), accepted, inEffect],
  };
}

export function sameStatus(a: RevocationStatus | undefined, b: RevocationStatus): boolean {
  return a?.matchingCertificates === b.matchingCertificates && a?.refusals === b.refusals && sameJudgement(a, b);
}

/** Whether at most the counts differ, which can wait. */
export function sameJudgement(a: RevocationStatus | undefined, b: RevocationStatus): boolean {
  const text = ({ observedGeneration, state, entries, conditions = [] }: RevocationStatus): string =>
    JSON.stringify([
      observedGeneration,
      state,
      entries,
      conditions.map((one) => [one.type, one.status, one.observedGeneration, one.lastTransitionTime, one.reason, one.message]),
    ]);
  return a !== undefined && text(a) === text(b);
}

export function conditionOf({ conditions = [] }: RevocationStatus, type: string): Condition | undefined {
  return conditions.find((condition) => condition.type === type);
}

function inEffectMessage({ entries }: RevocationRecord, earlier: boolean): string {
  const what = entries.length === 1 ? 'one entry' : `${entries.length} entries`;
  return earlier ? `${what} as they were before the last change, which was not accepted` : `${what} in force`;
}

function entriesIn({ spec }: RevocationObject): number {
  const { revocations } = (spec ?? {}) as { revocations?: unknown };
  return Array.isArray(revocations) ? revocations.length : 0;
}
