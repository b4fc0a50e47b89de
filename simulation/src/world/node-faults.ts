import type { Random } from '../random.ts';
import { count, leafNames, type Machine } from './machine.ts';
import type { World } from './world.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** What befalls machines, their agents and networks. */
export class NodeFaults {
  readonly #world: World;
  readonly #random: Random;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  nodeDies(): void {
    const machine = this.#any();
    if (!machine) return;
    this.#tell(machine, 'dies');
    machine.alive = false;
    this.#world.agents.changed(machine);
    // Nobody makes a new control-plane node: a person repairs it.
    if (machine.role === 'control-plane') this.#world.time.after(this.#random.span(hourMs, 5 * dayMs), () => this.#revive(machine));
  }

  #revive(machine: Machine): void {
    const { registry, coordinator, agents, machines } = this.#world;
    if (machines.get(machine.node) !== machine) return;
    machine.alive = true;
    registry.windows.set(machine.node, coordinator.nowMs + dayMs);
    this.#tell(machine, 'is repaired by a person');
    this.#world.ruled();
    agents.changed(machine);
  }

  agentStuck(): void {
    const machine = this.#any();
    if (machine) this.#stuckFor(machine, this.#random.span(minuteMs, 12 * dayMs));
  }

  /** Comes back within minutes of the moment at which it would be replaced. */
  lastMoment(): void {
    const { time, policy } = this.#world;
    const machine = this.#any();
    const ends = machine ? [...machine.leaves.values()].map(({ notAfterMs }) => notAfterMs) : [];
    if (!machine || ends.length === 0) return;
    const atMs = Math.min(...ends) + policy.graceSeconds * 1000 + this.#random.between(-15, 5) * minuteMs;
    if (atMs <= time.nowMs) return;
    if (this.#random.chance(0.5)) this.#stuckFor(machine, atMs - time.nowMs);
    else this.#cut('is cut off', (one) => one === machine, atMs - time.nowMs);
  }

  #stuckFor(machine: Machine, ms: number): void {
    this.#tell(machine, `its agent is stuck for ${minutes(ms)}`);
    machine.stuck += 1;
    this.#world.agents.changed(machine);
    this.#world.time.after(ms, () => {
      machine.stuck -= 1;
      this.#tell(machine, 'its agent runs again');
      this.#world.agents.changed(machine);
    });
  }

  nodeCut(): void {
    const machine = this.#any();
    if (machine) this.#cut(`${machine.node} is cut off`, (one) => one === machine, this.#random.span(minuteMs, 8 * dayMs));
  }

  rackCut(): void {
    const rack = this.#any()?.rack;
    this.#cut(`rack-${rack} is cut off`, (one) => one.rack === rack, this.#random.span(minuteMs, 6 * dayMs));
  }

  siteCut(): void {
    this.#cut('the whole site is cut off', () => true, this.#random.span(minuteMs, 6 * dayMs));
  }

  #cut(what: string, holds: (machine: Machine) => boolean, ms: number): void {
    const { machines, cuts, agents, history, time } = this.#world;
    const cut = { holds, affected: new Set([...machines.values()].filter(holds)) };
    history.add(time.nowMs, `fault: ${what} for ${minutes(ms)}`);
    cuts.add(cut);
    for (const machine of cut.affected) {
      machine.cuts += 1;
      agents.changed(machine);
    }
    time.after(ms, () => {
      history.add(time.nowMs, `fault over: ${what}`);
      cuts.delete(cut);
      for (const machine of cut.affected) {
        machine.cuts -= 1;
        agents.changed(machine);
      }
    });
  }

  partial(): void {
    const machine = this.#any();
    if (!machine) return;
    const name = this.#random.pick(leafNames[machine.role]);
    const ms = this.#random.span(hourMs, 10 * dayMs);
    this.#tell(machine, `${name} cannot be renewed for ${minutes(ms)}`);
    count(machine.failing, name, 1);
    this.#world.time.after(ms, () => {
      count(machine.failing, name, -1);
      this.#world.agents.changed(machine);
    });
  }

  nodeClock(): void {
    const machine = this.#any();
    if (!machine) return;
    const byMs = this.#random.span(minuteMs, 5 * dayMs) * (this.#random.chance(0.5) ? 1 : -1);
    const ms = this.#random.span(10 * minuteMs, 8 * dayMs);
    this.#tell(machine, `its clock is wrong by ${minutes(byMs)} for ${minutes(ms)}`);
    machine.offsetMs += byMs;
    this.#world.agents.changed(machine);
    this.#world.time.after(ms, () => {
      machine.offsetMs -= byMs;
      this.#world.agents.changed(machine);
    });
  }

  #any(): Machine | undefined {
    const machines = [...this.#world.machines.values()];
    return machines.length > 0 ? this.#random.pick(machines) : undefined;
  }

  #tell(machine: Machine, what: string): void {
    this.#world.history.add(this.#world.time.nowMs, `fault: ${machine.node}#${machine.id} ${what}`);
  }
}

function minutes(ms: number): string {
  return `${Math.round(ms / minuteMs)} min`;
}
