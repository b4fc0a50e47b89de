import type { ReplacementPolicy } from '@evercert/shared/manifest';
import type { SimulatedCoordinator } from '../coordinator/coordinator.ts';
import type { NodeEntry, Registry } from '../coordinator/registry.ts';
import type { VirtualTime } from '../time.ts';
import { clocksApartMs } from '../world/agents.ts';
import { identityName, type Leaf, type Machine } from '../world/machine.ts';
import { AbleTimes } from './able.ts';

const minuteMs = 60_000;
/** So far the coordinator's clock may be off and still count as right. */
const clockRightMs = 2 * minuteMs;
/** What is wrong with a node for so long must be known to a coordinator that was there all the time. */
const seenAfterMs = 50_000;

/** What is so, whatever the coordinator believes. */
export class Truth {
  /** When agents could truly renew: it ran, its store took writes, and its clock was not so wrong that nobody could connect. */
  readonly able = new AbleTimes();
  /** The same, whatever its clock showed. */
  readonly well = new AbleTimes();
  /** The same, and its clock was right, and had not shown a later time before. */
  readonly sure = new AbleTimes();
  readonly policy: ReplacementPolicy;
  readonly registry: Registry;
  readonly machines: ReadonlyMap<string, Machine>;
  readonly #time: VirtualTime;
  readonly #coordinator: SimulatedCoordinator;
  /** Since when a node cannot be heard. */
  readonly #silentSince = new Map<string, number>();
  /** The latest that the coordinator's clock has shown. */
  #shownMs = 0;
  /** Times that its clock has leapt over, or shown twice: of them it cannot know how well it was. */
  readonly #doubts: { fromMs: number; untilMs: number }[] = [];
  #offsetMs = 0;

  constructor(options: {
    time: VirtualTime;
    coordinator: SimulatedCoordinator;
    policy: ReplacementPolicy;
    machines: ReadonlyMap<string, Machine>;
  }) {
    this.#time = options.time;
    this.#coordinator = options.coordinator;
    this.policy = options.policy;
    this.registry = options.coordinator.registry;
    this.machines = options.machines;
  }

  get nowMs(): number {
    return this.#time.nowMs;
  }

  /** By the coordinator's clock: what people set, they set by it. */
  get shownMs(): number {
    return this.#coordinator.nowMs;
  }

  /** Something was done to the coordinator, or time has passed. */
  look(): void {
    const { wall, process, storeWorks, nowMs } = this.#coordinator;
    this.#shownMs = Math.max(this.#shownMs, nowMs);
    if (wall.offsetMs !== this.#offsetMs) {
      const ends = [this.nowMs + this.#offsetMs, nowMs];
      this.#doubts.push({ fromMs: Math.min(...ends), untilMs: Math.max(...ends) });
      this.#offsetMs = wall.offsetMs;
    }
    const isWell = process !== undefined && storeWorks;
    this.well.note(isWell, this.nowMs);
    this.able.note(isWell && Math.abs(wall.offsetMs) < clocksApartMs, this.nowMs);
    this.sure.note(isWell && this.clockIsGood, this.nowMs);
  }

  /** Its clock is right, and has not shown a later time before. */
  get clockIsGood(): boolean {
    return Math.abs(this.#coordinator.wall.offsetMs) <= clockRightMs && this.#shownMs <= this.nowMs + clockRightMs;
  }

  /** Certificates on the node's machine that have ended. */
  ended(node: string): Leaf[] {
    return this.machines.get(node)?.endedAt(this.nowMs) ?? [];
  }

  /** Those of them whose end the coordinator must know: of a node that cannot tell, what was issued last may be in place. */
  surelyEnded({ name, currents }: NodeEntry): Leaf[] {
    const isConnected = this.machines.get(name)?.connected === true;
    return this.ended(name).filter((leaf) => isConnected || (currents.get(leaf.name)?.notAfterMs ?? 0) < this.nowMs);
  }

  /** The coordinator was there to renew it for at least this part of the time between its due time and its end, or as long since. */
  hadItsTries(leaf: Leaf): boolean {
    const needed = (leaf.notAfterMs - leaf.dueMs) / 2 - minuteMs;
    return leaf.notAfterMs <= this.nowMs && this.able.between(leaf.dueMs, this.nowMs) >= needed;
  }

  /** The strictest reading of the same. */
  surelyHadItsTries({ issuedAtMs, dueMs, notAfterMs }: Leaf): boolean {
    const windowMs = notAfterMs - dueMs;
    // By a clock that was set since its issue, it may not have ended yet.
    const doubtfulMs = this.#doubts.reduce((sum, doubt) => (doubt.untilMs > issuedAtMs ? sum + doubt.untilMs - doubt.fromMs : sum), 0);
    if (windowMs <= 0 || this.nowMs < notAfterMs + doubtfulMs) return false;
    const sinceMs = this.sure.sinceMs ?? this.nowMs;
    return (
      this.#surelyBetween(dueMs, notAfterMs) >= windowMs * 0.6 + 10 * minuteMs ||
      this.#surelyBetween(sinceMs, this.nowMs) >= windowMs * 1.2 + 10 * minuteMs
    );
  }

  #surelyBetween(fromMs: number, untilMs: number): number {
    const doubtfulMs = this.#doubts.map((doubt) => Math.max(0, Math.min(untilMs, doubt.untilMs) - Math.max(fromMs, doubt.fromMs)));
    return this.sure.between(fromMs, untilMs) - doubtfulMs.reduce((sum, ms) => sum + ms, 0);
  }

  heard(node: string, isHeard: boolean): void {
    if (isHeard) this.#silentSince.delete(node);
    else if (!this.#silentSince.has(node)) this.#silentSince.set(node, this.nowMs);
  }

  /** Workers as a policy counts them, with replacements under way. */
  workers(): NodeEntry[] {
    return [...this.registry.nodes.values()].filter(
      (entry) => entry.role === 'worker' && (entry.replacement !== undefined || this.registry.hasJoined(entry)),
    );
  }

  /** The node is not well, and the coordinator has had all it takes to know it. */
  isSurelyUnhealthy(entry: NodeEntry): boolean {
    if (entry.replacement) return true;
    const thereMs = this.sure.sinceMs === undefined ? 0 : this.nowMs - this.sure.sinceMs;
    if (thereMs < seenAfterMs) return false;
    const silentSinceMs = this.#silentSince.get(entry.name) ?? this.nowMs;
    if (this.nowMs - silentSinceMs > seenAfterMs) return true;
    return entry.currents.size > 0 && [...entry.currents.values()].every(({ notAfterMs }) => notAfterMs + seenAfterMs < this.nowMs);
  }

  /** Nothing at all is wrong with the node. */
  isSurelyWell(entry: NodeEntry): boolean {
    const machine = this.machines.get(entry.name);
    if (!machine?.connected || !machine.canSend || machine.offsetMs !== 0 || entry.replacement) return false;
    if (machine.failing.size > 0 || machine.failures.size > 0) return false;
    if (this.registry.isRepairing(entry.name, this.shownMs)) return false;
    for (const leaf of machine.leaves.values()) {
      // One that is due is being renewed, or is not.
      if (leaf.notBeforeMs > this.nowMs || leaf.dueMs + minuteMs < this.nowMs) return false;
      if (entry.currents.get(leaf.name)?.serial !== leaf.serial || this.registry.refusal(entry, leaf.name)) return false;
    }
    return machine.leaves.has(identityName);
  }
}
