import type { ReplacementFacts, ReplacementQuestion } from '@evercert/coordinator/replacement';
import { defaultReplacementPolicy, type ReplacementPolicy } from '@evercert/shared/manifest';

export const now = Date.parse('2026-01-05T12:00:00Z');
export const minute = 60_000;
export const hour = 60 * minute;

/** A certificate of 96 hours that ended so long ago: its renewal was due 32 hours earlier. */
export function ended(agoMs: number, name = 'kubelet-client'): ReplacementFacts['expired'][number] {
  return { name, dueMs: now - agoMs - 32 * hour, endMs: now - agoMs };
}

/** A worker with which nothing is wrong. */
export function worker(name: string, change: Partial<ReplacementFacts> = {}): ReplacementFacts {
  return {
    name,
    role: 'worker',
    labels: {},
    joined: true,
    phase: 'Ready',
    phaseMessage: '',
    expired: [],
    failure: '',
    cordon: undefined,
    repairing: false,
    refusedInFuture: '',
    refusedByAnyName: '',
    replacing: undefined,
    ...change,
  };
}

/** A worker one of whose certificates ended an hour ago. */
export function lost(name: string, change: Partial<ReplacementFacts> = {}): ReplacementFacts {
  return worker(name, { phase: 'Expired', phaseMessage: 'kubelet-client has expired', expired: [ended(hour)], ...change });
}

/** Ten workers, of which the first is lost, a coordinator that has been well for a month, and nothing that holds anybody back. */
export function question(
  change: Partial<Omit<ReplacementQuestion, 'policy'>> & { policy?: Partial<ReplacementPolicy> } = {},
): ReplacementQuestion {
  const { policy, ...rest } = change;
  return {
    cluster: 'demo',
    policy: { ...defaultReplacementPolicy, provisioner: 'machines', ...policy },
    provisionerKnown: true,
    sameName: true,
    pause: undefined,
    availability: { healthySinceMs: now - 30 * 24 * hour, problem: '', outages: [] },
    nodes: fleet(lost('w-0')),
    history: { running: [], startedAtMs: [] },
    nowMs: now,
    ...rest,
  };
}

/** Those given, and as many healthy workers that there are ten in all. */
export function fleet(...given: ReplacementFacts[]): ReplacementFacts[] {
  return [...given, ...Array.from({ length: Math.max(0, 10 - given.length) }, (_, at) => worker(`h-${at}`))];
}
