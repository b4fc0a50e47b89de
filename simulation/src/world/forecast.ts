import type { Random } from '../random.ts';
import { CoordinatorFaults } from './coordinator-faults.ts';
import { NodeFaults } from './node-faults.ts';
import { People } from './people.ts';
import type { Weather } from './weather.ts';
import type { World } from './world.ts';

const dayMs = 86_400_000;
/** What befalls single machines grows with their number. */
const perNode = new Set<keyof Weather>([
  'nodeDies',
  'agentStuck',
  'nodeCut',
  'partial',
  'nodeClock',
  'lastMoment',
  'revocation',
  'cordon',
  'repairWindow',
]);

export interface ForecastOptions {
  weather: Weather;
  nodes: number;
  days: number;
}

/** Draws when what happens. Some clusters are calm, some stormy. */
export function forecast(world: World, random: Random, { weather, nodes, days }: ForecastOptions): void {
  const events = eventsOf(world, random);
  const temper = random.pick([0.3, 1, 1, 3]);
  for (const kind of Object.keys(weather) as (keyof Weather)[]) {
    const stream = random.stream(kind);
    const share = (days / 30) * (perNode.has(kind) ? nodes / 50 : 1);
    const times = Array.from({ length: stream.count(weather[kind] * temper * share) }, () => stream.between(0, days * dayMs));
    for (const ms of times) world.time.after(ms, events[kind]);
  }
}

function eventsOf(world: World, random: Random): Record<keyof Weather, () => void> {
  const nodes = new NodeFaults(world, random.stream('nodes'));
  const coordinator = new CoordinatorFaults(world, random.stream('coordinator'));
  const people = new People(world, random.stream('people'));
  return {
    nodeDies: () => nodes.nodeDies(),
    agentStuck: () => nodes.agentStuck(),
    nodeCut: () => nodes.nodeCut(),
    rackCut: () => nodes.rackCut(),
    siteCut: () => nodes.siteCut(),
    partial: () => nodes.partial(),
    nodeClock: () => nodes.nodeClock(),
    lastMoment: () => nodes.lastMoment(),
    coordinatorDown: () => coordinator.coordinatorDown(),
    coordinatorClock: () => coordinator.coordinatorClock(),
    storeFails: () => coordinator.storeFails(),
    provisionerBroken: () => coordinator.provisionerBroken(),
    cordon: () => people.cordon(),
    pause: () => people.pause(),
    mode: () => people.mode(),
    repairWindow: () => people.repairWindow(),
    revocation: () => people.revocation(),
  };
}
