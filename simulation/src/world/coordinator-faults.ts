import type { Random } from '../random.ts';
import type { Action } from './provisioner.ts';
import type { World } from './world.ts';

const secondMs = 1000;
const minuteMs = 60 * secondMs;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

/** A clock that is wrong by days for longer than a renewal may take cuts every node off, and looks as if all of them had failed: only maxUnhealthy helps then. */
const longestWrongMs = dayMs;

const actions: Action[] = ['cordon', 'uncordon', 'drain', 'remove', 'allocate', 'create', 'discard'];

/** What befalls the coordinator, its clock, its store, and the maker of machines. */
export class CoordinatorFaults {
  readonly #world: World;
  readonly #random: Random;
  #down = 0;
  #failing = 0;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
  }

  coordinatorDown(): void {
    this.#downFor(this.#random.span(minuteMs, 6 * dayMs), 'is down');
  }

  #downFor(ms: number, what: string, meanwhile: () => void = () => undefined): void {
    const { time } = this.#world;
    this.#tell(`the coordinator ${what} for ${Math.round(ms / minuteMs)} min`);
    // Its last mark is some seconds old when it dies.
    this.#world.stir();
    time.after(this.#random.between(0, 12 * secondMs), () => {
      this.#down += 1;
      if (this.#down === 1) this.#world.kill();
      time.after(ms, () => {
        meanwhile();
        this.#down -= 1;
        if (this.#down > 0) return;
        this.#tell('the coordinator begins');
        this.#world.boot();
      });
    });
  }

  coordinatorClock(): void {
    const byMs = this.#random.span(minuteMs, 6 * dayMs) * (this.#random.chance(0.5) ? 1 : -1);
    const ms = this.#random.span(5 * minuteMs, longestWrongMs);
    this.#tell(`the coordinator's clock is set by ${Math.round(byMs / minuteMs)} min for ${Math.round(ms / minuteMs)} min`);
    this.#step(byMs);
    this.#world.time.after(ms, () => {
      this.#tell("the coordinator's clock is put right");
      this.#step(-byMs);
      if (byMs > 0) this.#world.time.after(this.#random.span(hourMs, 2 * dayMs), () => this.#resetMark());
    });
  }

  /** The mark is of a later time than it truly is: a person resets it, and begins the coordinator anew. */
  #resetMark(): void {
    this.#downFor(minuteMs, 'has its clock mark reset, and stops', () => this.#world.coordinator.resetMark());
  }

  #step(byMs: number): void {
    const { coordinator } = this.#world;
    this.#world.stir();
    coordinator.step(byMs);
    this.#world.stir();
  }

  storeFails(): void {
    const ms = this.#random.span(minuteMs, 2 * dayMs);
    this.#tell(`the store takes no writes for ${Math.round(ms / minuteMs)} min`);
    this.#failing += 1;
    this.#storeWorks();
    this.#world.time.after(ms, () => {
      this.#failing -= 1;
      this.#storeWorks();
    });
  }

  #storeWorks(): void {
    this.#world.coordinator.storeWorks = this.#failing === 0;
    this.#world.stir();
  }

  provisionerBroken(): void {
    const { provisioner, time } = this.#world;
    const action = this.#random.pick(actions);
    const how = this.#random.chance(0.6) ? 'fails' : 'hangs';
    const ms = this.#random.span(10 * minuteMs, 3 * dayMs);
    this.#tell(`the provisioner's ${action} ${how} for ${Math.round(ms / minuteMs)} min`);
    provisioner.break(action, how);
    time.after(ms, () => provisioner.mend(action));
  }

  #tell(what: string): void {
    this.#world.history.add(this.#world.time.nowMs, `fault: ${what}`);
  }
}
