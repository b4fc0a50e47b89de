import type { ReportedCertificate } from '@evercert/coordinator';
import type { RecoveryPolicy, RoleName } from '@evercert/shared/manifest';
import type { MemoryStore } from '../memory-store.ts';
import { ProcessClock } from '../process-clock.ts';
import type { VirtualTime } from '../time.ts';
import type { Endpoint, Issued } from '../world/agents.ts';
import { identityName, type Leaf, leafNames, type Machine } from '../world/machine.ts';
import type { NodeEntry, Registry } from './registry.ts';

export const lifeMs = 96 * 3600_000;
const backdateMs = 60_000;
/** With its clock further behind than this, nothing is recovered. */
const clockToleratedMs = 120_000;

export interface CoordinatorOptions {
  time: VirtualTime;
  store: MemoryStore;
  registry: Registry;
  recovery: Record<RoleName, RecoveryPolicy>;
}

/** What lives and dies with one process of the coordinator. */
export interface Process {
  clock: ProcessClock;
}

type Listener = (entry: NodeEntry) => void;

/** The coordinator's machine, its store and its process: what agents can get from it. It issues, recovers and takes reports as the real one does, without the cryptography. */
export class SimulatedCoordinator implements Endpoint {
  readonly registry: Registry;
  readonly wall = { offsetMs: 0 };
  process: Process | undefined;
  readonly store: MemoryStore;
  readonly #time: VirtualTime;
  readonly #recovery: Record<RoleName, RecoveryPolicy>;
  #heard: Listener = () => undefined;
  /** The latest time that its clock has shown. */
  #latestMs = 0;

  constructor({ time, store, registry, recovery }: CoordinatorOptions) {
    this.#time = time;
    this.store = store;
    this.registry = registry;
    this.#recovery = recovery;
  }

  /** Called after each report, and when a stream ends. */
  onHeard(listener: Listener): void {
    this.#heard = listener;
  }

  boot(): Process {
    this.process = { clock: new ProcessClock(this.#time, this.wall) };
    for (const entry of this.registry.nodes.values()) {
      entry.fresh = false;
      entry.connected = false;
      // Its own absence counts for no node.
      if (entry.seenMonotonicMs !== undefined) entry.seenMonotonicMs = 0;
    }
    return this.process;
  }

  get storeWorks(): boolean {
    return this.store.works;
  }

  set storeWorks(works: boolean) {
    this.store.works = works;
  }

  step(byMs: number): void {
    this.#latestMs = Math.max(this.#latestMs, this.nowMs);
    this.wall.offsetMs += byMs;
    this.process?.clock.stepped();
  }

  /** How far its clock is behind the latest time that it has shown (the real one remembers it in the store). */
  behindMs(): number {
    return Math.max(0, this.#latestMs - this.nowMs);
  }

  /** A person says that the later time was wrong. */
  resetMark(): void {
    this.#latestMs = 0;
  }

  kill(): void {
    this.process?.clock.kill();
    this.process = undefined;
  }

  get answers(): boolean {
    return this.process !== undefined;
  }

  get offsetMs(): number {
    return this.wall.offsetMs;
  }

  get nowMs(): number {
    return this.#time.nowMs + this.wall.offsetMs;
  }

  accepts(machine: Machine): boolean {
    const entry = this.#entryOf(machine);
    const { identity } = machine;
    if (!entry || !identity || this.registry.refusal(entry, identityName)) return false;
    return identity.notBeforeMs <= this.nowMs && identity.notAfterMs > this.nowMs;
  }

  issue(machine: Machine, name: string): Issued {
    const entry = this.#entryOf(machine);
    if (!this.process || !entry) return { refused: 'not allowed', revoked: false };
    const revocation = this.registry.refusal(entry, name);
    if (revocation) return { refused: `refused by ${revocation.name}`, revoked: true };
    if (!this.storeWorks) return { refused: 'the store does not take writes', revoked: false };
    return { leaf: this.#leaf(entry, name) };
  }

  recover(machine: Machine): Issued {
    const entry = this.#entryOf(machine);
    if (!this.process || !entry || !this.storeWorks || this.behindMs() > clockToleratedMs) return { refused: 'not now', revoked: false };
    if ((machine.identity?.notAfterMs ?? 0) > this.nowMs) return { refused: 'its identity has not ended', revoked: false };
    if (this.registry.refusal(entry, identityName)) return { refused: 'revoked', revoked: true };
    const policy = this.#recovery[machine.role];
    const open = policy === 'automatic' || (policy === 'repair-window' && this.registry.isRepairing(entry.name, this.nowMs));
    return open ? { leaf: this.#leaf(entry, identityName) } : { refused: 'no repair window is open', revoked: false };
  }

  /** A new machine brings its token. Undefined: not now. */
  join(machine: Machine): Omit<Leaf, 'dueMs'>[] | undefined {
    const entry = this.registry.nodes.get(machine.node);
    if (!this.process || !entry || !this.storeWorks || this.registry.hasJoined(entry)) return undefined;
    if (this.registry.refusedInFuture(machine.node) !== '') return undefined;
    return [identityName, ...leafNames[machine.role]].map((name) => this.#leaf(entry, name));
  }

  report(machine: Machine): void {
    const entry = this.#entryOf(machine);
    if (!this.process || !entry) return;
    entry.fresh = true;
    entry.connected = true;
    entry.report = reportOf(machine, entry);
    this.#seen(entry);
    this.#heard(entry);
  }

  disconnected(machine: Machine): void {
    const entry = this.registry.nodes.get(machine.node);
    if (!entry?.connected) return;
    entry.connected = false;
    if (!this.process) return;
    this.#seen(entry);
    this.#heard(entry);
  }

  #seen(entry: NodeEntry): void {
    if (this.process) entry.seenMonotonicMs = this.process.clock.monotonicMs();
    entry.seenWallMs = this.nowMs;
  }

  /** The node that the machine's identity names, if it is its newest one. */
  #entryOf(machine: Machine): NodeEntry | undefined {
    const entry = this.registry.nodes.get(machine.node);
    return entry?.currents.get(identityName)?.serial === machine.identity?.serial && machine.identity ? entry : undefined;
  }

  #leaf(entry: NodeEntry, name: string): Omit<Leaf, 'dueMs'> {
    const issuedAtMs = this.nowMs;
    const leaf = {
      name,
      serial: this.registry.nextSerial(),
      issuedAtMs,
      notBeforeMs: issuedAtMs - backdateMs,
      notAfterMs: issuedAtMs + lifeMs,
    };
    entry.currents.set(name, { serial: leaf.serial, issuedAtMs, notAfterMs: leaf.notAfterMs });
    return leaf;
  }
}

/** What the agent says of each certificate in place. */
function reportOf(machine: Machine, entry: NodeEntry): ReportedCertificate[] {
  return leafNames[machine.role].map((name) => {
    const leaf = machine.leaves.get(name);
    const failure = machine.failures.get(name);
    const [state = 'Ready'] = failure?.split(' ', 1) ?? [];
    return {
      serial: leaf?.serial ?? '',
      notAfterMs: leaf?.notAfterMs ?? 0,
      nextRenewalAtMs: leaf?.dueMs,
      state: leaf ? (state === 'Ready' || state === 'Revoked' ? state : 'RenewalFailing') : 'Pending',
      error: failure ?? '',
      errorCode: failure ? 'Unavailable' : '',
      served: '',
      origin: leaf?.serial === entry.currents.get(name)?.serial ? 'current' : 'superseded',
    };
  });
}
