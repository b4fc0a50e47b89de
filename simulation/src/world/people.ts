import { drawMode } from '../policy.ts';
import type { Random } from '../random.ts';
import type { World } from './world.ts';

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** What admins do. What needs the coordinator is not done while it is away. */
export class People {
  readonly #world: World;
  readonly #random: Random;
  #revocations = 0;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  cordon(): void {
    const node = this.#workerLikelyInTrouble();
    const entry = node ? this.#world.registry.nodes.get(node) : undefined;
    if (!entry || !this.#canReach()) return;
    const ms = this.#random.span(10 * minuteMs, 8 * dayMs);
    const ends = this.#random.chance(0.5);
    entry.cordon = { by: 'admin', reason: 'simulated', ...(ends && { untilMs: this.#world.coordinator.nowMs + ms }) };
    this.#tell(`cordons ${node} ${ends ? 'for' : 'until it is ended, in'} ${Math.round(ms / minuteMs)} min`);
    this.#world.ruled();
    this.#later(ms, () => {
      delete entry.cordon;
      this.#tell(`uncordons ${node}`);
    });
  }

  pause(): void {
    if (!this.#canReach()) return;
    const { registry } = this.#world;
    const ms = this.#random.span(minuteMs, 4 * dayMs);
    this.#tell(`pauses replacements for ${Math.round(ms / minuteMs)} min`);
    registry.pause = { by: 'admin', reason: 'simulated', scope: this.#random.chance(0.3) ? 'all' : 'cluster' };
    this.#world.ruled();
    this.#later(ms, () => {
      registry.pause = undefined;
      this.#tell('lets replacements go on');
    });
  }

  mode(): void {
    if (!this.#canReach()) return;
    this.#world.policy.mode = drawMode(this.#random);
    this.#tell(`sets the mode to ${this.#world.policy.mode}`);
    this.#world.ruled();
  }

  repairWindow(): void {
    if (!this.#canReach()) return;
    const { registry, coordinator, agents, machines } = this.#world;
    const all = [...registry.nodes.values()];
    const bad = all.filter(({ health }) => health !== undefined && health.phase !== 'Ready');
    const entry = this.#random.pick(bad.length > 0 && this.#random.chance(0.7) ? bad : all);
    const ms = this.#random.span(10 * minuteMs, dayMs);
    registry.windows.set(entry.name, coordinator.nowMs + ms);
    this.#tell(`opens a repair window for ${entry.name} for ${Math.round(ms / minuteMs)} min`);
    this.#world.ruled();
    const machine = machines.get(entry.name);
    if (machine) agents.changed(machine);
    this.#world.time.after(ms + 1000, () => this.#world.ruled());
  }

  revocation(): void {
    if (!this.#canReach()) return;
    const { registry, coordinator } = this.#world;
    const entry = this.#random.pick([...registry.nodes.values()]);
    const names = [...entry.currents.keys()];
    if (names.length === 0) return;
    const serial = entry.currents.get(this.#random.pick(names))?.serial ?? '';
    const match = this.#random.pick([{ serial }, { beforeMs: coordinator.nowMs }, 'all'] as const);
    this.#revocations += 1;
    const revocation = { name: `revocation-${this.#revocations}`, node: entry.name, match };
    registry.revocations.add(revocation);
    this.#tell(`revokes ${entry.name}: ${JSON.stringify(match)}`);
    this.#revoked(entry.name);
    if (this.#random.chance(0.5)) {
      this.#later(this.#random.span(hourMs, 10 * dayMs), () => {
        registry.revocations.delete(revocation);
        this.#tell(`takes back ${revocation.name}`);
        this.#revoked(entry.name);
      });
    }
  }

  #revoked(node: string): void {
    const machine = this.#world.machines.get(node);
    if (machine) this.#world.agents.changed(machine);
    this.#world.ruled();
  }

  /** Tried again until the coordinator is there. */
  #later(ms: number, what: () => void): void {
    this.#world.time.after(ms, () => {
      if (!this.#canReach()) {
        this.#later(10 * minuteMs, what);
        return;
      }
      what();
      this.#world.ruled();
    });
  }

  #canReach(): boolean {
    return this.#world.coordinator.answers && this.#world.coordinator.storeWorks;
  }

  #workerLikelyInTrouble(): string | undefined {
    const workers = [...this.#world.registry.nodes.values()].filter(({ role }) => role === 'worker');
    const bad = workers.filter(({ health }) => health !== undefined && health.phase !== 'Ready');
    const from = bad.length > 0 && this.#random.chance(0.5) ? bad : workers;
    return from.length > 0 ? this.#random.pick(from).name : undefined;
  }

  #tell(what: string): void {
    this.#world.history.add(this.#world.time.nowMs, `an admin ${what}`);
  }
}
