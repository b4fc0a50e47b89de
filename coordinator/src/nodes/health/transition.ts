import { findingsOf } from './findings.ts';
import { messageOf, phaseOf } from './phase.ts';
import {
  type ConditionStatus,
  type ConditionType,
  conditionTypes,
  type HealthFacts,
  type NodeCondition,
  type NodeHealthState,
  type NodePhase,
} from './types.ts';

/** What is to be told of a change. */
export interface Transition {
  /** Reason of the event. */
  reason: string;
  warning: boolean;
  message: string;
}

const bad = new Set<NodePhase>(['RenewalFailing', 'Expiring', 'Expired', 'Unreachable', 'Revoked']);

const onTheWay = new Set<NodePhase>(['Registered', 'Joining']);

/** Reasons of events for a condition that turns False, and for one that is True again. `Ready` is told by the phase. */
const told: Record<Exclude<ConditionType, 'Ready'>, { False: string; True: string }> = {
  Reachable: { False: 'NodeUnreachable', True: 'NodeReachable' },
  CertificatesValid: { False: 'NodeCertificatesInvalid', True: 'NodeCertificatesValid' },
  RenewalsSucceeding: { False: 'NodeRenewalFailing', True: 'NodeRenewalsSucceeding' },
  ComponentsServing: { False: 'NodeComponentsNotServing', True: 'NodeComponentsServing' },
  TrustBundleCurrent: { False: 'NodeTrustBundleOutdated', True: 'NodeTrustBundleCurrent' },
};

/** The state after the earlier one, by the facts as they are now. A time moves only when its status, or the phase, changes. */
export function nextState(facts: HealthFacts, earlier: NodeHealthState | undefined): NodeHealthState {
  const findings = findingsOf(facts);
  const phase = phaseOf(facts, findings);
  const conditions = conditionTypes.map((type): NodeCondition => {
    const before = earlier?.conditions.find((condition) => condition.type === type);
    const lastTransitionMs = before?.status === findings[type].status ? before.lastTransitionMs : facts.nowMs;
    return { type, ...findings[type], lastTransitionMs };
  });
  return {
    phase,
    phaseSinceMs: earlier?.phase === phase ? earlier.phaseSinceMs : facts.nowMs,
    message: messageOf(phase, findings),
    conditions,
  };
}

/** Nothing that people are shown differs. */
export function sameState(a: NodeHealthState, b: NodeHealthState): boolean {
  return (
    a.phase === b.phase &&
    a.phaseSinceMs === b.phaseSinceMs &&
    a.message === b.message &&
    a.conditions.every((one, at) => same(one, b.conditions[at]))
  );
}

/** What has changed from one state to the next: the phase, and each condition that turned False or is True again after it. */
export function transitionsOf(name: string, before: NodeHealthState | undefined, after: NodeHealthState): Transition[] {
  const transitions: Transition[] = [];
  if (before?.phase !== after.phase && after.phase !== 'Registered') {
    const from = before && before.phase !== 'Registered' ? ` (it was ${before.phase})` : '';
    const why = after.message ? `: ${after.message}` : '';
    transitions.push({
      reason: `Node${after.phase}`,
      warning: bad.has(after.phase),
      message: `node ${name} is ${after.phase}${from}${why}`,
    });
  }
  // On the way to its first Ready, that this or that is not there yet, or is now, is no news.
  if (!before || onTheWay.has(before.phase)) return transitions;
  for (const { type, status, reason, message } of after.conditions) {
    if (type === 'Ready' || status === 'Unknown') continue;
    const was = before?.conditions.find((condition) => condition.type === type)?.status;
    if (!isTold(was, status)) continue;
    const event = told[type][status];
    if (transitions.some((transition) => transition.reason === event)) continue;
    transitions.push({
      reason: event,
      warning: status === 'False',
      message: `node ${name}: ${type} is ${status} (${reason})${message ? `: ${message}` : ''}`,
    });
  }
  return transitions;
}

function isTold(was: ConditionStatus | undefined, is: ConditionStatus): boolean {
  return is === 'False' ? was !== 'False' : was === 'False';
}

function same(a: NodeCondition, b: NodeCondition | undefined): boolean {
  return (
    b !== undefined &&
    a.type === b.type &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.message === b.message &&
    a.lastTransitionMs === b.lastTransitionMs
  );
}
