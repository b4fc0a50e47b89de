/** Decisions that are wrong in one way each, made of the real ones by lying to them. */
import type { ReplacementQuestion } from '@evercert/coordinator/replacement';
import { type Decisions, realDecisions } from '@evercert/simulation';

function lied(lie: (question: ReplacementQuestion) => ReplacementQuestion): Decisions {
  return {
    decide: (question) => realDecisions.decide(lie(question)),
    reconsider: (question, node) => realDecisions.reconsider(lie(question), node),
  };
}

const withPolicy = (change: Partial<ReplacementQuestion['policy']>): Decisions =>
  lied((question) => ({ ...question, policy: { ...question.policy, ...change } }));

const withNodes = (
  change: (node: ReplacementQuestion['nodes'][number], nowMs: number) => Partial<ReplacementQuestion['nodes'][number]>,
): Decisions => lied((question) => ({ ...question, nodes: question.nodes.map((node) => ({ ...node, ...change(node, question.nowMs) })) }));

export const ignoresMaxUnhealthy = withPolicy({ maxUnhealthy: '100%' });
export const ignoresGrace = withPolicy({ graceSeconds: 0 });
export const ignoresWindows = withPolicy({ maintenanceWindows: [] });
export const ignoresMode = withPolicy({ mode: 'active' });
export const ignoresRate = withPolicy({ maxPerHour: 1000 });
export const ignoresConcurrency = withPolicy({ maxConcurrent: 1000 });
export const ignoresPauses = lied((question) => ({ ...question, pause: undefined }));
export const ignoresControlPlane = withNodes(() => ({ role: 'worker' }));
export const ignoresCordons = withNodes(() => ({ cordon: undefined }));
export const ignoresRepairWindows = withNodes(() => ({ repairing: false }));
export const ignoresRevocations = withNodes(() => ({ refusedInFuture: '' }));

export const ignoresBackOff = lied((question) => ({
  ...question,
  history: { ...question.history, running: question.history.running.map(({ backingOffUntilMs: _none, ...one }) => one) },
}));

export const ignoresOwnAbsence = lied((question) => ({ ...question, availability: { healthySinceMs: 0, problem: '', outages: [] } }));

export const trustsItsClock = lied(({ availability: { leaps: _none, ...availability }, ...question }) => ({ ...question, availability }));

/** Does not ask once more before a machine is removed. */
export const neverReconsiders: Decisions = {
  ...realDecisions,
  reconsider: (_question, node) => ({ node, kind: 'Due', reason: 'CertificatesExpired', message: '' }),
};

/** Takes whoever is silent for expired. */
export const replacesTheSilent: Decisions = {
  ...neverReconsiders,
  decide: withNodes(({ phase, expired }, nowMs) =>
    phase === 'Unreachable'
      ? { phase: 'Expired', expired: [{ name: 'kubelet-client', dueMs: nowMs - 40 * 3600_000, endMs: nowMs - 7 * 3600_000 }] }
      : { expired },
  ).decide,
};

export const replacesNobody: Decisions = { ...realDecisions, decide: (question) => ({ ...realDecisions.decide(question), start: [] }) };
