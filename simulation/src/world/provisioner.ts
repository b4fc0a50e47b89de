import type { Random } from '../random.ts';
import type { VirtualTime } from '../time.ts';

export type Action = 'cordon' | 'uncordon' | 'drain' | 'remove' | 'allocate' | 'create' | 'discard';

/** What the machines' maker does to the world. */
export interface Machines {
  remove(node: string): void;
  /** A new machine that will try to join with the token. */
  create(node: string, token: string): void;
  discard(node: string): void;
}

export interface Call {
  action: Action;
  key: string;
  node: string;
  /** Of `create`. */
  token?: string;
}

type Answer = (error: string | undefined) => void;

/** The maker of machines: slow, sometimes failing or hanging, idempotent by the key, and blind to whether the coordinator that has asked still lives. */
export class SimulatedProvisioner {
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #machines: Machines;
  readonly #done = new Set<string>();
  readonly #underWay = new Map<string, Answer[]>();
  /** What fails just now, and how; the number of faults. */
  readonly #broken = new Map<Action, { how: 'fails' | 'hangs'; faults: number }>();
  /** Part of the calls that fails for no reason. */
  readonly #flaky: number;

  constructor(options: { time: VirtualTime; random: Random; machines: Machines }) {
    this.#time = options.time;
    this.#random = options.random;
    this.#machines = options.machines;
    this.#flaky = options.random.chance(0.2) ? 0.3 : 0.03;
  }

  get isBroken(): boolean {
    return this.#broken.size > 0;
  }

  break(action: Action, how: 'fails' | 'hangs'): void {
    const faults = (this.#broken.get(action)?.faults ?? 0) + 1;
    this.#broken.set(action, { how, faults });
  }

  mend(action: Action): void {
    const broken = this.#broken.get(action);
    if (!broken) return;
    if (broken.faults === 1) this.#broken.delete(action);
    else this.#broken.set(action, { ...broken, faults: broken.faults - 1 });
  }

  call(call: Call, answer: Answer): void {
    if (this.#done.has(call.key)) {
      this.#time.after(100, () => answer(undefined));
      return;
    }
    const others = this.#underWay.get(call.key);
    if (others) {
      others.push(answer);
      return;
    }
    const how = this.#broken.get(call.action)?.how;
    // One who hangs never answers: the caller's time limit ends it, and it may be called again.
    if (how === 'hangs' || this.#random.chance(0.01)) return;
    const fails = how === 'fails' || this.#random.chance(this.#flaky);
    this.#underWay.set(call.key, [answer]);
    this.#time.after(this.#random.span(200, 60_000), () => this.#end(call, fails ? `${call.action} failed` : undefined));
  }

  #end(call: Call, error: string | undefined): void {
    const answers = this.#underWay.get(call.key) ?? [];
    this.#underWay.delete(call.key);
    if (error === undefined) {
      this.#done.add(call.key);
      if (call.action === 'remove') this.#machines.remove(call.node);
      if (call.action === 'create') this.#machines.create(call.node, call.token ?? '');
      if (call.action === 'discard') this.#machines.discard(call.node);
    }
    for (const answer of answers) answer(error);
  }
}
