import { decide, reconsider } from '@evercert/coordinator/replacement';
import type { RecoveryPolicy, ReplacementPolicy } from '@evercert/shared/manifest';
import { Brain } from './coordinator/brain.ts';
import type { Decisions } from './coordinator/controller.ts';
import { SimulatedCoordinator } from './coordinator/coordinator.ts';
import { Registry } from './coordinator/registry.ts';
import { History } from './history.ts';
import { Judge, type Violation } from './judge/judge.ts';
import { Truth } from './judge/truth.ts';
import { MemoryStore } from './memory-store.ts';
import { type ClusterRules, drawRules } from './policy.ts';
import { Random } from './random.ts';
import { VirtualTime } from './time.ts';
import { Agents } from './world/agents.ts';
import { forecast } from './world/forecast.ts';
import { NewMachines, populate } from './world/machines.ts';
import { SimulatedProvisioner } from './world/provisioner.ts';
import { usualWeather, type Weather } from './world/weather.ts';
import type { World } from './world/world.ts';

const dayMs = 86_400_000;
const tickMs = 60 * 60_000;
/** A Monday. */
const startMs = Date.parse('2026-01-05T00:00:00Z');

export const realDecisions: Decisions = { decide, reconsider };

export interface ClusterOptions {
  seed: string;
  cluster: number;
  nodes: number;
  days: number;
  weather?: Weather;
  /** Changes what was drawn. */
  policy?: Partial<ReplacementPolicy>;
  recovery?: RecoveryPolicy;
  decisions?: Decisions;
  lostAfterMs?: number;
  /** Told each thing that happens. */
  tell?: (line: string) => void;
}

export interface ClusterResult {
  cluster: number;
  violations: Violation[];
  digest: string;
  counts: Counts;
  heldBy: Record<string, number>;
}

export interface Counts {
  events: number;
  decisions: number;
  /** Workers that were begun to be replaced, whose machine was removed, whose new node came up, and who recovered meanwhile. */
  replacements: number;
  removed: number;
  succeeded: number;
  cancelled: number;
  /** Times that a machine did not join, and another was made. */
  retried: number;
}

/** Simulates one cluster from its beginning to the end of its days. */
export async function simulateCluster(options: ClusterOptions): Promise<ClusterResult> {
  const { seed, cluster, nodes, days, weather = usualWeather, decisions = realDecisions, lostAfterMs = 3 * 3600_000 } = options;
  const random = new Random(`${seed}/cluster/${cluster}`);
  const rules = drawRules(random.stream('rules'), startMs, days);
  Object.assign(rules.policy, options.policy);
  rules.recovery.worker = options.recovery ?? rules.recovery.worker;
  const history = new History(options.tell);
  const { time, world, brain, judge, settle } = assemble({ random, rules, history, decisions, lostAfterMs });
  history.add(startMs, `cluster ${cluster}: ${nodes} nodes, recovery of workers ${rules.recovery.worker}, ${JSON.stringify(rules.policy)}`);
  world.boot();
  populate(world, random.stream('population'), nodes);
  forecast(world, random.stream('faults'), { weather, nodes, days });
  const tick = (): void => {
    judge.tick(world.provisioner.isBroken);
    time.after(tickMs, tick);
  };
  time.after(tickMs, tick);
  let events = 0;
  for (await settle(); time.step(startMs + days * dayMs); events += 1) await settle();
  brain.kill();
  await settle();
  const { records } = brain;
  const counts: Counts = {
    events,
    decisions: brain.decided,
    replacements: judge.replacements,
    removed: judge.removed,
    succeeded: records.filter(({ state }) => state === 'Succeeded').length,
    cancelled: records.filter(({ state }) => state === 'Cancelled').length,
    retried: records.reduce((sum, { attempt }) => sum + attempt - 1, 0),
  };
  return { cluster, violations: judge.violations, digest: history.digest(), counts, heldBy: brain.heldBy };
}

interface Parts {
  random: Random;
  rules: ClusterRules;
  history: History;
  decisions: Decisions;
  lostAfterMs: number;
}

function assemble({ random, rules, history, decisions, lostAfterMs }: Parts) {
  const time = new VirtualTime(startMs);
  const { touched, settle } = settling();
  const registry = new Registry();
  const store = new MemoryStore(touched);
  const coordinator = new SimulatedCoordinator({ time, store, registry, recovery: rules.recovery });
  const machines: World['machines'] = new Map();
  const { policy } = rules;
  const truth = new Truth({ time, coordinator, policy, machines });
  const judge = new Judge({ truth, history, lostAfterMs });
  const agents = new Agents(time, random.stream('agents'), coordinator);
  const newMachines = new NewMachines({ random: random.stream('new machines'), policy });
  const provisioner = new SimulatedProvisioner({ time, random: random.stream('provisioner'), machines: newMachines });
  const brain = new Brain({ time, coordinator, policy, provisioner, random: random.stream('sagas'), decisions, history, judge, touched });
  const world: World = {
    time,
    history,
    machines,
    agents,
    coordinator,
    registry,
    provisioner,
    policy,
    cuts: new Set(),
    kill: () => {
      brain.kill();
      truth.look();
      for (const machine of machines.values()) agents.changed(machine);
    },
    boot: () => {
      brain.boot();
      truth.look();
      for (const machine of machines.values()) agents.changed(machine);
    },
    stir: () => {
      truth.look();
      brain.stir();
      for (const machine of machines.values()) agents.changed(machine);
    },
    ruled: () => brain.ruled(),
    twoMachines: (node) => judge.twoMachines(node),
  };
  truth.look();
  newMachines.settleIn(world, (token) => brain.tokenWorks(token));
  coordinator.onHeard((entry) => {
    truth.heard(entry.name, entry.connected);
    brain.heard(entry);
  });
  return { time, world, brain, judge, settle };
}

/** Promises that hang on what has just happened run before time goes on; it is only waited for when there may be some. */
function settling(): { touched: () => void; settle: () => Promise<void> } {
  let waiting = true;
  const touched = (): void => {
    waiting = true;
  };
  const settle = async (): Promise<void> => {
    while (waiting) {
      waiting = false;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { touched, settle };
}
