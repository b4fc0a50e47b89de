import type { ReplacementPolicy, RoleName } from '@evercert/shared/manifest';
import { lifeMs } from '../coordinator/coordinator.ts';
import type { Random } from '../random.ts';
import { renewAt } from './agents.ts';
import { identityName, leafNames, Machine } from './machine.ts';
import type { Machines } from './provisioner.ts';
import { plugIn, type World } from './world.ts';

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const racks = 8;

/** The cluster as it is at the beginning: all well, each node somewhere in the lives of its certificates. */
export function populate(world: World, random: Random, nodes: number): void {
  const controlPlanes = nodes < 5 ? 1 : 3;
  for (let at = 0; at < nodes; at += 1) {
    const role: RoleName = at < controlPlanes ? 'control-plane' : 'worker';
    const node = role === 'worker' ? `worker-${at - controlPlanes + 1}` : `cp-${at + 1}`;
    const entry = world.registry.add(node, role, { rack: `rack-${at % racks}` });
    const machine = new Machine({ id: at, node, role, rack: at % racks });
    const ageMs = random.between(0, renewAt * 0.9) * lifeMs;
    for (const name of [identityName, ...leafNames[role]]) {
      const issuedAtMs = Math.round(world.time.nowMs - ageMs);
      const serial = world.registry.nextSerial();
      const notAfterMs = issuedAtMs + lifeMs;
      const dueMs = issuedAtMs + Math.floor(lifeMs * renewAt * (1 - 0.1 * random.draw()));
      entry.currents.set(name, { serial, issuedAtMs, notAfterMs });
      machine.leaves.set(name, { name, serial, issuedAtMs, notBeforeMs: issuedAtMs - minuteMs, notAfterMs, dueMs });
    }
    entry.seenMonotonicMs = 0;
    world.machines.set(node, machine);
    world.agents.begin(machine);
  }
}

/** What a new machine does: most join soon, some late, some never. */
export class NewMachines implements Machines {
  readonly #random: Random;
  readonly #policy: ReplacementPolicy;
  #world: World | undefined;
  #tokenWorks: (token: string) => boolean = () => false;
  #made = 0;

  constructor({ random, policy }: { random: Random; policy: ReplacementPolicy }) {
    this.#random = random;
    this.#policy = policy;
  }

  settleIn(world: World, tokenWorks: (token: string) => boolean): void {
    this.#world = world;
    this.#tokenWorks = tokenWorks;
  }

  remove(node: string): void {
    const machine = this.#world?.machines.get(node);
    if (!machine) return;
    machine.alive = false;
    this.#world?.agents.ended(machine);
    this.#world?.machines.delete(node);
    this.#tell(`${node}#${machine.id} is removed`);
  }

  create(node: string, token: string): void {
    const world = this.#world;
    const entry = world?.registry.nodes.get(node);
    if (!world || !entry) return;
    if (world.machines.has(node)) world.twoMachines(node);
    this.#made += 1;
    const rack = Number(/\d+$/.exec(entry.labels['rack'] ?? '')?.[0] ?? 0);
    const machine = new Machine({ id: 1000 + this.#made, node, role: entry.role, rack });
    world.machines.set(node, machine);
    plugIn(world, machine);
    const joinMs = this.#policy.joinTimeoutSeconds * secondMs;
    const fate = this.#random.draw();
    const afterMs =
      fate < 0.85 ? this.#random.between(20 * secondMs, Math.min(joinMs / 2, 5 * minuteMs)) : this.#random.between(0.8, 2) * joinMs;
    const never = fate > 0.93;
    this.#tell(`${node}#${machine.id} is made, and joins ${never ? 'never' : `after ${Math.round(afterMs / secondMs)} s`}`);
    if (!never) world.time.after(afterMs, () => this.#join(machine, token));
  }

  discard(node: string): void {
    this.remove(node);
  }

  #join(machine: Machine, token: string): void {
    const world = this.#world;
    if (!world || world.machines.get(machine.node) !== machine) return;
    const leaves = machine.canSend && this.#tokenWorks(token) ? world.coordinator.join(machine) : undefined;
    if (!leaves) {
      // It goes on trying until somebody removes it.
      world.time.after(this.#random.between(10 * secondMs, 5 * minuteMs), () => this.#join(machine, token));
      return;
    }
    this.#tell(`${machine.node}#${machine.id} joins`);
    for (const leaf of leaves) {
      const dueMs = leaf.issuedAtMs + Math.floor(lifeMs * renewAt * (1 - 0.1 * this.#random.draw()));
      machine.leaves.set(leaf.name, { ...leaf, dueMs });
    }
    world.agents.begin(machine);
  }

  #tell(what: string): void {
    this.#world?.history.add(this.#world.time.nowMs, what);
  }
}
