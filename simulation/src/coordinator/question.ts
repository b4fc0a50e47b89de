import { nextState } from '@evercert/coordinator';
import {
  type AvailabilityFacts,
  expiredOf,
  historyOf,
  type ReplacementFacts,
  type ReplacementQuestion,
  type ReplacementRecord,
} from '@evercert/coordinator/replacement';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import { identityName } from '../world/machine.ts';
import type { SimulatedCoordinator } from './coordinator.ts';
import { factsOf } from './health.ts';
import type { NodeEntry } from './registry.ts';

export interface QuestionSources {
  coordinator: SimulatedCoordinator;
  policy: ReplacementPolicy;
  availability: AvailabilityFacts;
  records: readonly ReplacementRecord[];
}

/** What the real decision is asked; `without`: as if this replacement had never begun. */
export function questionOf({ coordinator, policy, availability, records }: QuestionSources, without = ''): ReplacementQuestion {
  const { registry, nowMs } = coordinator;
  return {
    cluster: 'simulated',
    policy,
    provisionerKnown: true,
    sameName: true,
    pause: registry.pause,
    availability,
    nodes: [...registry.nodes.values()].map((entry) => replacementFacts(coordinator, entry, records)),
    history: historyOf(records, nowMs, without),
    nowMs,
  };
}

function replacementFacts(coordinator: SimulatedCoordinator, entry: NodeEntry, records: readonly ReplacementRecord[]): ReplacementFacts {
  const { registry, nowMs } = coordinator;
  const { name, role, labels, cordon, health, replacement } = entry;
  const base = { name, role, labels, joined: registry.hasJoined(entry), failure: '', refusedInFuture: registry.refusedInFuture(name) };
  const replacing = replacement && { id: replacement.id, step: records.find(({ id }) => id === replacement.id)?.step ?? '' };
  // Who is Ready has nothing that has expired: it costs most to look, and nearly all are.
  const facts = health?.phase === 'Ready' ? undefined : factsOf(coordinator, entry);
  const state = health ?? (facts && nextState(facts, undefined));
  return {
    ...base,
    phase: state?.phase ?? 'Registered',
    phaseMessage: state?.message ?? '',
    expired: facts ? expiredOf(facts, entry.currents.get(identityName)?.issuedAtMs) : [],
    cordon: cordon && (cordon.untilMs === undefined || cordon.untilMs > nowMs) ? cordon : undefined,
    repairing: registry.isRepairing(name, nowMs),
    replacing,
  };
}
