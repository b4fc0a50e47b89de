import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { SimulatedCoordinator } from '../coordinator/coordinator.ts';
import type { Registry } from '../coordinator/registry.ts';
import type { History } from '../history.ts';
import type { VirtualTime } from '../time.ts';
import type { Agents } from './agents.ts';
import type { Machine } from './machine.ts';
import type { SimulatedProvisioner } from './provisioner.ts';

/** One cluster, as faults and people reach into it. */
export interface World {
  readonly time: VirtualTime;
  readonly history: History;
  /** The machine that a node runs on just now; none: between two. */
  readonly machines: Map<string, Machine>;
  readonly agents: Agents;
  readonly coordinator: SimulatedCoordinator;
  readonly registry: Registry;
  readonly provisioner: SimulatedProvisioner;
  readonly policy: ReplacementPolicy;
  /** Networks that are cut just now. */
  readonly cuts: Set<Cut>;
  /** The coordinator's process is killed, and begins anew. */
  kill(): void;
  boot(): void;
  /** Its clock, its store, or what an admin has set was changed. */
  stir(): void;
  /** What an admin has set bears on decisions. */
  ruled(): void;
  /** A machine was made under the name of one that is still there. */
  twoMachines(node: string): void;
}

export interface Cut {
  holds(machine: Machine): boolean;
  affected: Set<Machine>;
}

/** A machine stands in a network: cuts that go on hold it too. */
export function plugIn({ cuts }: World, machine: Machine): void {
  for (const cut of cuts) {
    if (!cut.holds(machine)) continue;
    cut.affected.add(machine);
    machine.cuts += 1;
  }
}
