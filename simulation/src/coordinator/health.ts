import {
  type CertificateFacts,
  type HealthFacts,
  type NodePhase,
  nextDue,
  nextState,
  type ReportedCertificate,
  sameState,
} from '@evercert/coordinator';
import type { Scheduled, VirtualTime } from '../time.ts';
import { renewAt } from '../world/agents.ts';
import { identityName, leafNames } from '../world/machine.ts';
import type { SimulatedCoordinator } from './coordinator.ts';
import type { IssuedLeaf, NodeEntry } from './registry.ts';

export const unreachableAfterMs = 40_000;
const sweepMs = 1000;

/** What the coordinator knows of a node by itself. */
const certain = new Set<NodePhase>(['Expired', 'Revoked', 'Repairing', 'Replacing']);

/** Keeps each node's health by the real state machine: derives it when something is heard, and when time alone makes a difference. */
export class SimulatedHealth {
  readonly #time: VirtualTime;
  readonly #coordinator: SimulatedCoordinator;
  readonly #changed: (entry: NodeEntry, before: NodePhase | undefined) => void;
  readonly #looks = new Map<string, Scheduled>();

  constructor(time: VirtualTime, coordinator: SimulatedCoordinator, changed: (entry: NodeEntry, before: NodePhase | undefined) => void) {
    this.#time = time;
    this.#coordinator = coordinator;
    this.#changed = changed;
  }

  /** A process begins, or the wall clock was stepped. */
  lookAtAll(): void {
    for (const entry of this.#coordinator.registry.nodes.values()) this.look(entry);
  }

  look(entry: NodeEntry): void {
    const { process } = this.#coordinator;
    if (!process || this.#coordinator.registry.nodes.get(entry.name) !== entry) return;
    const before = entry.health;
    const facts = factsOf(this.#coordinator, entry);
    const awaited = before !== undefined && !entry.fresh && process.clock.monotonicMs() <= unreachableAfterMs;
    const wasSilent = awaited && before.conditions.some(({ type, status }) => type === 'Reachable' && status === 'False');
    const after = nextState(wasSilent ? { ...facts, silentMs: Number.POSITIVE_INFINITY } : facts, before);
    this.#lookAgain(entry, facts);
    if (awaited && !certain.has(after.phase)) return;
    if (before && sameState(before, after)) return;
    entry.health = after;
    this.#changed(entry, before?.phase);
  }

  #lookAgain(entry: NodeEntry, facts: HealthFacts): void {
    const { wallMs, silentForMs } = nextDue(facts);
    // Who is connected is heard all the time: no silence falls due.
    const inMs = Math.min(wallMs - facts.nowMs, entry.connected ? Number.POSITIVE_INFINITY : silentForMs);
    const earlier = this.#looks.get(entry.name);
    if (earlier) earlier.cancelled = true;
    if (!Number.isFinite(inMs)) return;
    this.#looks.set(
      entry.name,
      this.#time.after(inMs + sweepMs, () => this.look(entry)),
    );
  }
}

export function factsOf(coordinator: SimulatedCoordinator, entry: NodeEntry): HealthFacts {
  const { registry, process, nowMs } = coordinator;
  const identity = entry.currents.get(identityName);
  const monotonicMs = process?.clock.monotonicMs() ?? 0;
  const refusal = identity && registry.refusal(entry, identityName);
  return {
    role: entry.role,
    removed: false,
    joined: identity !== undefined,
    silentMs: entry.connected ? 0 : entry.seenMonotonicMs === undefined ? undefined : monotonicMs - entry.seenMonotonicMs,
    unreachableAfterMs,
    lastSeenAtMs: entry.seenWallMs,
    reported: entry.report !== undefined,
    fresh: entry.fresh,
    identity: { serial: identity?.serial ?? '', notAfterMs: identity?.notAfterMs ?? 0, revokedBy: refusal && `entry 1 of ${refusal.name}` },
    certificates: leafNames[entry.role].map((name, at): CertificateFacts => {
      const refused = registry.refusal(entry, name);
      const issued = entry.currents.get(name);
      return {
        name,
        renewAt,
        issued,
        reported: reportedNow(entry.report?.[at], issued, nowMs),
        revokedBy: refused && `entry 1 of ${refused.name}`,
      };
    }),
    parts: [],
    components: [],
    problems: [],
    repairing: registry.isRepairing(entry.name, nowMs),
    replacing: entry.replacement?.id,
    nowMs,
  };
}

/** Where it comes from is looked up once it is not the newest any more, which takes a moment. */
function reportedNow(
  reported: ReportedCertificate | undefined,
  issued: IssuedLeaf | undefined,
  nowMs: number,
): ReportedCertificate | undefined {
  if (!reported || reported.serial === issued?.serial) return reported;
  return { ...reported, origin: issued && nowMs - issued.issuedAtMs < sweepMs ? 'unchecked' : 'superseded' };
}
