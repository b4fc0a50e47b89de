import type { NodePhase } from '@evercert/coordinator';
import { Availability, type AvailabilityFacts, type ReplacementRecord, type Verdict } from '@evercert/coordinator/replacement';
import { silentLogger } from '@evercert/shared/logging';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { History } from '../history.ts';
import { PacedClock } from '../paced-clock.ts';
import type { Random } from '../random.ts';
import type { VirtualTime } from '../time.ts';
import type { SimulatedProvisioner } from '../world/provisioner.ts';
import { type Decisions, SimulatedController } from './controller.ts';
import type { SimulatedCoordinator } from './coordinator.ts';
import { SimulatedHealth } from './health.ts';
import type { NodeEntry } from './registry.ts';
import { SagaHost, type SagaWitness } from './sagas.ts';

/** Twice as long as a look at rest takes. */
const standstillMs = 2 * PacedClock.restMs;

export interface BrainOptions {
  time: VirtualTime;
  coordinator: SimulatedCoordinator;
  policy: ReplacementPolicy;
  provisioner: SimulatedProvisioner;
  random: Random;
  decisions: Decisions;
  history: History;
  judge: SagaWitness;
  touched: () => void;
}

/** Everything of the coordinator that thinks, wired together: the real availability, health, decision and sagas. */
export class Brain {
  /** How often a worker began to be held back, by reason. */
  readonly heldBy: Record<string, number> = {};
  readonly #options: BrainOptions;
  readonly #health: SimulatedHealth;
  readonly #controller: SimulatedController;
  readonly #sagas: SagaHost;
  #availability: Availability | undefined;
  #pace: PacedClock | undefined;

  constructor(options: BrainOptions) {
    this.#options = options;
    const { time, coordinator, policy, provisioner, random, decisions, touched } = options;
    this.#health = new SimulatedHealth(time, coordinator, (entry, before) => this.#healthChanged(entry, before));
    this.#controller = new SimulatedController({
      coordinator,
      policy,
      decisions,
      availability: () => this.#facts(),
      told: (verdict) => this.#told(verdict),
    });
    this.#sagas = new SagaHost({
      coordinator,
      policy,
      provisioner,
      random,
      logger: silentLogger,
      reconsider: (node, without) => this.#controller.reconsider(this.#sagas, node, without),
      witness: this.#witness(),
      changed: (entry) => this.#health.look(entry),
      touched,
    });
  }

  get records(): readonly ReplacementRecord[] {
    return this.#sagas.records;
  }

  get decided(): number {
    return this.#controller.decided;
  }

  boot(): void {
    const { time, coordinator, touched } = this.#options;
    const { clock } = coordinator.boot();
    this.#pace = new PacedClock(clock, time);
    const mark = { behindMs: () => coordinator.behindMs() };
    const availability = new Availability({ store: coordinator.store, clock: this.#pace, logger: silentLogger, mark, standstillMs });
    this.#availability = availability;
    availability.subscribe(() => this.ruled());
    touched();
    // It begins to serve once it knows how well it is.
    void availability.start().then(() => {
      if (this.#availability !== availability) return;
      this.#controller.boot();
      this.#health.lookAtAll();
      this.#sagas.boot();
      this.#controller.soon(this.#sagas);
    });
  }

  kill(): void {
    this.#options.coordinator.kill();
    this.#sagas.kill();
    this.#options.touched();
    this.#availability = undefined;
    this.#pace = undefined;
  }

  /** The clock or the store is another. */
  stir(): void {
    this.#pace?.stir();
    this.ruled();
  }

  /** What an admin has set, or what the coordinator knows of itself, bears on decisions. */
  ruled(): void {
    if (!this.#availability) return;
    this.#health.lookAtAll();
    this.#controller.soon(this.#sagas);
    this.#sagas.poke();
  }

  heard(entry: NodeEntry): void {
    if (!this.#availability) return;
    this.#health.look(entry);
    if (entry.replacement) this.#sagas.poke();
  }

  tokenWorks(token: string): boolean {
    return this.#sagas.tokenWorks(token);
  }

  #facts(): AvailabilityFacts {
    return this.#availability?.facts() ?? { healthySinceMs: undefined, problem: 'it does not run', outages: [] };
  }

  #healthChanged(entry: NodeEntry, before: NodePhase | undefined): void {
    const phase = entry.health?.phase;
    if (phase !== before) this.#options.history.add(this.#options.time.nowMs, `${entry.name} is ${phase}`);
    if (phase === 'Ready' && before === 'Ready') return;
    if (phase === before) this.#controller.later(this.#sagas);
    else this.#controller.soon(this.#sagas);
    this.#sagas.poke();
  }

  #told({ node, kind, reason }: Verdict): void {
    if (kind === 'Held') this.heldBy[reason] = (this.heldBy[reason] ?? 0) + 1;
    this.#options.history.add(this.#options.time.nowMs, `${node}: ${kind} ${reason}`);
  }

  #witness(): SagaWitness {
    const { judge, history, time } = this.#options;
    const tell = (what: string): void => history.add(time.nowMs, what);
    return {
      begins: (record) => {
        tell(`${record.id} begins: ${record.node}`);
        judge.begins(record);
      },
      acts: (id, action) => {
        tell(`${id} calls ${action}`);
        judge.acts(id, action);
      },
      withdraws: (record) => {
        tell(`${record.id} withdraws ${record.node}`);
        judge.withdraws(record);
      },
      saved: (record) => {
        const last = record.steps.at(-1);
        tell(`${record.id} is ${record.state} at ${record.step}, ${last?.step} ${last?.result}`);
        judge.saved(record);
      },
    };
  }
}
