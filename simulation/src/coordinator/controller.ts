import type { AvailabilityFacts, Decision, ReplacementQuestion, Verdict } from '@evercert/coordinator/replacement';
import type { Timer } from '@evercert/shared/clock';
import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { SimulatedCoordinator } from './coordinator.ts';
import { questionOf } from './question.ts';
import type { SagaHost } from './sagas.ts';

/** The decision code that is on trial. */
export interface Decisions {
  decide(question: ReplacementQuestion): Decision;
  reconsider(question: ReplacementQuestion, node: string): Verdict;
}

const lookMs = 1000;
/** What bears on no phase is looked at by then, as the real one does. */
const atLeastMs = 30_000;
/** Even if nothing tells that something has changed. */
const againMs = 60 * 60_000;

export interface ControllerOptions {
  coordinator: SimulatedCoordinator;
  policy: ReplacementPolicy;
  decisions: Decisions;
  availability: () => AvailabilityFacts;
  /** A node's verdict is another. */
  told: (verdict: Verdict) => void;
}

/** Asks the real decision whenever something may have changed, and begins what it says. */
export class SimulatedController {
  readonly #options: ControllerOptions;
  readonly #verdicts = new Map<string, string>();
  #look: { timer: Timer; atMs: number } | undefined;
  #again: Timer | undefined;
  decided = 0;

  constructor(options: ControllerOptions) {
    this.#options = options;
  }

  /** A process begins. */
  boot(): void {
    this.#look = undefined;
    this.#again = undefined;
  }

  /** Something has changed that bears on decisions. */
  soon(sagas: SagaHost): void {
    this.#within(lookMs, sagas);
  }

  /** Something has changed that hardly does. */
  later(sagas: SagaHost): void {
    this.#within(atLeastMs, sagas);
  }

  #within(ms: number, sagas: SagaHost): void {
    const clock = this.#options.coordinator.process?.clock;
    if (!clock) return;
    const atMs = clock.monotonicMs() + ms;
    if (this.#look && this.#look.atMs <= atMs) return;
    this.#look?.timer.cancel();
    const timer = clock.after(ms, () => {
      this.#look = undefined;
      this.#ask(sagas);
    });
    this.#look = { timer, atMs };
  }

  reconsider(sagas: SagaHost, node: string, without: string): Verdict {
    return this.#options.decisions.reconsider(this.#question(sagas, without), node);
  }

  #question({ records }: SagaHost, without = ''): ReplacementQuestion {
    const { coordinator, policy, availability } = this.#options;
    return questionOf({ coordinator, policy, records, availability: availability() }, without);
  }

  #ask(sagas: SagaHost): void {
    const { coordinator, decisions, told } = this.#options;
    this.#again?.cancel();
    // Where all are well nobody is due: it is not worth asking.
    if ([...coordinator.registry.nodes.values()].every(({ health }) => health?.phase === 'Ready')) {
      this.#verdicts.clear();
      return;
    }
    const question = this.#question(sagas);
    const { verdicts, start } = decisions.decide(question);
    this.decided += 1;
    let nextMs = againMs;
    for (const verdict of verdicts) {
      if (verdict.againAtMs !== undefined) nextMs = Math.min(nextMs, Math.max(lookMs, verdict.againAtMs - question.nowMs));
      const said = `${verdict.kind} ${verdict.reason}`;
      if (this.#verdicts.get(verdict.node) === said) continue;
      this.#verdicts.set(verdict.node, said);
      if (verdict.reason !== '') told(verdict);
    }
    this.#again = coordinator.process?.clock.after(nextMs, () => this.soon(sagas));
    for (const node of start) sagas.begin(node);
  }
}
