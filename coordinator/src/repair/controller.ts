import type { Clock } from '@evercert/shared/clock';
import { EvercertError, toEvercertError } from '@evercert/shared/errors';
import { clusterNotFound } from '../clusters/clusters.ts';
import type { EventRecorder } from '../events/recorder.ts';
import { type NodeRegistry, nodeNotFound } from '../nodes/registry.ts';
import type { Refusals } from '../recovery/refusals.ts';
import type { Model } from '../state/model.ts';
import { type FactsSources, factsOf } from './facts.ts';
import { NodeRepair, type RepairLimits } from './node-repair.ts';
import { planNode, planRepair, quorumOf } from './planner.ts';
import type { NodeRepairPlan, QuorumFacts, RepairFacts, RepairNews, RepairOutcome, RepairPlan, RepairStep } from './types.ts';
import { defaultWindowMs, longestWindowMs, type RepairWindows } from './windows.ts';

export interface RepairOrder {
  cluster: string;
  /** Empty: every control-plane node that needs it. */
  nodes: string[];
  dryRun: boolean;
  /** 0: the default. */
  windowMs: number;
  actor: string;
}

export interface RepairsOptions {
  facts: FactsSources;
  model: Model;
  registry: NodeRegistry;
  windows: RepairWindows;
  refusals: Refusals;
  events: EventRecorder;
  clock: Clock;
  limits: RepairLimits;
}

/** How long the others may take to be well again after a node was repaired. */
const quorumMs = 30_000;
/** How long a component may be unwell on a node on which nothing is to be repaired. */
const settleMs = 10_000;
const pollMs = 200;

/**
 * Brings nodes back whose certificates or identities have expired, were revoked, are missing or broken. What is to be done is worked out anew from the state of things each time, and
 * all that outlives a call is in the store (windows, marks): a repair that was broken off goes on with the next call. No node is ever removed (invariant 15).
 */
export class Repairs {
  readonly #options: RepairsOptions;
  /** Who repairs which cluster now: two at once would not go one node at a time. */
  readonly #running = new Map<string, string>();
  readonly #stop = new AbortController();
  readonly #ended = new Set<Promise<unknown>>();

  constructor(options: RepairsOptions) {
    this.#options = options;
  }

  /**
   * Tells the plan, then each step, then the outcomes. Ends early, with windows and marks left as they are, when the signal aborts.
   * Errors: NotFound (cluster, a named node), InvalidArgument (the window), Conflict (another repair of this cluster is under way), FailedPrecondition (the clock was moved back), Unavailable (it
   * was stopped).
   */
  async run(order: RepairOrder, caller: AbortSignal, tell: (news: RepairNews) => void): Promise<void> {
    const { cluster, actor, dryRun } = order;
    this.#check(order);
    if (dryRun) return tell({ type: 'plan', plan: this.plan(order) });
    const other = this.#running.get(cluster);
    if (other !== undefined)
      throw new EvercertError('Conflict', `a repair of cluster ${cluster} by ${other} is under way: wait for its end, or end it`);
    this.#running.set(cluster, actor);
    const signal = AbortSignal.any([caller, this.#stop.signal]);
    try {
      const plan = this.plan(order);
      tell({ type: 'plan', plan });
      const carriedOut = this.#carryOut(plan, order, signal, tell);
      this.#ended.add(carriedOut);
      const outcomes = await carriedOut.finally(() => this.#ended.delete(carriedOut));
      if (!signal.aborted) tell({ type: 'summary', outcomes });
    } finally {
      this.#running.delete(cluster);
    }
    if (this.#stop.signal.aborted && !caller.aborted)
      throw new EvercertError('Unavailable', 'this coordinator stops, or another has taken the repairs over: begin again, and it goes on', {
        retryAfterMs: 2000,
      });
  }

  /** Breaks off what is under way. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled(this.#ended);
  }

  /** What a repair would do now. */
  plan({ cluster, nodes: named }: Pick<RepairOrder, 'cluster' | 'nodes'>): RepairPlan {
    return planRepair({ cluster, nodes: this.#allFacts(cluster), named, nowMs: this.#options.clock.nowMs() });
  }

  #check({ cluster, nodes, windowMs }: RepairOrder): void {
    const { model } = this.#options;
    if (!model.cluster(cluster)) throw clusterNotFound(cluster);
    const missing = nodes.find((name) => !model.node(cluster, name));
    if (missing !== undefined) throw nodeNotFound(cluster, missing);
    if (windowMs < 0 || windowMs > longestWindowMs) {
      throw new EvercertError('InvalidArgument', `window: expected more than 0 and at most ${longestWindowMs / 3600_000}h`);
    }
  }

  async #carryOut(plan: RepairPlan, order: RepairOrder, signal: AbortSignal, tell: (news: RepairNews) => void): Promise<RepairOutcome[]> {
    const { cluster, actor } = order;
    const { events } = this.#options;
    const due = plan.nodes.filter(({ action }) => action === 'repair');
    const outcomes = new Map<string, RepairOutcome>();
    const names = due.map(({ node }) => node);
    events.record({ cluster, actor, reason: 'RepairStarted', message: `repair of ${names.join(', ') || 'no node'}, ${plan.strategy}` });
    const atOnce = async (nodes: NodeRepairPlan[]): Promise<void> => {
      const all = await Promise.all(nodes.map((node) => this.#repairOne(node, order, signal, tell)));
      for (const outcome of all) outcomes.set(outcome.node, outcome);
    };
    const serial = plan.strategy === 'serial' ? due.filter(({ role }) => role === 'control-plane') : [];
    await this.#oneByOne({ due: serial, quorum: plan.quorum, outcomes }, order, signal, tell);
    await atOnce(signal.aborted ? [] : due.filter((node) => !serial.includes(node)));
    // Last: a member on which nothing was to be repaired may have been unwell for want of the others.
    const others = plan.nodes.filter(({ action }) => action !== 'repair');
    const settled = await Promise.all(others.map((node) => this.#settled(node, cluster, signal)));
    for (const node of settled) outcomes.set(node.node, withoutRepair(node));
    const ordered = plan.nodes.flatMap(({ node }) => outcomes.get(node) ?? []);
    const summary = ordered.map(({ node, result }) => `${node} ${result}`).join(', ');
    events.record({
      cluster,
      actor,
      reason: signal.aborted ? 'RepairInterrupted' : 'RepairEnded',
      warning: ordered.some(({ result }) => !isWell(result)),
      message: signal.aborted ? 'the caller went away; windows that are open stay so until their time is over' : summary || 'nothing to do',
    });
    return ordered;
  }

  /** A component that has just got its certificates is seen well a few seconds later. */
  async #settled(node: NodeRepairPlan, cluster: string, signal: AbortSignal): Promise<NodeRepairPlan> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + settleMs;
    let now = node;
    while (isUnwell(now) && !signal.aborted && clock.monotonicMs() < endMs) {
      await pause(clock, signal);
      now = planNode(cluster, this.#factsOf(cluster, node.node), clock.nowMs());
    }
    return now.action === 'repair' ? node : now;
  }

  /** Those that are worst off first; the next only while etcd (or the control plane) keeps its quorum. */
  async #oneByOne(
    { due, quorum, outcomes }: { due: NodeRepairPlan[]; quorum: QuorumFacts; outcomes: Map<string, RepairOutcome> },
    order: RepairOrder,
    signal: AbortSignal,
    tell: (news: RepairNews) => void,
  ): Promise<void> {
    const first = due.filter(({ node }) => !quorum.healthy.includes(node));
    const sorted = [...first, ...due.filter((node) => !first.includes(node))];
    for (const [index, node] of sorted.entries()) {
      if (signal.aborted) return;
      outcomes.set(node.node, await this.#repairOne(node, order, signal, tell));
      if (signal.aborted || index === sorted.length - 1) continue;
      const after = await this.#awaitQuorum(order.cluster, signal);
      const message = `${after.healthy.length} of ${after.members.length} ${after.by === 'etcd' ? 'etcd members' : 'control-plane nodes'} are well, ${after.needed} are needed`;
      tell(this.#news(node.node, 'QuorumChecked', message));
      if (after.healthy.length >= after.needed) continue;
      for (const { node: left } of sorted.slice(index + 1)) {
        outcomes.set(left, {
          node: left,
          result: 'Failed',
          certificates: [],
          message: `not begun, since ${message}: see what is wrong with the others, then run the repair again`,
        });
      }
      return;
    }
  }

  async #awaitQuorum(cluster: string, signal: AbortSignal): Promise<QuorumFacts> {
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + quorumMs;
    for (;;) {
      const quorum = quorumNow(this.#options.facts, cluster);
      if (quorum.healthy.length >= quorum.needed || signal.aborted || clock.monotonicMs() >= endMs) return quorum;
      await pause(clock, signal);
    }
  }

  async #repairOne(
    plan: NodeRepairPlan,
    order: RepairOrder,
    signal: AbortSignal,
    tell: (news: RepairNews) => void,
  ): Promise<RepairOutcome> {
    const { registry, windows, refusals, events, clock, limits } = this.#options;
    const { cluster, actor } = order;
    const repair = new NodeRepair({
      cluster,
      plan,
      actor,
      windowMs: order.windowMs || defaultWindowMs,
      limits,
      facts: () => this.#factsOf(cluster, plan.node),
      registry,
      windows,
      refusals,
      clock,
      pause: () => pause(clock, signal),
      signal,
      tell: (step, message, certificate) => tell(this.#news(plan.node, step, message, certificate)),
    });
    let outcome: RepairOutcome;
    try {
      outcome = await repair.run();
    } catch (caught) {
      const error = toEvercertError(caught);
      outcome = { node: plan.node, result: 'Failed', certificates: [], message: error.message };
      tell(this.#news(plan.node, 'Failed', error.message));
    }
    const reasons = {
      Repaired: 'NodeRepaired',
      Silent: 'NodeSilent',
      Failed: 'RepairFailed',
      Healthy: 'NodeRepaired',
      Refused: 'RepairRefused',
    };
    if (!signal.aborted) {
      events.record({
        cluster,
        node: plan.node,
        actor,
        reason: reasons[outcome.result],
        warning: !isWell(outcome.result),
        message: outcome.message,
      });
    }
    return outcome;
  }

  #news(node: string, step: RepairStep, message: string, certificate = ''): RepairNews {
    return { type: 'progress', timeMs: this.#options.clock.nowMs(), node, certificate, step, message };
  }

  #factsOf(cluster: string, name: string): RepairFacts {
    const record = this.#options.model.node(cluster, name);
    if (!record) throw nodeNotFound(cluster, name);
    return factsOf(this.#options.facts, record);
  }

  #allFacts(cluster: string): RepairFacts[] {
    return allFactsOf(this.#options.facts, cluster);
  }
}

/** How the cluster's etcd, or its control plane, stands now. */
export function quorumNow(sources: FactsSources, cluster: string): QuorumFacts {
  return quorumOf(allFactsOf(sources, cluster), sources.nowMs());
}

function allFactsOf(sources: FactsSources, cluster: string): RepairFacts[] {
  return sources.model.nodesOf(cluster).map((record) => factsOf(sources, record));
}

export function isWell(result: RepairOutcome['result']): boolean {
  return result === 'Repaired' || result === 'Healthy';
}

/** Nothing is to be repaired, and yet not all is well. */
function isUnwell({ action, findings }: NodeRepairPlan): boolean {
  return action === 'skip' && findings.length > 0;
}

function withoutRepair(plan: NodeRepairPlan): RepairOutcome {
  const result = plan.action === 'refused' ? 'Refused' : isUnwell(plan) ? 'Failed' : 'Healthy';
  return { node: plan.node, result, certificates: [], message: plan.reason };
}

async function pause(clock: Clock, signal: AbortSignal): Promise<void> {
  try {
    await clock.sleep(pollMs, signal);
  } catch (error) {
    // The loops look at the signal themselves.
    if (!signal.aborted) throw error;
  }
}
